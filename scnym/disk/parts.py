"""Parts of a source set aside on disk: checked and in canonical order, before the store's final dtypes are known.

A value that no count can have is refused by its cell and gene. C cells, N stored values.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from scipy import sparse

from scnym.base.errors import DataError
from scnym.base.schema import index_dtype, value_dtype
from scnym.disk.location import Location

Others = Callable[[], tuple[str, dict[str, object]]]
"""Returns where else in a source counts may be: in words, and as options that would mend the command."""
LARGEST_COUNT = 2**32 - 1
"""The largest value that can be stored exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRange:
    """What is known of some values; two ranges are joined into that of both."""

    high: float = 0.0
    """Largest value."""
    integral: bool = True
    """Whether every value is a whole number."""

    def joined(self, other: "ValueRange") -> "ValueRange":
        """Return the range of these and the other values."""
        return ValueRange(high=max(self.high, other.high), integral=self.integral and other.integral)

    def as_floats(self) -> tuple[float, float]:
        """Return all fields as numbers, to be set aside."""
        return self.high, float(self.integral)

    @classmethod
    def from_floats(cls, high: float, integral: float) -> "ValueRange":
        """Take them up again."""
        return cls(high=float(high), integral=bool(integral))


def nowhere_else() -> tuple[str, dict[str, object]]:
    """Return nothing: no other counts are known."""
    return "", {}


@dataclass(frozen=True, slots=True)
class ValueChecks:
    """Refuses values that no count can have; names the source, the cell and the gene."""

    path: Location
    genes: pd.Index
    others: Others = nowhere_else

    def check(self, counts_CG: sparse.csr_matrix, cells: pd.Index) -> None:
        """Check a block as it stands in the file.

        Raises
        ------
        DataError
            If a value is NaN, infinite or negative.
        """
        values = counts_CG.data
        if not len(values):
            return
        if not (values.min() >= 0 and np.isfinite(values.max())):
            faulty = ~(np.isfinite(values) & (values >= 0))
            self._refuse(counts_CG, cells, faulty, "is negative or not a finite number")

    def range_of(self, counts_CG: sparse.csr_matrix, cells: pd.Index) -> ValueRange:
        """Look at a block that has passed the check, in canonical order.

        Raises
        ------
        DataError
            If a value is too large to be kept exactly.
        """
        values = counts_CG.data
        high = float(values.max(initial=0))
        if high > LARGEST_COUNT:
            self._refuse(
                counts_CG,
                cells,
                values.astype(np.float64) > LARGEST_COUNT,
                f"is above {LARGEST_COUNT:,}, the largest that is kept",
            )
        return ValueRange(high=high, integral=values.dtype.kind != "f" or np.array_equal(values, np.rint(values)))

    def _refuse(self, counts_CG: sparse.csr_matrix, cells: pd.Index, faulty: np.ndarray, fault: str) -> None:
        at = int(np.flatnonzero(faulty)[0])
        row = int(np.searchsorted(counts_CG.indptr, at, side="right")) - 1
        words, mend = self.others()
        raise DataError(
            f"value {counts_CG.data[at]:g} {fault}",
            where=f"{self.path}, cell {cells[row]}, gene {self.genes[counts_CG.indices[at]]}",
            way_out="give raw counts: numbers from 0 up; scaled or centred values cannot be used"
            + (f"; {words}" if words else ""),
            mend=mend,
        )


