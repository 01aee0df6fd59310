"""A small matrix of counts, written in every form that scnym reads, sound or with a mistake in it.

C cells, G genes.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from helpers import write_text
from scipy import sparse

CELLS, GENES = ("c1", "c2", "c3", "c4"), ("Actb", "Cd3e", "Lyz2")
COUNTS_CG = ((5, 0, 1), (2, 3, 0), (0, 1, 4), (7, 2, 2))


@dataclass(frozen=True)
class Counts:
    """Counts with names; a value may be anything that a file can hold."""

    counts_CG: Sequence[Sequence[float | str]] = COUNTS_CG
    cells: Sequence[str] = CELLS
    genes: Sequence[str] = GENES

    def with_value(self, value: float | str) -> "Counts":
        """Return the same with another value for gene Cd3e of cell c2."""
        rows = [list(row) for row in self.counts_CG]
        rows[1][1] = value
        return Counts(rows, self.cells, self.genes)

    @property
    def array_CG(self) -> np.ndarray:
        """All values, shape (C, G), 32-bit floats."""
        return np.array(self.counts_CG, dtype=np.float32).reshape(len(self.cells), len(self.genes))


SOUND = Counts()


@dataclass(frozen=True)
class Form:
    """One way to write counts."""

    name: str
    """As users call it."""
    file: str
    """What it is called in the folder of a mistake."""
    write: Callable[[Path, Counts], object]
    """Writes counts to a path."""
    options: str = ""
    """What the command must be told besides."""

    def line(self, more: str = "") -> str:
        """Return the command that converts it."""
        return " ".join(["convert", self.file, "new.zarr", *self.options.split(), *more.split()])

    def write_into(self, folder: Path, counts: Counts = SOUND) -> Path:
        """Write counts into a folder."""
        self.write(folder / self.file, counts)
        return folder / self.file


def write_table(path: Path, counts: Counts) -> None:
    """Write a line per cell under a header of genes."""
    lines = [["cell", *counts.genes], *([cell, *row] for cell, row in zip(counts.cells, counts.counts_CG, strict=True))]
    write_text(path, "".join(",".join(map(str, line)) + "\n" for line in lines))


def write_turned(path: Path, counts: Counts) -> None:
    """Write a line per gene under a header of cells."""
    rows_GC = list(zip(*counts.counts_CG, strict=True)) or [() for _ in counts.genes]
    write_table(path, Counts(rows_GC, counts.genes, counts.cells))


def write_numbers(path: Path, counts: Counts) -> None:
    """Write numbers alone, and the genes beside them."""
    write_text(path, "".join(",".join(map(str, row)) + "\n" for row in counts.counts_CG))
    write_text(path.with_name("genes.txt"), "".join(f"{gene}\n" for gene in counts.genes))


def write_array(path: Path, counts: Counts) -> None:
    """Write an array, and the genes beside it."""
    np.save(path, counts.array_CG)
    write_text(path.with_name("genes.txt"), "".join(f"{gene}\n" for gene in counts.genes))


def write_loom(path: Path, counts: Counts) -> None:
    """Write a loom, with names even where there are none."""
    with h5py.File(path, "w") as file:
        file.attrs["LOOM_SPEC_VERSION"] = "3.0.0"
        file["matrix"] = counts.array_CG.T
        for name in ("layers", "row_attrs", "col_attrs", "row_graphs", "col_graphs", "attrs"):
            file.create_group(name)
        file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
        file["row_attrs/Gene"] = np.array(counts.genes, dtype=h5py.string_dtype())
        file["col_attrs/CellID"] = np.array(counts.cells, dtype=h5py.string_dtype())


def write_10x_folder(path: Path, counts: Counts) -> None:
    """Write a folder as Cell Ranger does."""
    path.mkdir()
    places = [(row, column) for row in range(len(counts.cells)) for column in range(len(counts.genes))]
    entries = [f"{g + 1} {c + 1} {counts.counts_CG[c][g]}" for c, g in places if counts.counts_CG[c][g] != 0]
    size = f"{len(counts.genes)} {len(counts.cells)} {len(entries)}"
    write_text(path / "matrix.mtx", "\n".join(["%%MatrixMarket matrix coordinate real general", size, *entries, ""]))
    write_text(path / "barcodes.tsv", "".join(f"{cell}\n" for cell in counts.cells))
    write_text(path / "features.tsv", "".join(f"{gene}\t{gene}\tGene Expression\n" for gene in counts.genes))


def write_10x_file(path: Path, counts: Counts) -> None:
    """Write an HDF5 file as Cell Ranger does."""
    counts_CG = sparse.csr_matrix(counts.array_CG)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(counts.cells, dtype="S")
        group["data"], group["indices"], group["indptr"] = counts_CG.data, counts_CG.indices, counts_CG.indptr
        group["shape"] = np.array([len(counts.genes), len(counts.cells)])
        for name, values in (("id", counts.genes), ("name", counts.genes)):
            group[f"features/{name}"] = np.array(values, dtype="S")
        group["features/feature_type"] = np.array(["Gene Expression"] * len(counts.genes), dtype="S")


def write_h5ad(path: Path, counts: Counts) -> None:
    """Write an h5ad whose counts are stored by cells."""
    _adata(counts, sparse.csr_matrix(counts.array_CG)).write_h5ad(path)


def write_h5ad_by_genes(path: Path, counts: Counts) -> None:
    """Write an h5ad whose counts are stored by genes."""
    _adata(counts, sparse.csc_matrix(counts.array_CG)).write_h5ad(path)


def write_dense_h5ad(path: Path, counts: Counts) -> None:
    """Write an h5ad whose counts are stored with their zeros."""
    _adata(counts, counts.array_CG).write_h5ad(path)


def write_zarr(path: Path, counts: Counts) -> None:
    """Write an AnnData as Zarr."""
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        warnings.simplefilter("ignore")  # of strings, which have no final specification
        _adata(counts, sparse.csr_matrix(counts.array_CG)).write_zarr(path)


def _adata(counts: Counts, matrix: object) -> anndata.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        obs = pd.DataFrame(
            {"cell_type": ["B", "T"] * (len(counts.cells) // 2)}, index=pd.Index(counts.cells, dtype=str)
        )
        return anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=pd.Index(counts.genes, dtype=str)))


CSV = Form("CSV, a line per cell", "counts.csv", write_table)
TURNED = Form("CSV, a line per gene", "genes_by_cells.csv", write_turned, "--csv_orientation genes_by_cells")
GZIPPED = Form("gzipped CSV", "counts.csv.gz", write_table)
NUMBERS = Form("CSV of numbers alone", "numbers.csv", write_numbers, "--input_genes genes.txt")
ARRAY = Form("npy", "counts.npy", write_array, "--input_genes genes.txt")
H5AD = Form("h5ad, CSR", "counts.h5ad", write_h5ad)
H5AD_BY_GENES = Form("h5ad, CSC", "csc.h5ad", write_h5ad_by_genes)
DENSE_H5AD = Form("h5ad, dense", "dense.h5ad", write_dense_h5ad)
ZARR = Form("AnnData as Zarr", "adata.zarr", write_zarr)
LOOM = Form("loom", "counts.loom", write_loom)
FOLDER_10X = Form("10x folder", "filtered", write_10x_folder)
FILE_10X = Form("10x h5", "filtered.h5", write_10x_file)

BINARY = (H5AD, H5AD_BY_GENES, DENSE_H5AD, ZARR, LOOM, FOLDER_10X, FILE_10X)
"""Forms of which a fault in a value is named by cell and gene."""
EVERY = (CSV, TURNED, GZIPPED, NUMBERS, ARRAY, *BINARY)
