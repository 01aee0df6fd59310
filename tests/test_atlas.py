"""The synthetic atlas is like a real one where it matters to reading, and the same whenever it is made."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from scipy import sparse

from benchmarks.atlas import BLOCK_CELLS, Atlas, AtlasSettings, write_atlas

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SMALL = AtlasSettings(n_cells=2 * BLOCK_CELLS, n_genes=1_500, n_classes=8, values_per_cell=200, n_markers=5)
PEAK = """
import sys
from pathlib import Path
from benchmarks.atlas import AtlasSettings, write_atlas
from benchmarks.harness import peak_bytes
write_atlas(Path(sys.argv[1]), AtlasSettings(n_cells=int(sys.argv[2]), n_genes=2_000, values_per_cell=500))
print(peak_bytes())
"""


@pytest.fixture(scope="module")
def adata(tmp_path_factory: pytest.TempPathFactory) -> anndata.AnnData:
    return anndata.read_h5ad(write_atlas(tmp_path_factory.mktemp("atlas") / "small.h5ad", SMALL)[0])


def counts_of(adata: anndata.AnnData) -> sparse.csr_matrix:
    counts: Any = adata.X
    return sparse.csr_matrix(counts)


def test_an_atlas_is_a_csr_h5ad_of_whole_float32_counts_with_unique_names(adata: anndata.AnnData):
    counts = counts_of(adata)
    assert counts.shape == (SMALL.n_cells, SMALL.n_genes)
    assert counts.dtype == np.float32
    assert counts.has_canonical_format
    assert counts.data.min() >= 1
    np.testing.assert_array_equal(counts.data, np.rint(counts.data))
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert adata.uns == {}


def test_a_cell_has_the_stored_values_asked_for(adata: anndata.AnnData):
    assert counts_of(adata).nnz / adata.n_obs == pytest.approx(SMALL.values_per_cell, rel=0.05)


def test_library_sizes_spread_like_a_log_normal(adata: anndata.AnnData):
    logs = np.log(np.asarray(counts_of(adata).sum(axis=1)).ravel())
    assert logs.std() == pytest.approx(0.5, rel=0.05)
    assert np.mean(logs) == pytest.approx(np.median(logs), abs=0.03)


def test_gene_means_are_those_of_the_profiles(adata: anndata.AnnData):
    atlas = Atlas(SMALL)
    cells = adata[(adata.obs["cell_type"] == "type_0") & (adata.obs["tissue"] == "tissue_0")]
    totals_G = np.asarray(counts_of(cells).sum(axis=0)).ravel()
    expected_G = atlas.profiles_PG[0] * totals_G.sum()
    common = expected_G > 20
    assert common.sum() > 100
    z_G = (totals_G - expected_G)[common] / np.sqrt(expected_G[common])
    assert z_G.std() == pytest.approx(1, abs=0.15)


def test_classes_are_as_common_as_asked_and_in_random_order(adata: anndata.AnnData):
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    shares_K = 1 / np.arange(1, 9) / np.sum(1 / np.arange(1, 9))
    np.testing.assert_allclose(np.bincount(codes) / len(codes), shares_K, atol=0.02)
    neighbours_alike = np.mean(codes[1:] == codes[:-1])
    assert neighbours_alike == pytest.approx(np.sum(shares_K**2), abs=0.03)


def test_a_class_has_more_of_its_markers_than_every_other_class(adata: anndata.AnnData):
    codes = adata.obs["cell_type"].cat.codes.to_numpy()
    markers = adata.var["marker_of"].cat.codes.to_numpy()
    np.testing.assert_array_equal(np.bincount(markers[markers >= 0]), np.full(8, SMALL.n_markers))
    means_KG = np.vstack([np.asarray(counts_of(adata)[codes == code].mean(axis=0)) for code in range(8)])
    for code in range(8):
        own_K = means_KG[:, markers == code].mean(axis=1)
        assert own_K.argmax() == code
        assert own_K[code] > 10 * np.delete(own_K, code).max()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path):
    settings = [AtlasSettings(n_cells=500, n_genes=300, values_per_cell=50, seed=seed) for seed in (3, 3, 4)]
    first, again, other = (write_atlas(tmp_path / f"{k}.h5ad", s)[0].read_bytes() for k, s in enumerate(settings))
    assert first == again
    assert first != other


def test_a_larger_atlas_begins_with_the_cells_of_a_smaller_one(tmp_path: Path):
    few, many = (
        anndata.read_h5ad(
            write_atlas(tmp_path / f"{n}.h5ad", AtlasSettings(n_cells=n, n_genes=300, values_per_cell=50))[0]
        )
        for n in (700, BLOCK_CELLS + 5)
    )
    np.testing.assert_array_equal(counts_of(many)[:700].toarray(), counts_of(few).toarray())
    assert list(many.obs_names[:700]) == list(few.obs_names)
    for column in ("cell_type", "tissue", "donor"):
        assert list(many.obs[column][:700]) == list(few.obs[column])


def test_sources_have_different_genes_that_overlap_and_different_cells(tmp_path: Path):
    settings = AtlasSettings(n_cells=3 * BLOCK_CELLS, n_genes=1_000, values_per_cell=50, n_sources=3)
    sources = [anndata.read_h5ad(path) for path in write_atlas(tmp_path / "atlas.h5ad", settings)]
    genes = [set(source.var_names) for source in sources]
    assert len(set.union(*genes)) > 990
    for own in genes:
        assert 850 < len(own) < 950
    assert len({cell for source in sources for cell in source.obs_names}) == settings.n_cells
    whole = anndata.read_h5ad(
        write_atlas(
            tmp_path / "whole.h5ad", AtlasSettings(n_cells=settings.n_cells, n_genes=1_000, values_per_cell=50)
        )[0]
    )
    for source in sources:
        np.testing.assert_array_equal(
            counts_of(source).toarray(), counts_of(whole[source.obs_names, source.var_names]).toarray()
        )


def test_memory_does_not_grow_with_the_number_of_cells(tmp_path: Path):
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", PEAK, tmp_path / f"{n}.h5ad", str(n)], cwd=ROOT))
        for n in (8 * BLOCK_CELLS, 24 * BLOCK_CELLS)
    ]
    growth_of_the_data = 16 * BLOCK_CELLS * 500 * 8
    assert peaks[1] - peaks[0] < growth_of_the_data / 3
