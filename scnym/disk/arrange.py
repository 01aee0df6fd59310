"""Values in any order, brought into the order of their rows through files: an external sort in bounded memory.

Each slab of values is sorted by row and written to a file of its own; then the rows are given in order, a bounded
stretch at a time, from all files at once. A slab that stands was written whole, so a killed run goes on after it.

N stored values.
"""

import bisect
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from scipy import sparse

from scnym.base.schema import index_dtype

ROW_DTYPE = np.dtype("<u4")
PREFIX = "slab_"


@dataclass
class RowArranger:
    """Takes slabs of values in any order, gives rows in order.

    Parameters
    ----------
    folder
        Where the slabs are set aside; those of an earlier, interrupted run are taken up.
    n_rows, n_genes
        Shape of the whole matrix.
    """

    folder: Path
    n_rows: int
    n_genes: int

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._slabs = [_SlabFile(path, self._gene_dtype) for path in sorted(self.folder.glob(f"{PREFIX}*"))]

    @property
    def n_slabs(self) -> int:
        """Slabs that stand."""
        return len(self._slabs)

    def add(self, rows_N: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray) -> None:
        """Set a slab aside, sorted by row; values of one row keep their order."""
        rows, genes, values = sorted_by_row(rows_N, genes_N.astype(self._gene_dtype, copy=False), values_N)
        name = f"{PREFIX}{self.n_slabs:06d}.{values.dtype.str[1:]}"
        unfinished = self.folder / f".{name}"
        with unfinished.open("wb") as file:
            for part in (rows.astype(ROW_DTYPE, copy=False), genes, values):
                file.write(part.data)
        finished = unfinished.rename(self.folder / name)
        self._slabs.append(_SlabFile(finished, self._gene_dtype))

    def blocks(self, max_elements: int, first_row: int = 0) -> Iterator[sparse.csr_matrix]:
        """Yield the rows from `first_row` on, in order, at most `max_elements` values at a time, one row at least."""
        ends = np.cumsum(self._row_lengths())
        while first_row < self.n_rows:
            given = int(ends[first_row - 1]) if first_row else 0
            stop = int(np.searchsorted(ends, given + max_elements, side="right"))
            stop = min(max(stop, first_row + 1), self.n_rows)
            yield self._rows(first_row, stop)
            first_row = stop

    @property
    def _gene_dtype(self) -> np.dtype:
        return index_dtype(self.n_genes)

    def _row_lengths(self) -> np.ndarray:
        lengths = np.zeros(self.n_rows, np.int64)
        for slab in self._slabs:
            rows = slab.rows(0, slab.n_elements)
            starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] + 1))
            lengths[rows[starts]] += np.diff(starts, append=len(rows))
        return lengths

    def _rows(self, first: int, stop: int) -> sparse.csr_matrix:
        pieces = [slab.between(first, stop) for slab in self._slabs]
        rows, genes, values = (np.concatenate([piece[k] for piece in pieces]) for k in range(3))
        rows, genes, values = sorted_by_row(rows - ROW_DTYPE.type(first), genes, values)
        lengths = np.bincount(rows, minlength=stop - first)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return sparse.csr_matrix((values, genes.astype(np.int32), indptr), shape=(stop - first, self.n_genes))


class _SlabFile:
    """Three arrays in one file, one after the other: rows (ascending), genes, values; the suffix names the values'."""

    def __init__(self, path: Path, gene_dtype: np.dtype) -> None:
        self.path = path
        self._dtypes = (ROW_DTYPE, gene_dtype, np.dtype(f"<{path.suffix[1:]}"))
        self.n_elements = path.stat().st_size // sum(dtype.itemsize for dtype in self._dtypes)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows of the values from `start` to `stop`."""
        with self.path.open("rb") as file:
            return self._read(file.fileno(), 0, start, stop)

    def between(self, first_row: int, stop_row: int) -> tuple[np.ndarray, ...]:
        """Rows, genes and values of some rows."""
        with self.path.open("rb") as file:
            rows = _RowsOnDisk(file.fileno(), self.n_elements)
            start = bisect.bisect_left(rows, first_row)
            stop = bisect.bisect_left(rows, stop_row, lo=start)
            return tuple(self._read(file.fileno(), k, start, stop) for k in range(3))

    def _read(self, file: int, part: int, start: int, stop: int) -> np.ndarray:
        dtype = self._dtypes[part]
        offset = self.n_elements * sum(earlier.itemsize for earlier in self._dtypes[:part]) + start * dtype.itemsize
        return np.frombuffer(os.pread(file, (stop - start) * dtype.itemsize, offset), dtype)


@dataclass(frozen=True, slots=True)
class _RowsOnDisk:
    """A slab's rows as a sequence to search in, which reads no more than is looked at."""

    file: int
    n_elements: int

    def __len__(self) -> int:
        return self.n_elements

    def __getitem__(self, k: int) -> int:
        return int.from_bytes(os.pread(self.file, ROW_DTYPE.itemsize, k * ROW_DTYPE.itemsize), "little")


def sorted_by_row(
    rows_N: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the same values with their rows ascending; values of one row keep their order."""
    if not len(rows_N) or (rows_N[1:] >= rows_N[:-1]).all():
        return rows_N, genes_N, values_N
    low = int(rows_N.min())
    ends = np.cumsum(np.bincount(rows_N - low))
    out = (np.empty_like(rows_N), np.empty_like(genes_N), np.empty_like(values_N))
    _place(rows_N, genes_N, values_N, low, np.concatenate([np.zeros(1, np.int64), ends[:-1]]), *out)
    return out


@numba.njit(nogil=True, cache=True)
def _place(rows_N, genes_N, values_N, low, next_R, out_rows_N, out_genes_N, out_values_N):  # noqa: ANN001, ANN202 - compiled for every dtype
    for k in range(len(rows_N)):
        row = rows_N[k] - low
        at = next_R[row]
        next_R[row] = at + 1
        out_rows_N[at], out_genes_N[at], out_values_N[at] = rows_N[k], genes_N[k], values_N[k]
