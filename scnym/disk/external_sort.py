"""Values in any order, brought into the order of their rows through files: an external sort in bounded memory.

Each slab of values is sorted by row and written to a file of its own; then the rows are given in order, a bounded
stretch at a time, from all files at once. A slab that stands was written whole, so a killed run goes on after it.

N stored values, R runs: the values of one row that stand together in a slab.
"""

import bisect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.schema import index_dtype

ROW_DTYPE, END_DTYPE = np.dtype("<u4"), np.dtype("<i8")
PREFIX = "slab_"
REGROUPING_SEED = 0


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of values, one after the other."""

    rows_R: np.ndarray
    lengths_R: np.ndarray
    genes_N: np.ndarray
    values_N: np.ndarray

    @classmethod
    def of_rows(cls, rows_N: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray) -> "_Runs":
        """Find the runs in values that are sorted by row."""
        starts = np.flatnonzero(np.diff(rows_N, prepend=rows_N[:1] ^ 1))
        return cls(rows_N[starts], np.diff(starts, append=len(rows_N)), genes_N, values_N)

    @classmethod
    def joined(cls, pieces: Sequence["_Runs"]) -> "_Runs":
        """Put pieces one behind the other."""
        if not pieces:
            return cls(np.empty(0, ROW_DTYPE), np.empty(0, END_DTYPE), np.empty(0, np.uint16), np.empty(0, np.uint8))
        names = ("rows_R", "lengths_R", "genes_N", "values_N")
        return cls(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in names))

    def sorted(self) -> "_Runs":
        """Order the runs by row; runs of one row keep their order."""
        if (self.rows_R[1:] >= self.rows_R[:-1]).all():
            return self
        order = np.argsort(self.rows_R, kind="stable")
        starts_R, lengths_R = np.cumsum(self.lengths_R) - self.lengths_R, self.lengths_R[order]
        genes_N, values_N = np.empty_like(self.genes_N), np.empty_like(self.values_N)
        _gather_runs(starts_R[order], lengths_R, self.genes_N, self.values_N, genes_N, values_N)
        return _Runs(self.rows_R[order], lengths_R, genes_N, values_N)


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

    def add_values(self, rows_N: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray) -> None:
        """Set aside values in any order; those of one row keep their order."""
        self._add(_Runs.of_rows(*_sorted_by_row(rows_N.astype(ROW_DTYPE, copy=False), genes_N, values_N)))

    def add_rows(self, rows_R: np.ndarray, lengths_R: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray) -> None:
        """Set aside whole rows in any order, each with its number of values."""
        self._add(_Runs(rows_R.astype(ROW_DTYPE), lengths_R, genes_N, values_N).sorted())

    def blocks(self, max_elements: int, first_row: int = 0) -> Iterator[sparse.csr_matrix]:
        """Yield the rows from `first_row` on, in order, at most `max_elements` values at a time, one row at least."""
        ends = np.cumsum(self._row_lengths())
        while first_row < self.n_rows:
            given = int(ends[first_row - 1]) if first_row else 0
            stop = int(np.searchsorted(ends, given + max_elements, side="right"))
            stop = min(max(stop, first_row + 1), self.n_rows)
            yield self._rows(first_row, stop)
            first_row = stop

    def _add(self, runs: _Runs) -> None:
        name = f"{PREFIX}{self.n_slabs:06d}.{runs.values_N.dtype.str[1:]}"
        unfinished = self.folder / f".{name}"
        _SlabFile.write(unfinished, runs, self._gene_dtype)
        self._slabs.append(_SlabFile(unfinished.rename(self.folder / name), self._gene_dtype))

    @property
    def _gene_dtype(self) -> np.dtype:
        return index_dtype(self.n_genes)

    def _row_lengths(self) -> np.ndarray:
        lengths = np.zeros(self.n_rows, np.int64)
        for slab in self._slabs:
            rows_R, lengths_R = slab.row_lengths()
            np.add.at(lengths, rows_R, lengths_R)
        return lengths

    def _rows(self, first: int, stop: int) -> sparse.csr_matrix:
        runs = _Runs.joined([slab.between(first, stop) for slab in self._slabs]).sorted()
        lengths = np.bincount(runs.rows_R - ROW_DTYPE.type(first), weights=runs.lengths_R, minlength=stop - first)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.astype(np.int64))])
        return sparse.csr_matrix(
            (runs.values_N, runs.genes_N.astype(np.int32), indptr), shape=(stop - first, self.n_genes)
        )


class _SlabFile:
    """Runs in one file: how many runs and values, then rows (ascending), ends, genes, values; the suffix is a dtype."""

    HEADER = np.dtype("<i8")

    def __init__(self, path: Path, gene_dtype: np.dtype) -> None:
        self.path = path
        with path.open("rb") as file:
            self.n_runs, self.n_elements = np.frombuffer(file.read(2 * self.HEADER.itemsize), self.HEADER).tolist()
        self._dtypes = (ROW_DTYPE, END_DTYPE, gene_dtype, np.dtype(f"<{path.suffix[1:]}"))
        lengths = (self.n_runs, self.n_runs, self.n_elements)
        sizes = [count * dtype.itemsize for count, dtype in zip(lengths, self._dtypes, strict=False)]
        self._offsets = np.cumsum([2 * self.HEADER.itemsize, *sizes]).tolist()

    @classmethod
    def write(cls, path: Path, runs: _Runs, gene_dtype: np.dtype) -> None:
        """Write runs, sorted by row, to a file."""
        with path.open("wb") as file:
            file.write(np.array([len(runs.rows_R), len(runs.values_N)], cls.HEADER).data)
            file.write(runs.rows_R.data)
            file.write(np.cumsum(runs.lengths_R, dtype=END_DTYPE).data)
            file.write(np.ascontiguousarray(runs.genes_N, gene_dtype).data)
            file.write(np.ascontiguousarray(runs.values_N).data)

    def row_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of all runs, and their lengths."""
        with self.path.open("rb") as file:
            rows_R, ends_R = (self._read(file.fileno(), part, 0, self.n_runs) for part in (0, 1))
        return rows_R, np.diff(ends_R, prepend=0)

    def between(self, first_row: int, stop_row: int) -> _Runs:
        """Return the runs of some rows."""
        with self.path.open("rb") as opened:
            file = opened.fileno()
            rows = _RowsOnDisk(file, self.n_runs, self._offsets[0])
            start = bisect.bisect_left(rows, first_row)
            stop = bisect.bisect_left(rows, stop_row, lo=start)
            before = int(self._read(file, 1, start - 1, start)[0]) if start else 0
            ends_R = self._read(file, 1, start, stop)
            last = int(ends_R[-1]) if len(ends_R) else before
            lengths_R = np.diff(ends_R, prepend=before)
            genes_N, values_N = (self._read(file, part, before, last) for part in (2, 3))
            return _Runs(self._read(file, 0, start, stop), lengths_R, genes_N, values_N)

    def _read(self, file: int, part: int, start: int, stop: int) -> np.ndarray:
        dtype = self._dtypes[part]
        offset = self._offsets[part] + start * dtype.itemsize
        return np.frombuffer(os.pread(file, (stop - start) * dtype.itemsize, offset), dtype)


