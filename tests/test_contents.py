"""Of a folder, the counts are read once, and what is no counts stops nothing; all that is left out is said."""

import gzip
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from helpers import telling_adata, write_csv, write_h5ad, write_text
from test_cellranger import write_folder, write_h5, write_old_h5
from test_matrix_market import BARCODES, BY_CELLS, IDS, PARSE_CELLS, PARSE_GENES, lines, mtx, put

from scnym.base.errors import DataError, MissingInputError
from scnym.disk.convert import convert
from scnym.disk.inputs import Gathered, gather
from scnym.disk.store import Store
from scnym.runs.inspection import inspect

CLUSTERS = "Barcode,Cluster\nAAACCTGAGACGACGT-1,1\nAAACCTGAGAGGGATA-1,2\n"
POSITIONS = "AAACCTGAGACGACGT-1,0,0,0,2340,2480\nAAACCTGAGAGGGATA-1,1,1,1,2340,2480\n"
CELLS_OF_XENIUM = "cell_id,x_centroid,y_centroid,transcript_counts,cell_area\naaaa-1,84.1,355.3,21,58.3\n"
FILTERED, BINNED = "filtered_feature_bc_matrix.h5", "binned_outputs/square"
OF_SAMPLE = f"per_sample_outs/a/count/sample_{FILTERED}"
METRICS = 'Estimated Number of Cells,Mean Reads per Cell,Q30\n"2","1,234",95.1%\n'


