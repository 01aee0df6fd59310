"""What single values of a source are: whole numbers or not, how large. Faults are named by cell and gene.

C cells, G genes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError
from scnym.disk.bucket import Location

Others = Callable[[], tuple[str, dict[str, object]]]
"""Says where else in a source counts may be: in words, and as options that would mend the command."""
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
    """Say that no other counts are known."""
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
