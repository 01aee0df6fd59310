"""What a caller gives for the cells of a store, checked: a code for each, or the rows of some.

A wrong one would end in batches of other cells or other labels, without an error.
C cells of the store.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.errors import DataError

Codes = np.ndarray | Sequence[int] | pd.Series | pd.Categorical
"""A whole number for each cell, -1 where there is none; or a category, whose codes are taken."""
Rows = np.ndarray | Sequence[int] | pd.Series
"""Row numbers, ascending, each once; or whether each cell is wanted."""
NO_CODE = -1
MAX_CLASSES = 10**6
"""More classes than anything has: an array as long as the largest code is made."""
MAX_EXACT = 2.0**53
"""Up to here a float names one whole number."""
CODES_WANTED = (
    f"give {NO_CODE} for a cell without a code",
    'give whole numbers; of names their codes, as of store.column("cell_type").cat.codes',
)
ROWS_WANTED = ("give the numbers of rows, from 0 on",) * 2
"""What to do about a value that is missing, and about one that is no number."""


def codes_of(codes_C: Codes, n_cells: int, name: str, *, n_classes: int | None = None) -> np.ndarray:
    """Return codes of cells in the smallest type of whole numbers, in memory of their own.

    Parameters
    ----------
    codes_C
        Whole numbers from 0 on, -1 where there is none, one for each cell: an array, a list, a pandas Series or a
        category, whose codes are taken. Shape (C,).
    n_cells
        Cells of the store.
    name
        What the argument is called, for errors.
    n_classes
        Every code must be below it; None for no bound.

    Raises
    ------
    DataError
        If it is not one such number for each cell.
    """
    numbers_C = _whole_numbers(_codes_of_category(codes_C, name), name, *CODES_WANTED)
    if len(numbers_C) != n_cells:
        raise DataError(
            f"{len(numbers_C):,} codes for {n_cells:,} cells",
            where=name,
            way_out=f"give one for each cell of the store, in its order, and {NO_CODE} for those that have none",
        )
    _refuse_first(numbers_C < NO_CODE, numbers_C, name, CODES_WANTED[0])
    if n_classes is not None:
        _refuse_first(numbers_C >= n_classes, numbers_C, name, "number the classes from 0, as pandas.factorize does")
    most = int(numbers_C.max(initial=0))
    return numbers_C.astype(np.min_scalar_type(-1 - most))


def rows_of(rows_C: Rows, n_cells: int, name: str) -> np.ndarray:
    """Return row numbers of a store as int64.

    Parameters
    ----------
    rows_C
        Row numbers, ascending, each once; or whether each cell is wanted, shape (C,).
    n_cells
        Cells of the store.
    name
        What the argument is called, for errors.

    Raises
    ------
    DataError
        If it is neither.
    """
    given = _one_dimensional(rows_C, name)
    if given.dtype == bool:
        if len(given) != n_cells:
            raise DataError(
                f"a mask of {len(given):,} for {n_cells:,} cells",
                where=name,
                way_out="give True or False for each cell of the store, or the numbers of rows",
            )
        return np.flatnonzero(given)
    rows = _whole_numbers(given, name, *ROWS_WANTED)
    way_out = f"the store has {n_cells:,} cells: give rows from 0 to {n_cells - 1:,}"
    _refuse_first((rows < 0) | (rows >= n_cells), rows, name, way_out)
    rows = rows.astype(np.int64, copy=False)
    turned = np.flatnonzero(rows[1:] <= rows[:-1])
    if len(turned):
        before, after = rows[turned[0] : turned[0] + 2].tolist()
        raise DataError(
            f"row {after:,} after row {before:,}, where every row is given once and in the order of the store",
            where=name,
            way_out="give numpy.unique(rows); each batch names its own in Batch.rows",
        )
    return rows


def _codes_of_category(codes_C: Any, name: str) -> Any:
    """Return the codes of a pandas category, and all else as it is."""
    if not isinstance(getattr(codes_C, "dtype", None), pd.CategoricalDtype):
        return codes_C
    if pd.api.types.is_numeric_dtype(codes_C.dtype.categories.dtype):
        raise DataError(
            "a category whose values are numbers: they, or their codes, could be meant",
            where=name,
            way_out="give .astype(int) or .cat.codes of it",
        )
    return pd.Categorical(codes_C).codes


def _whole_numbers(values: Any, name: str, if_missing: str, if_no_number: str) -> np.ndarray:
    """Return whole numbers as such, whatever type they are given in.

    Raises
    ------
    DataError
        If there are others.
    """
    given = _one_dimensional(values, name)
    if given.dtype == bool:
        raise DataError("True and False are no codes", where=name, way_out="give numpy.where(mask, codes, -1)")
    if given.dtype.kind == "f":
        given = given.astype(np.float64, copy=False)
        _refuse_first(~np.isfinite(given), given, name, if_missing)
        _refuse_first((given != np.floor(given)) | (np.abs(given) > MAX_EXACT), given, name, "give whole numbers")
        return given.astype(np.int64)
    if given.dtype.kind not in "iu":
        _refuse_first(pd.isna(given), given, name, if_missing)
        is_number = np.array([isinstance(value, int | float) for value in given])
        _refuse_first(~is_number | is_number.all(), given, name, if_no_number)
    if given.dtype == np.uint64:
        _refuse_first(given > np.iinfo(np.int64).max, given, name, "give whole numbers from 0 on")
    return given


def _one_dimensional(values: Any, name: str) -> np.ndarray:
    """Return one value for each cell as an array; numbers that are kept as objects as numbers.

    Raises
    ------
    DataError
        If it has another shape.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = [None if value is np.ma.masked else value for value in values]
    try:
        given = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise DataError(f"not a list of numbers ({fault})", where=name, way_out="give one number for each") from fault
    if given.ndim != 1:
        shape = f" of shape {given.shape}" if given.ndim else ""
        raise DataError(f"{type(values).__name__}{shape}", where=name, way_out="give a list or an array of numbers")
    if not given.size:
        return given.astype(np.int64) if given.dtype != bool else given
    return _unboxed(given) if given.dtype == object else given


def _unboxed(given: np.ndarray) -> np.ndarray:
    kinds = {"integer": np.int64, "boolean": bool, "floating": float, "mixed-integer-float": float}
    dtype = kinds.get(pd.api.types.infer_dtype(given, skipna=False), object)
    try:
        return given.astype(dtype)
    except OverflowError:
        return given.astype(float)


def _refuse_first(is_wrong: np.ndarray, values: np.ndarray, name: str, way_out: str) -> None:
    """Raise a DataError if anything is wrong, with the first value that is."""
    if is_wrong.any():
        at = int(is_wrong.argmax())
        shown = repr(str(values[at])) if isinstance(values[at], str) else values[at]
        raise DataError(f"{shown} at position {at:,}", where=name, way_out=way_out)
