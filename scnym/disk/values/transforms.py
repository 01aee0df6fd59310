"""Transforms of counts that can be undone, and what the values of each cell show once one is.

Counts that were normalised in each cell are whole multiples of one number, the cell's unit, which is what one count
became. It outlives logarithms and genes that were taken out; estimates, TPM and smoothed values have no unit.

C cells, N stored values.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scnym.disk.parts import Part

MOST_COUNTS_TESTED = 64
"""Multiples of a cell's unit up to which rounding of the values leaves no doubt whether they are whole."""
WHOLE_WITHIN = 0.05
"""How far a multiple may be from a whole number."""
NEAR_WHOLE = 1e-3
ROUNDED_TO = (2, 3, 4)
"""Digits behind the point to which tables are often rounded."""
MIN_VALUES_ROUNDED = 100
USUAL_ERROR, HALF_FLOAT_ERROR = 1e-5, 2**-11
"""Relative error of values: of text with six digits and more or 32-bit floats, and of 16-bit floats."""

MIN_GAP, MAX_SAMPLES, MIN_CELLS_OF_TOTAL = 0.01, 100, 5
"""Share by which totals of samples differ, at least; most samples; fewest cells of each."""


@dataclass(frozen=True, slots=True)
class Transform:
    """What may have been done to counts."""

    name: str
    words: str
    """What it makes of x."""
    undo: Callable[[np.ndarray], np.ndarray]


LINEAR = Transform("linear", "x", lambda values_N: values_N)
LN = Transform("ln", "ln(x+1)", np.expm1)
TRANSFORMS = {
    one.name: one
    for one in (
        LN,
        LINEAR,
        Transform("log2", "log2(x+1)", lambda values_N: np.expm1(values_N * np.log(2))),
        Transform("log10", "log10(x+1)", lambda values_N: np.expm1(values_N * np.log(10))),
        Transform("sqrt", "sqrt(x)", np.square),
        Transform("arcsinh", "arcsinh(x)", np.sinh),
    )
}


@dataclass(frozen=True, slots=True)
class Precision:
    """How exact some values are."""

    absolute: float = 0.0
    relative: float = USUAL_ERROR

    def error(self, values_N: np.ndarray) -> np.ndarray:
        """Return the largest error that each value may have."""
        return self.absolute + self.relative * values_N


def precision_of(parts: Iterable[Part]) -> Precision:
    """Return how exact values are: tables are often rounded to few digits, and floats may be of 16 bits."""
    values_N = np.concatenate([part.values_N.astype(np.float64) for part in parts])
    if len(values_N) < MIN_VALUES_ROUNDED:
        return Precision()
    for n_digits in ROUNDED_TO:
        scaled_N = values_N * 10**n_digits
        if np.all(np.abs(scaled_N - np.rint(scaled_N)) <= np.minimum(0.1, NEAR_WHOLE + 2e-7 * scaled_N)):
            return Precision(absolute=0.5 / 10**n_digits)
    if values_N.max() < np.finfo(np.float16).max and np.array_equal(values_N, values_N.astype(np.float16)):
        return Precision(relative=HALF_FLOAT_ERROR)
    return Precision()


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """What the values of each cell show once a transform is undone; arrays of shape (C,)."""

    totals_C: np.ndarray
    """Sum of the cell's values, undone."""
    uncertainty: float
    """By what share a total may be off, at most, since values are rounded."""
    units_C: np.ndarray
    """The smallest value, undone, which is one count if the cell has a gene with one; NaN without values."""
    n_values_C: np.ndarray
    """Stored values."""
    stored_C: np.ndarray
    """Sum of the values as they are."""
    n_whole_C: np.ndarray
    """Values, as they are, that are whole but for rounding."""
    n_tested_C: np.ndarray
    """Values of which it is certain whether they are whole multiples of the unit."""
    n_multiples_C: np.ndarray
    """Those of them that are."""
    deviations_C: np.ndarray
    """How far the values tested are from whole multiples, added up."""

    @property
    def is_whole_C(self) -> np.ndarray:
        """Whether all values of the cell, as they are, are whole, as if nothing had been done to them."""
        return self.n_whole_C == self.n_values_C

    @property
    def has_unit_C(self) -> np.ndarray:
        """Whether all that could be tested are multiples of the unit, but for one in a hundred."""
        return self.n_multiples_C >= 0.99 * self.n_tested_C

    @property
    def deviation(self) -> float:
        """How far a value tested is from a whole multiple, on average; that of the cell in the middle."""
        tested_C = self.n_tested_C > 0
        if not tested_C.any():
            return np.inf
        return float(np.median(self.deviations_C[tested_C] / self.n_tested_C[tested_C]))

    def share_with_unit(self) -> float | None:
        """Return the share of the cells whose values are multiples of a unit; None if no cell can tell.

        Cells of whole numbers tell nothing, unless there are no others.
        """
        telling_C = self.n_tested_C >= 2
        for cells_C in (telling_C & ~self.is_whole_C, telling_C):
            if cells_C.any():
                return float(self.has_unit_C[cells_C].mean())
        return None


