"""Loom files: genes x cells on disk, turned round block by block. Read through loompy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, ScnymError, examples, meant
from scnym.base.settings import GIGABYTE
from scnym.disk.formats.block import READING_FAULTS, CellBlock, numbers, require_unique
from scnym.disk.formats.caches import cache_for

GENE_ATTRIBUTES = ("Gene", "var_names", "gene", "genes", "GeneName", "gene_name", "Accession")
CELL_ATTRIBUTES = ("CellID", "obs_names", "cell_id", "CellId", "cell_names", "Barcode", "barcode")

STRIP_BYTES = 16


class LoomSource:
    """A loom file, read in bounded blocks of cells.

    Raises
    ------
    FormatError
        If the file is damaged.
    DataError
        If it names no genes, or gene or cell names stand twice.
    SettingsError
        If the memory cap is too small for its chunks.
    """

    remark = None

    def __init__(self, path: Path, layer: str | None = None, *, max_memory_bytes: int = GIGABYTE) -> None:
        self.path = path
        self._layer = layer or ""
        self._require_values()
        with self._opened() as loom:
            if self._layer not in loom.layers:
                named = [name for name in loom.layers.keys() if name]  # noqa: SIM118 - not a mapping
                raise DataError(
                    f"there is no layer {layer!r}",
                    where=path,
                    way_out=f"give --layer one of {examples(named)}" if named else "leave out --layer",
                    mend=meant("--layer", layer, named) if named else {"--layer": None},
                )
            n_genes, n_cells = map(int, loom.shape)
            self.var = self._frame(loom.ra, GENE_ATTRIBUTES, "gene", n_genes)
            self.obs = self._frame(loom.ca, CELL_ATTRIBUTES, "cell", n_cells)
            self.has_cell_ids = any(key in loom.ca for key in CELL_ATTRIBUTES)
        with self._counts({}) as counts_GC:
            self._cache = cache_for([counts_GC], path, max_memory_bytes, cell_axis=1)
        self.n_cells = n_cells
        require_unique(self.var.index, "gene", path, "make the gene names unique first")
        require_unique(self.obs.index, "cell", path, "make the cell ids unique first")

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        max_elements = min(max_elements, self._cache.max_elements)
        cells = max(1, max_elements // max(1, len(self.var)))
        with self._counts(self._cache.options) as counts_GC:
            width = _strip_width(counts_GC, cells, max_elements)
            for strip_start in range(first_cell - first_cell % width, self.n_cells, width):
                strip_GC = numbers(counts_GC[:, strip_start : strip_start + width], self.path)
                strip_stop = strip_start + strip_GC.shape[1]
                for start in range(strip_start, strip_stop, cells):
                    first, stop = max(start, first_cell), min(start + cells, strip_stop)
                    if first < stop:
                        block_GC = strip_GC[:, first - strip_start : stop - strip_start]
                        yield CellBlock(sparse.csr_matrix(block_GC.T), self.obs.index[first:stop])

    def _require_values(self) -> None:
        """Refuse a matrix without cells or genes, which loompy takes for a file that is being made."""
        with self._faults_named(), h5py.File(self.path) as file:
            matrix: Any = file["matrix"]
            if 0 in matrix.shape:
                raise DataError("there are no cells or no genes in it", where=self.path, way_out="check the file")

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import loompy

        with self._faults_named(), loompy.connect(str(self.path), mode="r", validate=False) as loom:
            yield loom

    @contextmanager
    def _counts(self, options: dict[str, Any]) -> Iterator[Any]:
        """Open the matrix with a chunk cache, which loompy does not pass on."""
        with self._faults_named(), h5py.File(self.path, **options) as file:
            yield file[f"layers/{self._layer}" if self._layer else "matrix"]

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError):
                raise
            raise FormatError(
                f"the file is damaged or not a loom ({fault})", where=self.path, way_out="copy or write it again"
            ) from fault

    def _frame(self, attributes: Any, name_keys: tuple[str, ...], noun: str, length: int) -> pd.DataFrame:
        key = next((k for k in name_keys if k in attributes), None)
        if key is None and noun == "gene":
            raise DataError(
                f"no row attribute names the genes, but there are {examples(attributes.keys()) or 'none'}",
                where=self.path,
                way_out=f"name one of them {' or '.join(name_keys[:2])}",
            )
        names = attributes[key] if key else [f"cell_{i}" for i in range(length)]
        if len(names) != length:
            raise FormatError(
                f"{key} names {len(names):,} {noun}s, but the matrix has {length:,}",
                where=self.path,
                way_out="write the file again",
            )
        columns = {k: np.asarray(attributes[k]) for k in attributes.keys() if k != key}  # noqa: SIM118 - not a mapping
        plain = {k: v for k, v in columns.items() if v.size == length and v.dtype.names is None}
        flat = {k: v.reshape(length) for k, v in plain.items()}
        return pd.DataFrame(flat, index=pd.Index(np.asarray(names).astype(str)))


def _strip_width(counts_GC: h5py.Dataset, cells: int, max_elements: int) -> int:
    """Give how many cells to read at once, so that each chunk of the file is decoded once.

    A block of `cells` cells is cut down to whole chunks. Where it is narrower than one, a strip as wide as a chunk is
    read and cut into blocks, if it takes no more than `STRIP_BYTES` per element.
    """
    chunk_cells = counts_GC.chunks[1] if counts_GC.chunks else 1
    if cells >= chunk_cells:
        return cells - cells % chunk_cells
    fits = chunk_cells * counts_GC.shape[0] * counts_GC.dtype.itemsize <= STRIP_BYTES * max_elements
    return chunk_cells if fits else cells