@dataclass(frozen=True, slots=True)
class _RowsOnDisk:
    """A slab's rows as a sequence to search in, which reads no more than is looked at."""

    file: int
    n_rows: int
    offset: int

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, k: int) -> int:
        place = self.offset + k * ROW_DTYPE.itemsize
        return int.from_bytes(os.pread(self.file, ROW_DTYPE.itemsize, place), "little")


def grouped_order(column: pd.Series) -> np.ndarray:
    """Return the cells grouped by the column's values, shuffled inside each group; those without a value come last."""
    codes_C = pd.factorize(column, sort=True)[0].astype(np.int64)
    codes_C[codes_C < 0] = codes_C.max(initial=-1) + 1
    shuffled = np.random.default_rng(REGROUPING_SEED).permutation(len(codes_C))
    return shuffled[np.argsort(codes_C[shuffled], kind="stable")]


def _sorted_by_row(
    rows_N: np.ndarray, genes_N: np.ndarray, values_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if (rows_N[1:] >= rows_N[:-1]).all():
        return rows_N, genes_N, values_N
    low = int(rows_N.min())
    counts = np.bincount(rows_N - ROW_DTYPE.type(low))
    out = np.empty_like(rows_N), np.empty_like(genes_N), np.empty_like(values_N)
    _place_by_row(rows_N, genes_N, values_N, low, np.cumsum(counts) - counts, *out)
    return out


@numba.njit(nogil=True, cache=True)
def _place_by_row(rows_N, genes_N, values_N, low, next_C, out_rows_N, out_genes_N, out_values_N):  # noqa: ANN001, ANN202 - compiled for every dtype
    for k in range(len(rows_N)):
        row = rows_N[k] - low
        at = next_C[row]
        next_C[row] = at + 1
        out_rows_N[at], out_genes_N[at], out_values_N[at] = rows_N[k], genes_N[k], values_N[k]


@numba.njit(nogil=True, cache=True)
def _gather_runs(starts_R, lengths_R, genes_N, values_N, out_genes_N, out_values_N):  # noqa: ANN001, ANN202 - compiled for every dtype
    at = 0
    for r in range(len(starts_R)):
        start, length = starts_R[r], lengths_R[r]
        out_genes_N[at : at + length] = genes_N[start : start + length]
        out_values_N[at : at + length] = values_N[start : start + length]
        at += length
