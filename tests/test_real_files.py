"""Every real file at hand opens, or is refused in the right words (``SCNYM_DATA``, default ``../shared/data``)."""

import os
import tarfile
from pathlib import Path

import pytest

from scnym import ConvertSettings, Store, convert
from scnym.base.errors import UserError

DATA = Path(os.environ.get("SCNYM_DATA") or Path(__file__).parents[2] / "shared" / "data")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real sets is not there")

OPENS = {
    "mca_gut_subset/mca_gut_subset.h5ad": (219, 14_688),
    "mouse_brain_toy_loom/mouseBrain_toy.loom": (200, 862),
    "onek1k_subset/onek1k_subset.h5ad": (7_811, 1_000),
    "pbmc3k/pbmc3k.h5ad": (2_700, 13_714),
    "pbmc_3tech/pbmc_3tech.h5ad": (1_200, 1_767),
    "pbmc_facs/pbmc_facs.h5ad": (3_874, 16_791),
    "pbmc_scvijl/pbmc.h5ad": (7_480, 200),
    "pollen/pollen.h5ad": (299, 23_702),
    "sc_mixology/sc_celseq2.count.csv.gz": (274, 28_142),
    "sc_mixology/sc_celseq2_5cl_p1.count.csv.gz": (297, 15_530),
    "sc_mixology/sc_dropseq.count.csv.gz": (225, 15_127),
    "spatial_native/mpfc-starmap.loom": (3_704, 158),
    "spatial_native/smfish.h5ad": (4_530, 33),
}
REFUSED = {
    "pbmc68k_reduced/pbmc68k_reduced.h5ad": ("is negative or not a finite number", "scaled or centred values"),
    "scdcc_h5/10X_PBMC_top2000.h5": ("its matrix X carries no gene names", "--input_genes"),
    "scdcc_h5/worm_neuron_cell.h5": ("its matrix X carries no gene names", "--input_genes"),
}
READ_ON_THE_WAY = {".csv", ".md", ".npy", ".upstream"}


@pytest.mark.parametrize("name", OPENS)
def test_a_real_file_opens(name: str, tmp_path: Path):
    store = Store(convert([DATA / name], tmp_path / "out.zarr"))
    assert (store.n_cells, len(store.datasets[0].genes)) == OPENS[name]
    assert store.sources[0].scale == "counts"


@pytest.mark.parametrize("name", REFUSED)
def test_a_real_file_that_holds_no_counts_is_refused(name: str, tmp_path: Path):
    what, way_out = REFUSED[name]
    with pytest.raises(UserError) as caught:
        convert([DATA / name], tmp_path / "out.zarr")
    assert what in caught.value.what
    assert way_out in caught.value.way_out


def test_labels_of_real_tables_join_by_cell_id(tmp_path: Path):
    folder = DATA / "sc_mixology"
    table = str(folder / "sc_celseq2.metadata.csv.gz")
    given = ConvertSettings(training_metadata=table, cluster_by="cell_line_demuxlet")
    store = Store(convert([folder / "sc_celseq2.count.csv.gz"], tmp_path / "out.zarr", given))
    assert dict(store.obs["cell_line_demuxlet"].value_counts()) == {"H1975": 112, "H2228": 81, "HCC827": 81}


def test_a_folder_of_10x_output_of_all_versions_becomes_one_store(tmp_path: Path):
    with tarfile.open(DATA / "tenx_toy" / "sample_data.tar.gz") as archive:
        # Python before 3.11.4 knows no filters; the archive is one of our own choice.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path / "v1")  # noqa: S202 - filtered where Python can
    store = Store(convert([DATA / "tenx_toy", tmp_path / "v1"], tmp_path / "out.zarr"))
    found = {source.sample: (source.n_cells, source.n_genes) for source in store.sources}
    assert found == {
        "filtered_gene_bc_matrices_h5.h5": (12, 343),
        "multiple_genomes.h5": (12, 686),
        "filtered_feature_bc_matrix.h5": (1_107, 507),
        "int-ids": (5, 6),
        "filtered_gene_bc_matrices": (100, 8_136),
    }
    assert store.obs.index.is_unique


def test_no_real_file_is_forgotten():
    native = {path for path in DATA.rglob("*") if path.is_file() and path.suffix not in READ_ON_THE_WAY}
    listed = {DATA / name for name in (*OPENS, *REFUSED)}
    others = {path for path in native if not path.is_relative_to(DATA / "tenx_toy") and "metadata" not in path.name}
    assert others <= listed
