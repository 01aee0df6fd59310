"""Loom files: genes x cells on disk, turned round block by block. Read through loompy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, ScnymError, examples, meant
from scnym.base.settings import GIGABYTE
from scnym.disk.feature_kinds import plain
from scnym.disk.formats.hdf5 import cache_for
from scnym.disk.formats.source import READING_FAULTS, CellBlock, numbers, require_unique

GENE_ATTRIBUTES = (
    *("Gene", "var_names", "genes", "gene_name", "gene_names", "gene_symbol", "gene_symbols", "symbol", "symbols"),
    *("feature_name", "feature_names", "gene_short_name", "hgnc_symbol", "feature", "features", "name", "names"),
    *("row_names", "Accession", "gene_id", "gene_ids", "ensembl_id", "ensembl_ids", "ensembl", "feature_id", "id"),
)
"""Row attributes that name genes, the surest first; case and marks do not count."""
CELL_ATTRIBUTES = (
    *("CellID", "obs_names", "cell_ids", "cell_names", "cell_name", "cell", "cells", "barcodes", "barcode"),
    *("cell_barcode", "cell_barcodes", "col_names", "sample_barcode", "index", "name", "names", "id"),
)
"""Column attributes that name cells, the same."""
STRIP_BYTES = 16


class LoomSource:
    """A loom file, read in bounded blocks of cells.

    Raises
    ------
    FormatError
        If the file is damaged.
    DataError
        If it names no genes, or cell names stand twice.
    SettingsError
        If the memory cap is too small for its chunks.
    """

    remark: str | None = None

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
            self.var = self._frame(loom.ra, self._gene_key(loom.ra, n_genes), "gene", n_genes)
            cell_key = self._cell_key(loom.ca, n_cells)
            self.obs = self._frame(loom.ca, cell_key, "cell", n_cells)
            self.has_cell_ids = cell_key is not None
        with self._counts({}) as counts_GC:
            self._cache = cache_for([counts_GC], path, max_memory_bytes, cell_axis=1)
        self.n_cells = n_cells
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

    def _gene_key(self, attributes: Any, n_genes: int) -> str:
        key = next(_known(attributes, GENE_ATTRIBUTES), None)
        if key is not None:
            return key
        key = next(_naming(attributes, n_genes), None)
        if key is None:
            raise DataError(
                f"no row attribute names the genes, but there are {examples(attributes.keys()) or 'none'}",
                where=self.path,
                way_out=f"name one of them {' or '.join(GENE_ATTRIBUTES[:2])}",
            )
        self._say(f"no row attribute is known to name the genes: they are called by {key!r}, which differs for each")
        return key

    def _cell_key(self, attributes: Any, n_cells: int) -> str | None:
        """Return the attribute that names the cells; of several known ones the first that tells them apart."""
        known = list(_known(attributes, CELL_ATTRIBUTES))
        if known and plain(known[0]) == plain(CELL_ATTRIBUTES[0]):
            return known[0]
        key = next((key for key in known if _tells_apart(attributes[key], n_cells)), known[0] if known else None)
        if key is not None:
            return key
        key = next(_naming(attributes, n_cells), None)
        how = "called cell_0, cell_1 and so on" if key is None else f"called by {key!r}, which differs for each"
        self._say(f"no column attribute is known to name the cells: they are {how}")
        return key

    def _say(self, words: str) -> None:
        self.remark = f"{self.remark}; {words}" if self.remark else words

    def _frame(self, attributes: Any, key: str | None, noun: str, length: int) -> pd.DataFrame:
        names = attributes[key] if key else np.array([f"cell_{i}" for i in range(length)])
        if names.size != length:
            raise FormatError(
                f"{key} names {len(names):,} {noun}s, but the matrix has {length:,}",
                where=self.path,
                way_out="write the file again",
            )
        columns = {k: np.asarray(attributes[k]) for k in attributes.keys() if k != key}  # noqa: SIM118 - not a mapping
        usable = {k: v for k, v in columns.items() if v.size == length and v.dtype.names is None}
        flat = {k: v.reshape(length) for k, v in usable.items()}
        return pd.DataFrame(flat, index=pd.Index(np.asarray(names).reshape(length).astype(str)))


def _known(attributes: Any, wanted: Sequence[str]) -> Iterator[str]:
    """Yield the attributes that are known by name, the surest first."""
    by_name: dict[str, list[str]] = {}
    for key in attributes.keys():  # noqa: SIM118 - not a mapping
        by_name.setdefault(plain(key), []).append(key)
    for name in wanted:
        yield from sorted(by_name.get(plain(name), ()), key=lambda key: key != name)


def _naming(attributes: Any, length: int) -> Iterator[str]:
    """Yield the attributes of text that differs for each gene or cell."""
    for key in attributes.keys():  # noqa: SIM118 - not a mapping
        if np.asarray(attributes[key]).dtype.kind in "OSU" and _tells_apart(attributes[key], length):
            yield key


def _tells_apart(names: Any, length: int) -> bool:
    values = np.asarray(names)
    if values.size != length or values.dtype.names is not None:
        return False
    texts = set(map(str, values.reshape(length)))
    return len(texts) == length and not any(not text.strip() for text in texts)


def _strip_width(counts_GC: h5py.Dataset, cells: int, max_elements: int) -> int:
    """Return how many cells to read at once, so that each chunk of the file is decoded once.

    A block of `cells` cells is cut down to whole chunks. Where it is narrower than one, a strip as wide as a chunk is
    read and cut into blocks, if it takes no more than `STRIP_BYTES` per element.
    """
    chunk_cells = counts_GC.chunks[1] if counts_GC.chunks else 1
    if cells >= chunk_cells:
        return cells - cells % chunk_cells
    fits = chunk_cells * counts_GC.shape[0] * counts_GC.dtype.itemsize <= STRIP_BYTES * max_elements
    return chunk_cells if fits else cells