def figures_of(parts: Iterable[Part], transform: Transform, precision: Precision) -> CellFigures:
    """Look at the values of every cell, with a transform undone."""
    found = [_figures_of_part(part, transform, precision) for part in parts]
    joined = {
        name: np.concatenate([getattr(one, name) for one in found]) for name in CellFigures.__slots__ if name[-1] == "C"
    }
    return CellFigures(**joined, uncertainty=max(one.uncertainty for one in found))


def totals_of(parts: Iterable[Part], transform: Transform) -> np.ndarray:
    """Return the sum of every cell's values with a transform undone, float64, shape (C,)."""
    sums = [_sums(transform.undo(part.values_N.astype(np.float64)), part.row_lengths_C) for part in parts]
    return np.concatenate([np.empty(0), *sums])


def sample_of(parts: Sequence[Part], max_values: int) -> list[Part]:
    """Return whole cells of each part, together about `max_values` of their values."""
    share = max(1, max_values // max(1, len(parts)))
    cut = []
    for part in parts:
        n_cells = max(1, int(np.searchsorted(np.cumsum(part.row_lengths_C), share, side="right")))
        n_values = int(part.row_lengths_C[:n_cells].sum())
        cut.append(Part(part.values_N[:n_values], part.indices_N[:n_values], part.row_lengths_C[:n_cells]))
    return cut


def is_whole(values_N: np.ndarray) -> np.ndarray:
    """Return which values are whole but for rounding; one that is nearly zero is not."""
    return (np.abs(values_N - np.rint(values_N)) <= NEAR_WHOLE) & (values_N > 0.5)


def _figures_of_part(part: Part, transform: Transform, precision: Precision) -> CellFigures:
    lengths_C = part.row_lengths_C
    values_N = part.values_N.astype(np.float64)
    undone_N = transform.undo(values_N)
    totals_C = _sums(undone_N, lengths_C)
    upper_C = _sums(transform.undo(values_N + precision.error(values_N)), lengths_C)
    uncertainty = float(np.max(upper_C[totals_C > 0] / totals_C[totals_C > 0] - 1, initial=0))
    smallest_C = np.full(len(lengths_C), np.nan)
    filled_C = lengths_C > 0
    smallest_C[filled_C] = np.minimum.reduceat(values_N, _starts(lengths_C)[filled_C]) if filled_C.any() else 0
    units_C = transform.undo(smallest_C)
    doubt_C = transform.undo(smallest_C + precision.error(smallest_C)) / units_C - 1
    most_C = np.minimum(MOST_COUNTS_TESTED, WHOLE_WITHIN / (2 * doubt_C))
    multiples_N = undone_N / np.repeat(units_C, lengths_C)
    tested_N = (multiples_N > 1.5) & (multiples_N <= np.repeat(most_C, lengths_C))
    deviation_N = np.where(tested_N, np.abs(multiples_N - np.rint(multiples_N)), 0)
    return CellFigures(
        totals_C=totals_C,
        uncertainty=uncertainty,
        units_C=units_C,
        n_values_C=lengths_C,
        stored_C=_sums(values_N, lengths_C),
        n_whole_C=_sums(is_whole(values_N), lengths_C),
        n_tested_C=_sums(tested_N, lengths_C),
        n_multiples_C=_sums(tested_N & (deviation_N <= WHOLE_WITHIN), lengths_C),
        deviations_C=_sums(deviation_N, lengths_C),
    )


def _starts(lengths_C: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths_C) - lengths_C


def _sums(values_N: np.ndarray, lengths_C: np.ndarray) -> np.ndarray:
    """Add up the values of each cell; `reduceat` would give cells without values one of another's."""
    sums_C = np.zeros(len(lengths_C))
    filled_C = lengths_C > 0
    if filled_C.any():
        sums_C[filled_C] = np.add.reduceat(values_N, _starts(lengths_C)[filled_C], dtype=np.float64)
    return sums_C


def common_total(totals_C: np.ndarray, tolerance: float, known: Iterable[float]) -> float | None:
    """Return the total to which all cells were normalised; None if there is none.

    Parameters
    ----------
    totals_C
        Totals of the cells; those of empty cells are 0, and do not count.
    tolerance
        Share by which they may be off.
    known
        Usual totals, which a single cell proves.
    """
    filled = totals_C[totals_C > 0]
    if not len(filled):
        return None
    low, high = float(filled.min()), float(filled.max())
    for total in known:
        if total * (1 - tolerance) <= low and high <= total * (1 + tolerance):
            return total
    return float(np.median(filled)) if len(filled) > 1 and high <= low * (1 + 2 * tolerance) else None


def few_totals(totals_C: np.ndarray, tolerance: float) -> tuple[float, ...]:
    """Return the totals to which the cells of several samples were normalised, each sample to its own; or none.

    They must be far apart, each of several cells: totals that differ from cell to cell have no such gaps.
    """
    filled = np.sort(totals_C[totals_C > 0])
    cuts = np.flatnonzero(np.diff(filled) > MIN_GAP * filled[:-1]) + 1
    if len(cuts) >= MAX_SAMPLES:
        return ()
    groups = [filled[start:stop] for start, stop in pairwise([0, *cuts.tolist(), len(filled)])]
    if all(len(one) >= MIN_CELLS_OF_TOTAL and one[-1] <= one[0] * (1 + 2 * tolerance) for one in groups):
        return tuple(float(np.median(one)) for one in groups)
    return ()