PREFIX, SUFFIX = "part_", ".arrays"
ARRAYS = ("range", "row_lengths_C", "totals_C", "cells", "values_N", "indices_N")
"""What is in a part's file, one NumPy array behind the other. A zip of them would cost two checksums of every byte, a
sixth of the time of a conversion."""
WHOLE = "whole"
"""Marks parts that hold all cells of their source."""


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive cells of one source, ready to be written. C cells, N stored values."""

    values_N: np.ndarray
    indices_N: np.ndarray
    row_lengths_C: np.ndarray


class Parts:
    """The parts of one source, in one folder, in the order of the cells.

    Parameters
    ----------
    folder
        Where they are; those of an earlier, interrupted run are taken up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))
        self._lengths = [self._load(path, "row_lengths_C") for path in self._paths]

    @property
    def n_cells(self) -> int:
        """Cells in the parts that stand."""
        return sum(map(len, self._lengths))

    @property
    def is_whole(self) -> bool:
        """Whether all cells of the source are here."""
        return (self.folder / WHOLE).exists()

    def close(self) -> None:
        """Note that all cells are here."""
        (self.folder / WHOLE).touch()

    def add(self, counts_CG: sparse.csr_matrix, cells: pd.Index, values: ValueRange) -> None:
        """Set aside a block of cells, in canonical order, with what is known of its values."""
        dtype = value_dtype(values.high, integral=values.integral)
        arrays = {
            "values_N": counts_CG.data.astype(dtype),
            "indices_N": counts_CG.indices.astype(index_dtype(counts_CG.shape[1])),
            "row_lengths_C": np.diff(counts_CG.indptr).astype(np.int64),
            "totals_C": np.asarray(counts_CG.sum(axis=1, dtype=np.float64)).ravel(),
            "cells": np.frombuffer(json.dumps(list(cells)).encode(), np.uint8),
            "range": np.array(values.as_floats()),
        }
        path = self.folder / f"{PREFIX}{len(self._paths):06d}{SUFFIX}"
        unfinished = path.with_name(f".{path.name}")
        with unfinished.open("wb") as file:
            for name in ARRAYS:
                write_array(file, arrays[name])
        self._paths.append(unfinished.rename(path))
        self._lengths.append(arrays["row_lengths_C"])

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[Part]:
        return self.starting_at(0)

    def __getitem__(self, number: int) -> Part:
        path = self._paths[number]
        return Part(self._load(path, "values_N"), self._load(path, "indices_N"), self._lengths[number])

    def starting_at(self, number: int) -> Iterator[Part]:
        """Yield the parts from one on."""
        yield from (self[one] for one in range(number, len(self)))

    def row_lengths(self) -> np.ndarray:
        """Count the stored values of every cell, shape (n_cells,)."""
        return np.concatenate([np.empty(0, np.int64), *self._lengths])

    def totals(self) -> np.ndarray:
        """Sum of every cell's values, float64, shape (n_cells,)."""
        return np.concatenate([np.empty(0), *(self._load(path, "totals_C") for path in self._paths)])

    def cells(self) -> pd.Index:
        """Ids of the cells."""
        lists = [json.loads(self._load(path, "cells").tobytes()) for path in self._paths]
        return pd.Index([cell for part in lists for cell in part], dtype=object)

    def value_range(self) -> ValueRange:
        """Return what is known of the values of all parts."""
        found = ValueRange()
        for path in self._paths:
            found = found.joined(ValueRange.from_floats(*self._load(path, "range")))
        return found

    def _load(self, path: Path, name: str) -> np.ndarray:
        with path.open("rb") as file:
            for _ in range(ARRAYS.index(name)):
                _skip_array(file)
            return np.load(file, allow_pickle=False)


class PartsInMemory(list[Part]):
    """Parts of a source that need not be set aside."""

    def totals(self) -> np.ndarray:
        """Sum of every cell's values, float64, shape (n_cells,)."""
        sums = [np.concatenate([np.zeros(1), np.cumsum(part.values_N, dtype=np.float64)]) for part in self]
        ends = [np.cumsum(part.row_lengths_C) for part in self]
        return np.concatenate(
            [np.empty(0), *(np.diff(one[end], prepend=0.0) for one, end in zip(sums, ends, strict=True))]
        )


def write_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array as `np.save` does, which says nothing of what the disk had no room for."""
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
    file.write(np.ascontiguousarray(array).data)


def _skip_array(file: BinaryIO) -> None:
    """Go to the end of the array at which a file stands."""
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    file.seek(math.prod(shape) * dtype.itemsize, os.SEEK_CUR)


def canonical(counts_CG: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the same counts with genes ascending in every row, each at most once, and no stored zeros.

    Sums are taken in 64 bits: two counts of 200 in one byte would make 144.
    """
    if not counts_CG.has_canonical_format:
        counts_CG = counts_CG.astype(np.float64 if counts_CG.dtype.kind == "f" else np.int64)
        counts_CG.sum_duplicates()
    if counts_CG.nnz and counts_CG.data.min() == 0:
        counts_CG = counts_CG.copy()
        counts_CG.eliminate_zeros()
    return counts_CG
