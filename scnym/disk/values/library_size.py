"""Library sizes of cells: measured, fixed by how the values were normalised, or from a column of the annotations.

C cells.
"""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, examples, meant
from scnym.base.text_columns import as_numbers
from scnym.disk.location import Location
from scnym.disk.values.scales import LEAST_SHARE_WITH_UNIT, LIBRARY_TOLERANCE, USUAL_TOTALS, Reading, Stretches
from scnym.disk.values.transforms import LINEAR, CellFigures, figures_of, precision_of, sample_of, totals_of

COUNTED = re.compile(r"n?(count|umi|read|transcript|molecule)s?")
BESIDE = re.compile(r"n|nr|no|num|number|total|sum|all|of|per|cell|raw|rna|sct|gex|gene")
LIBRARY = re.compile(r"sum|total|depth|lib(rary)?_?size")
"""Words of which tools make the name of the column with each cell's total count, and names that are whole."""
FEWEST_CELLS = 5
"""Cells that together fit a total that is none of the usual ones by no chance."""
FEW_VALUES = 2**19
LEAST_SHARE_FITTING = 0.95
"""Share of the cells in which a count must be whole for a column to be that of the total counts."""
COUNTS_TOLERANCE = 1e-6
MOST_SMALLEST = 1000
"""Largest count that may be the smallest of a cell."""


def library_sizes(
    obs: pd.DataFrame, column: str | None, reading: Reading, parts: Stretches, path: Location
) -> np.ndarray:
    """Return every cell's library size, in the units of its values once logarithms are undone.

    Parameters
    ----------
    obs
        Annotations of the cells.
    column
        Which of them holds each cell's total count; None if none does.
    reading
        What the values are.
    parts
        All cells.
    path
        Where the source is, for errors.

    Raises
    ------
    DataError
        If the column is not there, holds what cannot be a library size, or does not fit the values; or if one is needed
        and none is named.
    """
    if column is None:
        if reading.is_part:
            raise _needs_column(obs, reading, parts, path)
        return _measured(reading, parts)
    sizes_C = given_C = column_of_sizes(obs, column, path)
    tolerance = COUNTS_TOLERANCE if reading.scale == "counts" else LIBRARY_TOLERANCE
    if reading.unit is not None:
        sizes_C = given_C * reading.unit
    elif reading.scale != "counts":
        sizes_C = _normalised(given_C, column, reading, parts, path)
    measured_C = _measured(reading, parts)
    too_small = np.flatnonzero(sizes_C < measured_C * (1 - tolerance))
    if len(too_small):
        cell = int(too_small[0])
        held = measured_C[cell] * (given_C[cell] / sizes_C[cell] if sizes_C[cell] > 0 else 1)
        raise _faulty(obs, column, cell, f"is below the {held:g} counts that the file holds for it", path)
    return sizes_C


def column_of_sizes(obs: pd.DataFrame, column: str, path: Location) -> np.ndarray:
    """Return a column of total counts as numbers.

    Raises
    ------
    DataError
        If it is not there, or holds what is no finite number.
    """
    if column not in obs:
        raise DataError(
            f"there is no column {column!r} in obs",
            where=path,
            way_out=f"give --library_size one of {examples(obs.columns)}",
            mend=meant("--library_size", column, obs.columns),
        )
    lost = obs.index[obs[column].isna()]
    if len(lost):
        raise DataError(
            f"{len(lost):,} of {len(obs):,} cells have no library size: {examples(lost)}",
            where=f"{path}, column {column}",
            way_out="give every cell one, or leave these cells out of the counts",
        )
    given_C = as_numbers(obs[column]).to_numpy(dtype=np.float64)
    faulty = np.flatnonzero(~np.isfinite(given_C))
    if len(faulty):
        raise _faulty(obs, column, int(faulty[0]), "is not a finite number", path)
    return given_C


def _measured(reading: Reading, parts: Stretches) -> np.ndarray:
    if reading.total is not None:
        return np.where(parts.totals() > 0, reading.total, 0.0)
    return parts.totals() if reading.transform is LINEAR else totals_of(parts, reading.transform)


