"""What the values of a source are: whole numbers or not, how large, on which scale. Faults are named by cell and gene.

C cells, G genes.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError
from scnym.base.schema import LIBRARY_OF_SCALE, Scale
from scnym.disk.bucket import Location

MAX_LOG = float(np.log2(1e6 + 1)) + 0.1
"""No logarithm of counts per million can be larger, to whatever usual base."""
LARGEST_COUNT = 2**32 - 1
"""The largest value that can be stored exactly."""
LIBRARY_TOLERANCE = 1e-3
"""Relative spread of the library sizes of cells that were normalised to one total (32-bit rounding is far below)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRange:
    """What is known of some values; two ranges are joined into that of both."""

    high: float = 0.0
    """Largest value."""
    integral: bool = True
    """Whether every value is a whole number."""
    log_low: float = np.inf
    log_high: float = -np.inf
    """Smallest and largest sum of expm1(value) over a cell that has any, where the values may be logarithms."""

    def joined(self, other: "ValueRange") -> "ValueRange":
        """Give the range of these and the other values."""
        return ValueRange(
            high=max(self.high, other.high),
            integral=self.integral and other.integral,
            log_low=min(self.log_low, other.log_low),
            log_high=max(self.log_high, other.log_high),
        )

    def as_floats(self) -> tuple[float, float, float, float]:
        """Give all fields as numbers, to be set aside."""
        return self.high, float(self.integral), self.log_low, self.log_high

    @classmethod
    def from_floats(cls, high: float, integral: float, log_low: float, log_high: float) -> "ValueRange":
        """Take them up again."""
        return cls(high=float(high), integral=bool(integral), log_low=float(log_low), log_high=float(log_high))

    def scale(self, path: Location) -> Scale:
        """Say what the values of a whole source are.

        Raises
        ------
        DataError
            If they are neither counts nor ln(CP10k+1) nor ln(CPM+1) of whole libraries.
        """
        if self.integral or self.high > MAX_LOG:
            return "counts"
        for scale, library in LIBRARY_OF_SCALE.items():
            if library * (1 - LIBRARY_TOLERANCE) <= self.log_low and self.log_high <= library * (1 + LIBRARY_TOLERANCE):
                return scale
        raise DataError(
            "the values are neither counts nor ln(CP10k+1) or ln(CPM+1) of whole cells: undone, the cells' totals "
            f"run from {self.log_low:,.0f} to {self.log_high:,.0f}",
            where=path,
            way_out="give the raw counts; in an h5ad they are often found with --layer raw or --layer counts",
            mend=_other_values(path),
        )


@dataclass(frozen=True, slots=True)
class ValueChecks:
    """Refuses values that no count can have; names the source, the cell and the gene."""

    path: Location
    genes: pd.Index

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
        if values.dtype.kind != "f" or np.array_equal(values, np.rint(values)):
            return ValueRange(high=high)
        low_total, high_total = _log_totals(counts_CG) if high <= MAX_LOG else (np.inf, -np.inf)
        return ValueRange(high=high, integral=False, log_low=low_total, log_high=high_total)

    def _refuse(self, counts_CG: sparse.csr_matrix, cells: pd.Index, faulty: np.ndarray, fault: str) -> None:
        at = int(np.flatnonzero(faulty)[0])
        row = int(np.searchsorted(counts_CG.indptr, at, side="right")) - 1
        raise DataError(
            f"value {counts_CG.data[at]:g} {fault}",
            where=f"{self.path}, cell {cells[row]}, gene {self.genes[counts_CG.indices[at]]}",
            way_out="give raw counts: numbers from 0 up; scaled or centred values cannot be used",
            mend=_other_values(self.path),
        )


def _other_values(path: Location) -> dict[str, object]:
    """Give where else in an AnnData the counts may be."""
    places = {"counts": ("layers/counts",), "raw": ("raw/X", "raw.X")}
    with suppress(OSError, ValueError, RuntimeError):
        if not isinstance(path, Path):
            return {}
        if path.is_dir():
            found = [layer for layer, keys in places.items() if any((path / key).is_dir() for key in keys)]
        else:
            with h5py.File(path) as file:
                found = [layer for layer, keys in places.items() if "obs" in file and any(key in file for key in keys)]
        return {"--layer": found[0]} if found else {}
    return {}


def _log_totals(counts_CG: sparse.csr_matrix) -> tuple[float, float]:
    undone = counts_CG.astype(np.float64)
    np.expm1(undone.data, out=undone.data)
    totals = np.asarray(undone.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    return float(totals.min(initial=np.inf)), float(totals.max(initial=-np.inf))
