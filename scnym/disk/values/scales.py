"""Which scale the values of a whole source are on: counts, estimates of them, or normalised counts that can be undone.

C cells.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from scnym.base.errors import MAX_EXAMPLES, DataError
from scnym.base.schema import LIBRARY_OF_SCALE, LOGARITHMS, Scale
from scnym.base.settings import CountsAs
from scnym.disk.formats.anndata import RestoredDataset
from scnym.disk.location import Location
from scnym.disk.parts import LARGEST_COUNT, Others, Part, ValueRange, nowhere_else
from scnym.disk.values.estimates import LARGEST_ONE, LEAST_CELLS, has_whole, judge
from scnym.disk.values.transforms import (
    LINEAR,
    LN,
    TRANSFORMS,
    CellFigures,
    Transform,
    common_total,
    few_totals,
    figures_of,
    precision_of,
    sample_of,
    totals_of,
)

SAMPLE_PARTS, SAMPLE_VALUES = 8, 2**19
"""Parts and values that are looked at to choose among the transforms; what is chosen must then hold for all cells."""
LIBRARY_TOLERANCE = 1e-3
"""Relative spread of the library sizes of cells that were normalised to one total (32-bit rounding is far below)."""
USUAL_TOTALS = (1e4, 1e6)
TPM_TOTALS = (1e5, 1e6)
"""Totals of transcripts per million, and of a tenth of them, of which logarithms are often taken."""
LEAST_SHARE_WITH_UNIT = 0.5
"""Share of the cells that show a unit if values are normalised counts: nearly all, as most cells have a gene with one
count; of estimates hardly any do."""
LEAST_LEFT, MOST_SPREAD = 0.3, 0.3
"""What a correction leaves of a count at least, and how much its factors differ at most, as a part of cell depths
(standard deviations of the logarithms)."""
SAME_UNIT, MOST_ALIKE = 0.02, 0.99
"""How much units of cells may differ to be one, and in what share of the cells they must be it, or multiples of it."""
WHOLE_TOTALS = (1e4, 1e5, 1e6)
SPREAD_WHOLE, OFF_WHOLE = 0.05, 0.03
"""Spread of the totals (standard deviation of the logarithms) of normalised values that were rounded to whole numbers,
and how far their median is off: 0.03 and 0.03 at most in nine data sets, whose counts spread by 0.4 and more."""
EQUAL_WHOLE, LEAST_EQUAL = 0.01, 1000
"""Share by which totals of counts that were made equal differ, and the smallest such total that is no chance."""


class Named(Protocol):
    """A source, of whatever format."""

    @property
    def path(self) -> Location:
        """Where it is."""
        ...

    @property
    def var(self) -> pd.DataFrame:
        """One row per gene."""
        ...


class Stretches(Protocol):
    """Cells in consecutive parts, which can be looked at more than once."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Part: ...

    def __iter__(self) -> Iterator[Part]: ...

    def totals(self) -> np.ndarray:
        """Sum of every cell's values, float64, shape (n_cells,)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the values of a source are understood, and stored."""

    scale: Scale
    """What is stored."""
    transform: Transform = LINEAR
    """What had been done to the counts."""
    total: float | None = None
    """To what all cells were normalised; None if cells have totals of their own."""
    unit: float | None = None
    """What one count has become, where it is the same in all cells."""
    is_part: bool = False
    """Whether the cells' totals are needed, since the values alone do not tell them."""
    remark: str | None = None
    """What the user should know of it."""

    @property
    def words(self) -> str:
        """What the values are."""
        return self.remark or self.scale

    def stored(self, part: Part) -> Part:
        """Return a part as it is stored: what is no natural logarithm is undone."""
        if self.transform is LINEAR or self.scale in LOGARITHMS:
            return part
        undone_N = self.transform.undo(part.values_N.astype(np.float64)).astype(np.float32)
        return Part(undone_N, part.indices_N, part.row_lengths_C)


