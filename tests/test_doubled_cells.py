"""Cells that stand in two inputs are named; ids that two samples share by chance, or by counting, alarm nobody."""

from pathlib import Path

import anndata
import numpy as np
import pytest
from helpers import clustered_adata, dense, write_csv, write_h5ad
from test_runs import Listener

import scnym.disk.formats.anndata
from scnym import convert
from scnym.disk.formats.csv_table import TextTable


def sample_of(seed: int, n_cells: int = 200) -> anndata.AnnData:
    """Cells of different depth, with barcodes of their own."""
    adata, random = clustered_adata(n_cells, seed=seed), np.random.default_rng(seed)
    adata.X = random.binomial(dense(adata).astype(int), random.uniform(0.2, 1, (n_cells, 1))).astype(np.float32)
    adata.obs_names = [f"{''.join(letters)}-1" for letters in random.choice([*"ACGT"], (n_cells, 16))]
    return adata


def normalised(adata: anndata.AnnData) -> anndata.AnnData:
    counts, adata = np.asarray(adata.X), adata.copy()
    adata.X = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    return adata


def warned(paths: list[Path], folder: Path) -> list[str]:
    listener = Listener()
    convert(paths, folder / "x.zarr", progress=listener)
    return [line for line in listener.lines if line.startswith("WARNING") and " stand in " in line]


def with_prefix(adata: anndata.AnnData) -> anndata.AnnData:
    adata = adata.copy()
    adata.obs_names = [f"S1_{name.removesuffix('-1')}" for name in adata.obs_names]
    return adata


def aggregate(adata: anndata.AnnData) -> anndata.AnnData:
    other = sample_of(7)
    other.obs_names = [f"{name[:-1]}2" for name in other.obs_names]
    return anndata.concat([other, adata])


SAME = {
    "filtered and raw": (lambda adata: adata[:150], 150, "the same total counts"),
    "normalised": (normalised, 200, "the same number of genes"),
    "another spelling": (with_prefix, 200, "the same total counts"),
    "an aggregate": (aggregate, 200, "the same total counts"),
    "counts of some genes": (lambda adata: adata[:, ::2], 200, "nearly the same numbers of genes"),
}


@pytest.mark.parametrize("case", SAME)
def test_cells_that_stand_in_two_inputs_are_named_with_the_way_out(case: str, tmp_path: Path):
    make, n_cells, words = SAME[case]
    paths = [
        write_h5ad(tmp_path / "a.h5ad", sample_of(1)),
        write_h5ad(tmp_path / "b.h5ad", make(sample_of(1)).copy()),
        write_h5ad(tmp_path / "c.h5ad", sample_of(2)),
    ]
    (line,) = warned(paths, tmp_path)
    assert f"{n_cells} cells stand in 'a.h5ad' and again in 'b.h5ad'" in line
    assert words in line
    assert "give one of the two" in line


def test_a_table_under_three_names_is_named(tmp_path: Path):
    lines = warned([write_csv(tmp_path / f"{name}.csv", sample_of(1)) for name in "abc"], tmp_path)
    assert len(lines) == 2


def sharing(n_shared: int, *, make=lambda adata: adata) -> list[anndata.AnnData]:
    one, other = sample_of(1), sample_of(2)
    other.obs_names = [*one.obs_names[:n_shared], *other.obs_names[n_shared:]]
    return [make(one), make(other)]


def numbered(seed: int) -> anndata.AnnData:
    adata = sample_of(seed)
    adata.obs_names = [f"cell_{k}" for k in range(adata.n_obs)]
    return adata


DIFFERENT = {
    "barcodes shared by chance": lambda: sharing(30),
    "the same barcodes in raw files": lambda: sharing(200),
    "normalised, and shared by chance": lambda: sharing(30, make=normalised),
    "numbered cells": lambda: [numbered(1), numbered(2)],
    "no ids in common": lambda: [sample_of(1), sample_of(2)],
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_the_same_ids_of_other_cells_alarm_nobody(case: str, tmp_path: Path):
    paths = [write_h5ad(tmp_path / f"{k}.h5ad", adata) for k, adata in enumerate(DIFFERENT[case]())]
    assert not warned(paths, tmp_path)


def test_annotations_are_read_no_more_than_thrice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, n_read = scnym.disk.formats.anndata.AnnDataFile.obs.fget, list[int]()
    assert read is not None
    monkeypatch.setattr(
        scnym.disk.formats.anndata.AnnDataFile, "obs", property(lambda file: n_read.append(1) or read(file))
    )
    convert([write_h5ad(tmp_path / "a.h5ad", sample_of(1))], tmp_path / "x.zarr")
    assert len(n_read) == 3  # for the checks, for what is wrong with them, and to be written


def test_annotations_in_a_table_are_read_once_for_each_time_that_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read, n_read = TextTable.annotations, list[int]()
    monkeypatch.setattr(TextTable, "annotations", lambda table: n_read.append(1) or read(table))
    adata = sample_of(1)
    table = adata.to_df().astype(int)
    table.insert(0, "cell_type", adata.obs["cell_type"])
    table.to_csv(tmp_path / "a.csv", index_label="cell_id")
    convert([tmp_path / "a.csv"], tmp_path / "x.zarr")
    assert len(n_read) == 2