def _faulty(obs: pd.DataFrame, column: str, cell: int, fault: str, path: Location) -> DataError:
    return DataError(
        f"library size {obs[column].iloc[cell]} of cell {obs.index[cell]} {fault}",
        where=f"{path}, column {column}",
        way_out="give the column with the total counts before genes were removed",
    )


def _figures(reading: Reading, parts: Stretches) -> CellFigures:
    precision = precision_of(sample_of([parts[0]], FEW_VALUES))
    return figures_of(parts, reading.transform, precision)


def _normalised(given_C: np.ndarray, column: str, reading: Reading, parts: Stretches, path: Location) -> np.ndarray:
    """Return total counts in the units of values that were normalised in each cell.

    Raises
    ------
    DataError
        If they do not fit the values.
    """
    figures = _figures(reading, parts)
    total = _common_scale(figures, given_C)
    if total is not None:
        return np.where(figures.n_values_C > 0, total, 0.0)
    if (figures.share_with_unit() or 0) < LEAST_SHARE_WITH_UNIT:
        raise DataError(
            "the values were normalised, and are no multiples of one count: total counts do not tell their libraries",
            where=f"{path}, column {column}",
            way_out="give the raw counts, or leave out --library_size",
            mend={"--library_size": None},
        )
    return np.nan_to_num(figures.units_C) * given_C


def _common_scale(figures: CellFigures, sizes_C: np.ndarray) -> float | None:
    """Return the total to which cells were normalised if some sizes are their total counts; None if they are not.

    What a cell's unit is of its size is then the same share of that total in all cells, or a multiple, where the
    smallest count of the cell is above one.
    """
    counts_C = (figures.units_C * sizes_C)[(figures.n_values_C > 0) & (sizes_C > 0)]
    if not len(counts_C):
        return None
    own = (float(np.median(counts_C)), float(counts_C.min())) if len(counts_C) >= FEWEST_CELLS else ()
    for total in (*sorted(USUAL_TOTALS, reverse=True), *own):
        smallest_C = np.rint(counts_C / total)
        fits_C = (smallest_C >= 1) & (smallest_C <= MOST_SMALLEST)
        fits_C &= np.abs(counts_C / total - smallest_C) <= np.minimum(0.05, 0.01 * smallest_C)
        if fits_C.mean() >= LEAST_SHARE_FITTING and np.gcd.reduce(smallest_C[fits_C].astype(np.int64)) == 1:
            return total
    return None


def _needs_column(obs: pd.DataFrame, reading: Reading, parts: Stretches, path: Location) -> DataError:
    """Return the refusal of normalised cells whose totals are not known, naming columns that may hold them."""
    figures = _figures(reading, parts)
    totals = {name: sizes_C for name, sizes_C in _columns_of_numbers(obs) if np.all(sizes_C >= 1)}  # no size factors
    fitting = [name for name, sizes_C in totals.items() if _common_scale(figures, sizes_C) is not None]
    likely = fitting or [name for name in totals if is_likely(name)]
    told = "estimated" if reading.transform is LINEAR else reading.transform.name
    named = f"--library_size {likely[0]}" if len(likely) == 1 else "--library_size"
    of = f", one of {examples(likely)}" if len(likely) > 1 else ""
    return DataError(
        f"the values are {reading.remark}: genes were taken out afterwards, or each cell had a factor of its own",
        where=path,
        way_out=f"name the column with the total counts of the cells with {named}{of}; or give the raw counts; or, if "
        f"no genes were taken out, --counts_as {told}",
        mend={"--library_size": likely[0]} if len(likely) == 1 else {},
    )


def _columns_of_numbers(obs: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
    for name in obs.columns:
        sizes_C = as_numbers(obs[name]).to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(sizes_C).all():
            yield str(name), sizes_C


def is_likely(name: str) -> bool:
    """Whether a column's name is one that tools give to the total counts of cells."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")
    if LIBRARY.fullmatch(words):
        return True
    others = [word for word in words.split("_") if not COUNTED.fullmatch(word)]
    return len(others) < len(words.split("_")) and all(BESIDE.fullmatch(word) for word in others)