def reading_of(
    source: Named, parts: Stretches, values: ValueRange, counts_as: CountsAs, others: Others = nowhere_else
) -> Reading:
    """Find out what the values of a whole source are; of a dataset of a store it is known.

    Parameters
    ----------
    source
        Where the cells are from, with its genes.
    parts
        All cells.
    values
        What is known of all values.
    counts_as
        What the user says that they are.
    others
        Where else counts may be, for errors.

    Raises
    ------
    DataError
        If they are neither counts nor estimates of counts, nor counts that were normalised in a way that can be undone.
    """
    if isinstance(source, RestoredDataset):
        require_untold((source.scale,), counts_as, source.path)
        return Reading(scale=source.scale, transform=LN if source.scale in LOGARITHMS else LINEAR)
    if values.integral:
        return _of_whole(source, parts, values, counts_as)
    if counts_as == "estimated":
        return Reading(scale="counts", remark="estimates of counts, as --counts_as says")
    look = _Look(source, parts, values, others)
    return look.reading() if counts_as == "auto" else look.told(TRANSFORMS[counts_as])


def _of_whole(source: Named, parts: Stretches, values: ValueRange, counts_as: CountsAs) -> Reading:
    """Return the reading of whole numbers, which are counts, or were rounded.

    Raises
    ------
    DataError
        If the user says that they are what whole numbers are not.
    """
    if counts_as == "estimated":
        return Reading(scale="counts")
    if counts_as != "auto":
        transform = TRANSFORMS[counts_as]
        with np.errstate(over="ignore"):
            undone = transform.undo(np.array([values.high]))[0]
        if np.isclose(undone, values.high):  # log2(x+1) of 0 and 1 are 0 and 1
            return Reading(scale="counts")
        raise _needless(f"all values are whole numbers, as counts are, not {transform.words} of them", source.path)
    return Reading(scale="counts", remark=_doubt(parts.totals()))


def _doubt(totals_C: np.ndarray) -> str | None:
    """Return why whole numbers may be no counts: their cells have one total; None if they have not."""
    filled = totals_C[totals_C > 0]
    if len(filled) < LEAST_CELLS:
        return None
    middle = float(np.median(filled))
    near = next((total for total in WHOLE_TOTALS if abs(middle / total - 1) <= OFF_WHOLE), None)
    is_equal = middle >= LEAST_EQUAL and np.ptp(filled) <= 2 * EQUAL_WHOLE * middle
    if not is_equal and (near is None or np.log(filled).std() > SPREAD_WHOLE):
        return None
    return (
        "WARNING: whole numbers, so taken for counts, but the values of each cell add up to about "
        f"{near or middle:,.0f}: counts that were sampled down to one depth, or normalised values (CP10k, CPM, TPM) "
        "that were rounded; if they were, give the raw counts"
    )


def require_untold(scales: Iterable[Scale], counts_as: CountsAs, path: Location) -> None:
    """Raise if the user says of a store's values what it knows better.

    Raises
    ------
    DataError
        If `counts_as` is anything but auto, or estimated of a store of counts.
    """
    others = [scale for scale in scales if (counts_as, scale) != ("estimated", "counts")]
    if counts_as != "auto" and others:
        raise _needless(f"a store knows its values, {others[0]}, so --counts_as {counts_as} changes nothing", path)


def _needless(what: str, path: Location) -> DataError:
    return DataError(
        what,
        where=path,
        way_out="leave out --counts_as; convert inputs that need it apart, and give their store in their place",
        mend={"--counts_as": None},
    )


