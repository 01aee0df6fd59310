"""AnnData files (h5ad): counts from X, raw or a layer, stored as CSR or dense."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy import sparse

from scnym.base.errors import DataError, FormatError, ScnymError, examples
from scnym.disk.formats.block import READING_FAULTS, CellBlock, numbers, require_unique


class H5adSource:
    """An h5ad file, read in bounded blocks.

    Parameters
    ----------
    path
        The file.
    layer
        None for X, ``raw`` for raw/X, else the name of a layer.

    Raises
    ------
    FormatError
        If the file is damaged, or its counts are stored in a way that cannot be read in blocks.
    DataError
        If cell or gene names stand twice, or the layer is not there.
    """

    has_cell_ids = True

    def __init__(self, path: Path, layer: str | None = None) -> None:
        self.path = path
        self._counts_key = {None: "X", "raw": "raw/X"}.get(layer, f"layers/{layer}")
        with self._opened() as file:
            self._check_layer(file)
            self.obs = self._frame(file, "obs")
            self.var = self._frame(file, "raw/var" if layer == "raw" else "var")
            self._check_shape(file)
        self.n_cells = len(self.obs)
        way_out = "make them unique first, in Python with adata.{}_names_make_unique()"
        require_unique(self.var.index, "gene", path, way_out.format("var"))
        require_unique(self.obs.index, "cell", path, way_out.format("obs"))

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        with self._opened() as file:
            counts: Any = file[self._counts_key]
            is_dense = isinstance(counts, h5py.Dataset)
            yield from (self._dense_blocks if is_dense else self._csr_blocks)(counts, max_elements, first_cell)

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path) as file:
                yield file
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError):
                raise
            raise FormatError(
                f"the file is damaged or not an h5ad ({fault})", where=self.path, way_out="copy or write it again"
            ) from fault

    def _csr_blocks(self, group: h5py.Group, max_elements: int, start: int) -> Iterator[CellBlock]:
        data, indices = cast("h5py.Dataset", group["data"]), cast("h5py.Dataset", group["indices"])
        indptr = np.asarray(group["indptr"], dtype=np.int64)
        self._check_indptr(indptr, len(data), len(indices))
        n_cells = len(indptr) - 1
        while start < n_cells:
            stop = int(np.searchsorted(indptr, indptr[start] + max_elements, side="right")) - 1
            stop = min(max(stop, start + 1), n_cells)
            low, high = int(indptr[start]), int(indptr[stop])
            genes = indices[low:high]
            self._check_indices(genes, start)
            parts = (numbers(data[low:high], self.path), genes, indptr[start : stop + 1] - low)
            counts = sparse.csr_matrix(parts, shape=(stop - start, len(self.var)))
            yield CellBlock(counts, self.obs.iloc[start:stop])
            start = stop

    def _dense_blocks(self, counts: h5py.Dataset, max_elements: int, first_cell: int) -> Iterator[CellBlock]:
        n_cells, n_genes = counts.shape
        rows = max(1, max_elements // max(1, n_genes))
        for start in range(first_cell, n_cells, rows):
            stop = min(start + rows, n_cells)
            yield CellBlock(sparse.csr_matrix(numbers(counts[start:stop], self.path)), self.obs.iloc[start:stop])

    def _check_layer(self, file: h5py.File) -> None:
        if self._counts_key in file and file[self._counts_key].attrs.get("encoding-type") not in {"null", "dict"}:
            return
        layers = file.get("layers")
        known = [*(layers if isinstance(layers, h5py.Group) else []), *(["raw"] if "raw" in file else [])]
        raise DataError(
            f"there are no counts in {self._counts_key}",
            where=self.path,
            way_out=f"give --layer one of {examples(known)}" if known else "store the counts in X",
        )

    def _frame(self, file: h5py.File, key: str) -> pd.DataFrame:
        frame = read_elem(cast("h5py.Group", file[key]))
        if not isinstance(frame, pd.DataFrame):
            raise FormatError(
                f"{key} is stored in the form of an old AnnData version",
                where=self.path,
                way_out="read and write the file once with a current anndata",
            )
        frame.index = frame.index.astype(str)
        return frame

    def _check_shape(self, file: h5py.File) -> None:
        counts: Any = file[self._counts_key]
        if isinstance(counts, h5py.Dataset):
            shape = counts.shape
        else:
            encoding = counts.attrs.get("encoding-type", "csr_matrix")
            if encoding != "csr_matrix":
                raise FormatError(
                    f"{self._counts_key} is stored as {encoding}, which cannot be read cell by cell",
                    where=self.path,
                    way_out="store it as CSR first, in Python with adata.X = adata.X.tocsr()",
                )
            shape = tuple(counts.attrs["shape"])
        wanted = (len(self.obs), len(self.var))
        if tuple(shape) != wanted:
            raise FormatError(
                f"{self._counts_key} has shape {tuple(map(int, shape))}, but obs and var name {wanted}",
                where=self.path,
                way_out="write the file again",
            )

    def _check_indptr(self, indptr: np.ndarray, n_values: int, n_indices: int) -> None:
        sound = len(indptr) == len(self.obs) + 1 and indptr[0] == 0 and indptr[-1] == n_values == n_indices
        if not sound or np.any(np.diff(indptr) < 0):
            raise FormatError(
                f"{self._counts_key}/indptr does not match its {n_values:,} values",
                where=self.path,
                way_out="write the file again",
            )

    def _check_indices(self, genes: np.ndarray, first_cell: int) -> None:
        if len(genes) and (genes.min() < 0 or genes.max() >= len(self.var)):
            raise FormatError(
                f"{self._counts_key}/indices names genes outside 0 to {len(self.var) - 1}",
                where=f"{self.path}, at cell {self.obs.index[first_cell]} or soon after",
                way_out="write the file again",
            )
