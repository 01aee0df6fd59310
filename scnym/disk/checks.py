"""What the values of a source are: whole numbers or not, how large, on which scale. Faults are named by cell and gene.

C cells, G genes.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError
from scnym.base.schema import LIBRARY_OF_SCALE, Scale

MAX_LOG = float(np.log2(1e6 + 1)) + 0.1
"""No logarithm of counts per million can be larger, to whatever usual base."""
LARGEST_COUNT = 2**32 - 1
"""The largest value that can be stored exactly."""
LIBRARY_TOLERANCE = 1e-3
"""Relative spread of the library sizes of cells that were normalised to one total (32-bit rounding is far below)."""


@dataclass
class ValueCensus:
    """Grows block by block; `scale` is known at the end."""

    path: Path
    genes: pd.Index
    integral: bool = True
    """Whether every value so far is a whole number."""
    max_value: float = 0.0
    """Largest value so far."""
    _log_totals: tuple[float, float] = field(default=(np.inf, -np.inf))
    """Smallest and largest sum of expm1(value) over a cell that has any."""

    def check(self, counts_CG: sparse.csr_matrix, cells: pd.Index) -> None:
        """Refuse a block, as it stands in the file, with a value that no count can have.

        Raises
        ------
        DataError
            If a value is NaN, infinite or negative; names the cell and the gene.
        """
        values = counts_CG.data
        if not len(values):
            return
        if not (values.min() >= 0 and np.isfinite(values.max())):
            faulty = ~(np.isfinite(values) & (values >= 0))
            self._refuse(counts_CG, cells, faulty, "is negative or not a finite number")

    def add(self, counts_CG: sparse.csr_matrix, cells: pd.Index) -> None:
        """Take in a block that has passed the check, in canonical order.

        Raises
        ------
        DataError
            If a value is too large to be kept exactly; names the cell and the gene.
        """
        values = counts_CG.data
        high = float(values.max(initial=0))
        if high > LARGEST_COUNT:
            self._refuse(
                counts_CG, cells, values > LARGEST_COUNT, f"is above {LARGEST_COUNT:,}, the largest that is kept"
            )
        self.max_value = max(self.max_value, high)
        if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
            self.integral = False
            if high <= MAX_LOG:
                self._note_log_totals(counts_CG)

    def scale(self) -> Scale:
        """Say what the values are.

        Raises
        ------
        DataError
            If they are neither counts nor ln(CP10k+1) nor ln(CPM+1) of whole libraries.
        """
        if self.integral or self.max_value > MAX_LOG:
            return "counts"
        low, high = self._log_totals
        for scale in ("ln_cp10k", "ln_cpm"):
            library = LIBRARY_OF_SCALE[scale]
            if library * (1 - LIBRARY_TOLERANCE) <= low and high <= library * (1 + LIBRARY_TOLERANCE):
                return scale
        raise DataError(
            "the values are neither counts nor ln(CP10k+1) or ln(CPM+1) of whole cells: undone, the cells' totals "
            f"run from {low:,.0f} to {high:,.0f}",
            where=self.path,
            way_out="give the raw counts; in an h5ad they are often found with --layer raw or --layer counts",
        )

    def _note_log_totals(self, counts_CG: sparse.csr_matrix) -> None:
        undone = counts_CG.astype(np.float64)
        np.expm1(undone.data, out=undone.data)
        totals = np.asarray(undone.sum(axis=1)).ravel()
        totals = totals[totals > 0]
        if len(totals):
            low, high = self._log_totals
            self._log_totals = (min(low, float(totals.min())), max(high, float(totals.max())))

    def _refuse(self, counts_CG: sparse.csr_matrix, cells: pd.Index, faulty: np.ndarray, fault: str) -> None:
        at = int(np.flatnonzero(faulty)[0])
        row = int(np.searchsorted(counts_CG.indptr, at, side="right")) - 1
        raise DataError(
            f"value {counts_CG.data[at]:g} {fault}",
            where=f"{self.path}, cell {cells[row]}, gene {self.genes[counts_CG.indices[at]]}",
            way_out="give raw counts: numbers from 0 up; scaled or centred values cannot be used",
        )