class _Look:
    """Looks at values that are not whole; the arguments are those of `reading_of`."""

    def __init__(self, source: Named, parts: Stretches, values: ValueRange, others: Others) -> None:
        self._parts, self._high, self._n_genes = parts, values.high, len(source.var)
        self._place, self._others = source.path, others
        self._sample = sample_of(_some_with_fractions(parts), SAMPLE_VALUES)
        self._precision = precision_of(self._sample)

    def reading(self) -> Reading:
        """Find out what they are."""
        seen = {one.name: figures_of(self._sample, one, self._precision) for one in self._possible()}
        shares = {name: figures.share_with_unit() or 0 for name, figures in seen.items()}
        if shares[LINEAR.name] >= LEAST_SHARE_WITH_UNIT:
            seen.pop("sqrt", None)  # squares of whole multiples are too, and add up to 1 in cells brought to length 1
        # arcsinh(x) is about ln(2x), so the share alone may not tell them apart
        likeliest_first = sorted(seen, key=lambda name: (-round(shares[name], 1), seen[name].deviation))
        for name in sorted(likeliest_first, key=lambda name: self._common(seen[name]) not in USUAL_TOTALS):
            if self._common(seen[name]) is not None or few_totals(seen[name].totals_C, self._tolerance(seen[name])):
                found = self._normalised(TRANSFORMS[name], seen[name])
                if found is not None:
                    return found
        if shares[likeliest_first[0]] >= LEAST_SHARE_WITH_UNIT:
            transform = TRANSFORMS[likeliest_first[0]]
            figures = self._figures(transform)
            if (figures.share_with_unit() or 0) >= LEAST_SHARE_WITH_UNIT:
                found = _of_units(transform, figures)
                # of few values that were shared out equally, those of many cells are multiples of a half or a third
                if not (found.is_part and transform is LINEAR and has_whole(self._sample, self._precision)):
                    return found
        judgement = judge(self._figures(LINEAR), self._sample, self._high, self._n_genes, self._precision)
        if not judgement.is_taken:
            raise self._refusal(judgement.words, judgement.way_out)
        return Reading(scale="counts", remark=judgement.words)

    def told(self, transform: Transform) -> Reading:
        """Undo what the user says has been done to counts.

        Raises
        ------
        DataError
            If it cannot have been done.
        """
        if transform not in self._possible():
            raise DataError(
                f"value {self._high:g} is no {transform.words} of a count",
                where=self._place,
                way_out="give --counts_as another value, or leave it out",
                mend={"--counts_as": None},
            )
        total = self._common(self._figures(transform))
        remark = f"{transform.words} of counts, as --counts_as says, undone"
        return Reading(scale=_scale(transform, total), transform=transform, total=total, remark=remark)

    def _possible(self) -> list[Transform]:
        with np.errstate(over="ignore"):
            return [one for one in TRANSFORMS.values() if one.undo(np.array([self._high]))[0] <= LARGEST_COUNT]

    def _figures(self, transform: Transform) -> CellFigures:
        return figures_of(self._parts, transform, self._precision)

    def _tolerance(self, figures: CellFigures) -> float:
        return LIBRARY_TOLERANCE + figures.uncertainty

    def _common(self, figures: CellFigures) -> float | None:
        return common_total(figures.totals_C, self._tolerance(figures), USUAL_TOTALS)

    def _normalised(self, transform: Transform, seen: CellFigures) -> Reading | None:
        """Return the reading of cells that were normalised to one total, or each sample's to one; None if not all were.

        Raises
        ------
        DataError
            If they are more likely no counts at all.
        """
        totals_C = totals_of(self._parts, transform)
        total = common_total(totals_C, self._tolerance(seen), USUAL_TOTALS)
        several = few_totals(totals_C, self._tolerance(seen)) if total is None else (total,)
        if not several:
            return None
        to = " or ".join(f"{one:,.7g}" for one in several[:MAX_EXAMPLES])
        share = seen.share_with_unit()
        has_unit = share is None or share >= LEAST_SHARE_WITH_UNIT
        is_as_of_tpm = any(np.isclose(several[0], tpm, rtol=LIBRARY_TOLERANCE) for tpm in TPM_TOTALS)
        if not has_unit and (transform is LINEAR or (transform is not LN and is_as_of_tpm)):
            undone = "" if transform is LINEAR else f", {transform.words} undone,"
            raise self._refusal(
                f"the values of each cell{undone} add up to {to}, and are no multiples of one count: TPM, or "
                "normalised estimates",
                f"--counts_as {'estimated' if transform is LINEAR else transform.name} takes them all the same",
            )
        scale = _scale(transform, total)
        if has_unit and scale in LIBRARY_OF_SCALE:
            return Reading(scale=scale, transform=transform, total=total)
        remark = f"{_of(transform)}counts normalised to {to} in each cell{_undone(transform)}"
        remark += "" if has_unit else "; no multiples of one count: of estimates, or of TPM"
        return Reading(scale=scale, transform=transform, total=total, remark=remark)

    def _refusal(self, what: str, otherwise: str = "or say what they are with --counts_as") -> DataError:
        words, mend = self._others()
        way_out = f"give the raw counts{f', {words}' if words else ''}; {otherwise}"
        return DataError(what, where=self._place, way_out=way_out, mend=mend)