def write_unknown_h5(path: Path) -> Path:
    """Write HDF5 that is none of the formats, as Cell Ranger's molecule_info.h5 is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["barcode_idx"] = np.arange(3)
    return path


def write_outs(folder: Path, *, kinds: tuple[str, ...] = ("filtered", "raw"), prefix: str = "") -> Path:
    """Write what Cell Ranger leaves, with the files beside the counts."""
    for kind in kinds:
        write_folder(folder / f"{prefix}{kind}_feature_bc_matrix")
        write_h5(folder / f"{prefix}{kind}_feature_bc_matrix.h5")
    write_unknown_h5(folder / "molecule_info.h5")
    put(folder / "metrics_summary.csv", METRICS)
    put(folder / "web_summary.html", "<html>")
    put(folder / "analysis/clustering/graphclust/clusters.csv", CLUSTERS)
    put(folder / "analysis/pca/projection.csv", "Barcode,PC-1,PC-2\nAAAC-1,-3.1,2.0\n")
    put(folder / "spatial/tissue_positions_list.csv", POSITIONS)
    return folder


def read_from(folder: Path) -> list[str]:
    """Names of what is read, below the folder."""
    return [one.path.relative_to(folder).as_posix() for one in gather([folder]).inputs]


def said(gathered: Gathered) -> str:
    return "\n".join(gathered.lines())


def test_the_filtered_matrix_of_cell_ranger_is_read_once_and_the_others_are_named(tmp_path: Path):
    outs = write_outs(tmp_path / "outs")
    assert read_from(outs) == ["filtered_feature_bc_matrix.h5"]
    words = said(gather([outs]))
    assert "'filtered_feature_bc_matrix.h5' is read, and what holds cells of the same ids is left out" in words
    assert "'filtered_feature_bc_matrix', 'raw_feature_bc_matrix', 'raw_feature_bc_matrix.h5'" in words
    assert "'metrics_summary.csv', 'molecule_info.h5'" in words
    assert inspect(outs).remarks == tuple(words.split("\n"))
    assert [one.path for one in gather([f"{outs}/*"]).inputs] == [outs / "filtered_feature_bc_matrix.h5"]


@pytest.mark.parametrize(
    ("made", "read"),
    [
        (("filtered_feature_bc_matrix", "raw_feature_bc_matrix.h5"), "filtered_feature_bc_matrix"),
        (("raw_feature_bc_matrix", "raw_feature_bc_matrix.h5"), "raw_feature_bc_matrix.h5"),
        (("raw_feature_bc_matrix.h5", "cellbender.h5", "cellbender_filtered.h5"), "cellbender_filtered.h5"),
        (("raw_feature_bc_matrix.h5", "output.h5", "output_filtered.h5"), "output_filtered.h5"),
        (("raw_feature_bc_matrix.h5", "cellbender.h5"), "cellbender.h5"),
        (("raw_feature_bc_matrix.h5", "s1_cellbender.h5", "s1_cellbender_filtered.h5"), "s1_cellbender_filtered.h5"),
        (("E-1.aggregated_counts.h5", "E-1.aggregated_normalised_counts.h5"), "E-1.aggregated_counts.h5"),
        (("s1/outs/raw_feature_bc_matrix.h5", "s1/cellbender/s1_filtered.h5"), "s1/cellbender/s1_filtered.h5"),
        (("raw_gene_bc_matrices/GRCh38", "filtered_gene_bc_matrices/GRCh38"), "filtered_gene_bc_matrices/GRCh38"),
        (("filtered_gene_bc_matrices/GRCh38", "filtered_gene_bc_matrices_h5.h5"), "filtered_gene_bc_matrices_h5.h5"),
        (("Solo.out/Gene/raw", "Solo.out/Gene/filtered", "Solo.out/GeneFull/filtered"), "Solo.out/Gene/filtered"),
        (
            ("Solo.out/GeneFull_Ex50pAS/raw", "Solo.out/GeneFull/raw", "Solo.out/Velocyto/raw"),
            "Solo.out/GeneFull_Ex50pAS/raw",
        ),
        (("filter_matrix", "raw_matrix"), "filter_matrix"),
        (
            (
                f"{BINNED}_002um/{FILTERED}",
                f"{BINNED}_008um/raw_feature_bc_matrix.h5",
            ),
            f"{BINNED}_002um/{FILTERED}",
        ),
        (
            (
                f"{BINNED}_002um/{FILTERED}",
                f"{BINNED}_008um/{FILTERED}",
            ),
            f"{BINNED}_008um/{FILTERED}",
        ),
        (
            ("GSM1_a_raw_feature_bc_matrix.h5", f"GSM1_a_{FILTERED}"),
            f"GSM1_a_{FILTERED}",
        ),
        (
            ("multi/count/raw_feature_bc_matrix.h5", "per_sample_outs/a/count/sample_filtered_feature_bc_matrix.h5"),
            "per_sample_outs/a/count/sample_filtered_feature_bc_matrix.h5",
        ),
        (("cell_feature_matrix", "cell_feature_matrix.h5"), "cell_feature_matrix.h5"),
    ],
)
def test_of_files_with_the_same_cells_one_is_read(made: tuple[str, ...], read: str, tmp_path: Path):
    for name in made:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (write_h5 if path.suffix == ".h5" else write_folder)(path)
    assert read_from(tmp_path) == [read]
    words = said(gather([tmp_path]))
    assert all(repr(name) in words for name in made if name != read)


def test_samples_are_told_apart_whatever_holds_their_cells(tmp_path: Path):
    for sample in ("a", "b"):
        write_outs(tmp_path / sample / "outs")
    write_folder(tmp_path / "c/velocyto-free")
    put(tmp_path / "GSM1_d_matrix.mtx.gz", mtx())
    put(tmp_path / "GSM1_d_genes.tsv.gz", lines(IDS))
    put(tmp_path / "GSM1_d_barcodes.tsv.gz", lines(BARCODES))
    write_h5(tmp_path / "GSM2_e_filtered_feature_bc_matrix.h5")
    assert [one.sample for one in gather([tmp_path]).inputs] == [
        "GSM1_d",
        "GSM2_e_filtered_feature_bc_matrix.h5",
        "a/outs/filtered_feature_bc_matrix.h5",
        "b/outs/filtered_feature_bc_matrix.h5",
        "velocyto-free",
    ]


def test_folders_that_are_named_like_output_but_are_samples_stay_samples(tmp_path: Path):
    for sample in ("cells", "nuclei", "mature", "immature", "total", "nucleus", "1", "2"):
        (tmp_path / sample).mkdir()
        write_h5(tmp_path / sample / FILTERED)
    assert len(gather([tmp_path]).inputs) == 8


def test_what_cellbender_made_of_several_samples_in_one_folder_stays_several(tmp_path: Path):
    for name in ("raw_feature_bc_matrix.h5", "s1_cellbender_filtered.h5", "s2_cellbender_filtered.h5"):
        write_h5(tmp_path / name)
    assert len(gather([tmp_path]).inputs) == 3


def test_the_samples_of_cell_ranger_multi_are_read_and_their_sum_is_not(tmp_path: Path):
    write_outs(tmp_path / "outs/multi/count", kinds=("raw",))
    for sample in ("s1", "s2"):
        write_outs(tmp_path / f"outs/per_sample_outs/{sample}/count", prefix="sample_")
    assert read_from(tmp_path) == [
        f"outs/per_sample_outs/{sample}/count/sample_filtered_feature_bc_matrix.h5" for sample in ("s1", "s2")
    ]
    assert "its cells are those of the samples beside it" in said(gather([tmp_path]))


def test_the_samples_of_parse_are_read_and_their_sum_is_not(tmp_path: Path):
    for folder in ("all-sample", "s1", "s2"):
        for stage in ("DGE_filtered", "DGE_unfiltered"):
            put(tmp_path / folder / stage / "count_matrix.mtx", BY_CELLS)
            put(tmp_path / folder / stage / "all_genes.csv", PARSE_GENES)
            put(tmp_path / folder / stage / "cell_metadata.csv", PARSE_CELLS)
        put(tmp_path / folder / "report/analysis_summary.csv", METRICS)
    assert read_from(tmp_path) == ["s1/DGE_filtered/count_matrix.mtx", "s2/DGE_filtered/count_matrix.mtx"]
    assert [one.sample for one in gather([tmp_path]).inputs] == ["s1/DGE_filtered", "s2/DGE_filtered"]


def test_a_folder_of_each_genome_is_read_where_no_file_has_both(tmp_path: Path):
    for genome in ("GRCh38", "mm10"):
        for kind in ("filtered", "raw"):
            write_folder(tmp_path / f"outs/{kind}_gene_bc_matrices/{genome}", version=2)
    assert read_from(tmp_path / "outs") == [f"filtered_gene_bc_matrices/{genome}" for genome in ("GRCh38", "mm10")]


def test_both_genomes_come_from_the_h5_where_there_is_one(tmp_path: Path):
    write_folder(tmp_path / "outs/filtered_gene_bc_matrices/GRCh38", version=2)
    write_folder(tmp_path / "outs/filtered_gene_bc_matrices/mm10", version=2)
    write_old_h5(tmp_path / "outs/filtered_gene_bc_matrices_h5.h5", {"GRCh38": list("abcdef"), "mm10": list("ghijkl")})
    assert read_from(tmp_path / "outs") == ["filtered_gene_bc_matrices_h5.h5"]


def test_the_h5ad_beside_a_matrix_of_kallisto_bustools_is_not_read_again(tmp_path: Path):
    put(tmp_path / "cells_x_genes.mtx", BY_CELLS)
    put(tmp_path / "cells_x_genes.barcodes.txt", lines(BARCODES))
    put(tmp_path / "cells_x_genes.genes.txt", lines(IDS))
    adata = telling_adata(len(BARCODES))
    adata.obs_names = [one.removesuffix("-1") for one in BARCODES]
    adata.write_h5ad(tmp_path / "adata.h5ad")
    assert read_from(tmp_path) == ["cells_x_genes.mtx"]
    assert "'adata.h5ad'" in said(gather([tmp_path]))


def of_other_cells(path: Path) -> Path:
    """Turn the barcodes of a 10x folder or file round, so that they are those of another sample."""
    if path.suffix == ".h5":
        with h5py.File(path, "a") as file:
            barcodes: Any = file["matrix/barcodes"]
            turned = [one.split(b"-")[0][::-1] + b"-1" for one in barcodes[:]]
            del file["matrix/barcodes"]
            file["matrix/barcodes"] = np.array(turned)
        return path
    with gzip.open(path / "barcodes.tsv.gz", "rt") as text:
        turned = [f"{line.split('-')[0][::-1]}-1\n" for line in text]
    put(path / "barcodes.tsv.gz", "".join(turned))
    return path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("100um", "200um"),
        ("raw", "filtered"),
        ("counts", "gene"),
        ("data/raw_feature_bc_matrix.h5", "data/filtered_feature_bc_matrix.h5"),
        ("all-sample", "s1"),
        ("velocyto", "s1"),
        ("sj/filtered_feature_bc_matrix", "s1/filtered_feature_bc_matrix"),
        ("square_008um", "100um"),
        ("x/raw", "x/cellbender.h5"),
    ],
)
def test_other_cells_are_another_sample_whatever_files_and_folders_are_called(one: str, other: str, tmp_path: Path):
    for name in (one, other):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        path = (write_h5 if name.endswith(".h5") else write_folder)(tmp_path / name)
        if name == other:
            of_other_cells(path)
    assert sorted(read_from(tmp_path)) == sorted([one, other])
    assert not said(gather([tmp_path]))


def test_bins_of_one_slide_have_other_ids_and_are_read_once(tmp_path: Path):
    write_folder(tmp_path / "outs/binned_outputs/square_008um/filtered_feature_bc_matrix")
    of_other_cells(write_folder(tmp_path / "outs/binned_outputs/square_016um/filtered_feature_bc_matrix"))
    of_other_cells(write_folder(tmp_path / "outs/segmented_outputs/filtered_feature_cell_matrix"))
    assert read_from(tmp_path / "outs") == ["binned_outputs/square_008um/filtered_feature_bc_matrix"]
    assert "left out by name, as another cut of the same slide" in said(gather([tmp_path]))


def test_a_damaged_file_beside_a_sound_one_of_its_name_stops_nothing(tmp_path: Path):
    write_h5(tmp_path / "filtered_feature_bc_matrix.h5")
    (write_folder(tmp_path / "raw_feature_bc_matrix") / "barcodes.tsv.gz").unlink()
    assert read_from(tmp_path) == ["filtered_feature_bc_matrix.h5"]
    assert "left out by name" in said(gather([tmp_path]))


def test_parts_of_the_counts_alone_are_refused_and_each_is_read_where_it_is_named(tmp_path: Path):
    for part in ("spliced", "unspliced"):
        put(tmp_path / f"x/{part}.mtx", mtx())
    put(tmp_path / "x/features.tsv", lines(IDS))
    put(tmp_path / "x/barcodes.tsv", lines(BARCODES))
    with pytest.raises(DataError, match=r"parts of the counts of the same cells: 'spliced\.mtx', 'unspliced\.mtx'"):
        gather([tmp_path / "x"])
    assert [one.sample for one in gather([tmp_path / "x/spliced.mtx"]).inputs] == ["spliced"]


def test_tables_beside_matrices_are_left_out_unless_they_hold_counts(tmp_path: Path):
    write_folder(tmp_path / "s1")
    put(tmp_path / "metadata.csv", "cell,age,type\nc1,4,T cell\nc2,5,B cell\n")
    put(tmp_path / "clusters.csv", CLUSTERS)
    put(tmp_path / "cells.csv.gz", CELLS_OF_XENIUM)
    put(tmp_path / "umap.csv", "cell,1,2\nc1,-3.5,4\n")
    put(tmp_path / "featureDump.txt", "CB\tMappedReads\tDedupRate\nACGT\t40\t0.5\n")
    put(tmp_path / "samples.tsv", "sample\tdonor\ns1\td1\n")
    put(tmp_path / "s2_counts.csv", "cell,Actb,Gapdh,Xkr4\nc1,4,0,1\nc2,5,1,0\n")
    put(
        tmp_path / "s3.tsv",
        "Geneid\tChr\tStart\tEnd\tStrand\tLength\tc1\tc2\nActb\tchr1;chr1\t1;5\t2;6\t+;+\t9\t3\t0\n",
    )
    write_unknown_h5(tmp_path / "posterior.h5")
    assert read_from(tmp_path) == ["s1", "s2_counts.csv", "s3.tsv"]
    left = {path.name for path in gather([tmp_path]).left_out}
    assert left == {
        "metadata.csv",
        "clusters.csv",
        "cells.csv.gz",
        "umap.csv",
        "samples.tsv",
        "posterior.h5",
        "featureDump.txt",
    }


def test_a_folder_of_tables_is_read_as_it_is_but_for_those_of_words(tmp_path: Path):
    for name in ("clusters.csv", "cells.csv"):
        put(tmp_path / name, "cell,Actb\nc1,4\nc2,5\n")
    put(tmp_path / "donors.csv", "donor,age,sex\nd1,40,m\nd2,50,f\n".replace("40", "old").replace("50", "young"))
    put(tmp_path / "empty.h5ad", "")
    assert read_from(tmp_path) == ["cells.csv", "clusters.csv", "empty.h5ad"]
    assert "'donors.csv'" in said(gather([tmp_path]))


def test_a_folder_of_nothing_but_words_is_refused_for_what_is_in_it(tmp_path: Path):
    put(tmp_path / "a.csv", "donor,sex\nd1,m\n")
    assert read_from(tmp_path) == ["a.csv"]
    put(tmp_path / "b/notes.md", "")
    with pytest.raises(MissingInputError, match="no file in this folder is of a known format"):
        gather([tmp_path / "b"])


def test_a_manifest_may_name_the_outs_of_each_sample(tmp_path: Path):
    for sample in ("a", "b"):
        write_outs(tmp_path / sample / "outs")
    manifest = write_text(tmp_path / "samples.csv", "path,sample\na/outs,S1\nb/outs,S2\n")
    found = gather([manifest]).inputs
    assert [one.sample for one in found] == ["S1", "S2"]
    assert [one.path.name for one in found] == ["filtered_feature_bc_matrix.h5"] * 2


def test_the_cells_of_outs_stand_once_in_the_store(tmp_path: Path):
    outs = write_outs(tmp_path / "outs")
    store = Store(convert([outs], tmp_path / "x.zarr"))
    assert store.n_cells == len(pd.Index(store.obs.index).unique()) == 40
    assert anndata.read_zarr(tmp_path / "x.zarr/dataset_0").n_obs == 40


@pytest.mark.parametrize("name", ["s1.h5ad", "counts.csv"])
@pytest.mark.parametrize(
    "table", ["Barcode,Cluster\nc0,1\nc1,2\n", "cell,nCount_RNA,percent.mt\nc0,15,0.1\nc1,7,0.2\n"]
)
def test_a_table_of_numbers_about_cells_is_left_out_beside_counts_of_any_form(name: str, table: str, tmp_path: Path):
    (write_h5ad if name.endswith("h5ad") else write_csv)(tmp_path / name)
    write_text(tmp_path / "clusters.csv", table)
    assert read_from(tmp_path) == [name]
    assert "clusters.csv" in said(gather([tmp_path]))