def _of_units(transform: Transform, figures: CellFigures) -> Reading:
    """Return the reading of cells whose values are whole multiples of a unit, but that have totals of their own."""
    units_C = figures.units_C[figures.n_values_C > 0]
    unit = float(np.median(units_C))
    multiples_C = units_C / unit
    near_C = np.abs(multiples_C - np.rint(multiples_C)) <= SAME_UNIT * multiples_C
    is_one = abs(unit - 1) <= SAME_UNIT
    are_alike = np.mean(near_C & (multiples_C > 1 - SAME_UNIT)) >= MOST_ALIKE
    is_same = len(units_C) > 1 and float(np.ptp(multiples_C)) <= SAME_UNIT  # too close for a few cells by chance
    if are_alike and (is_one or is_same or len(units_C) >= LEAST_CELLS):
        of = "counts" if is_one else f"counts times {unit:.4g}"
        whole = "; whole but for rounding" if transform is LINEAR and of == "counts" else ""
        remark = f"{_of(transform)}{of}{whole}{_undone(transform)}"
        scale: Scale = "counts"
        if transform is LN:
            scale = "ln_normalised"
        return Reading(scale=scale, transform=transform, unit=unit, remark=remark)
    totals_C = figures.totals_C[figures.totals_C > 0]
    if transform is LINEAR and _are_corrected(units_C, totals_C):
        return Reading(scale="counts", remark=f"counts times a factor of each cell's own, mostly about {unit:.3g}")
    remark = (
        f"{_of(transform)}counts normalised in each cell, with totals from {totals_C.min():,.4g} to "
        f"{totals_C.max():,.4g}{_undone(transform)}"
    )
    return Reading(scale=_scale(transform, None), transform=transform, is_part=True, remark=remark)


def _are_corrected(units_C: np.ndarray, totals_C: np.ndarray) -> bool:
    """Return whether cells have factors of a correction, not of a normalisation.

    A correction, as of ambient RNA, takes a part of each count, and leaves cells as different in depth as they were. A
    normalisation has factors that differ as much as the depths, which it takes away.
    """
    if len(units_C) < LEAST_CELLS or not LEAST_LEFT <= np.median(units_C) <= LARGEST_ONE:
        return False
    return float(np.log(units_C).std()) < MOST_SPREAD * float(np.log(totals_C).std())


def _scale(transform: Transform, total: float | None) -> Scale:
    """Return how values are stored: natural logarithms as they are, all others undone."""
    if transform is not LN:
        return "normalised"
    known: dict[float, Scale] = {library: scale for scale, library in LIBRARY_OF_SCALE.items()}
    return known.get(total or 0, "ln_normalised")


def _of(transform: Transform) -> str:
    return "" if transform is LINEAR else f"{transform.words} of "


def _undone(transform: Transform) -> str:
    return "" if transform is LINEAR else ", undone"


def _some_with_fractions(parts: Stretches) -> list[Part]:
    """Return a few parts, from all over the source, of which not all values are whole."""
    step = max(1, len(parts) // SAMPLE_PARTS)
    found = []
    for number in sorted(range(len(parts)), key=lambda one: (one % step, one)):
        part = parts[number]
        if part.values_N.dtype.kind == "f":
            found.append(part)
        if len(found) == SAMPLE_PARTS:
            break
    return found
