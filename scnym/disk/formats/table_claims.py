"""What a table of cells or genes claims to hold, checked before any of it is read."""

from typing import Any

import zarr

from scnym.base.errors import FormatError
from scnym.disk.bucket import Location
from scnym.disk.chunk_claims import ALLOWED_BYTES, MAX_RATIO
from scnym.disk.formats.elements import (
    CATEGORICAL,
    NULLABLE,
    is_array,
    is_text,
    n_rows,
    names_in,
    text_attribute,
    texts_attribute,
)

ALLOWED_ROWS = 10**6
ROW_PARTS = ("codes", "values", "mask")
"""Arrays with a value per row, of a column that is a group."""
FLOAT_BYTES = 8
"""Of the widest floats that Zarr has."""
WAY_OUT = "copy or write it again"


def require_table(frame: Any, name: str, path: Location) -> None:
    """Refuse a table of a store, of odd columns or more rows than it names, before any of it is read.

    Raises
    ------
    FormatError
        Names the column.
    """
    columns = require_named(frame, name, path)
    index = frame[text_attribute(frame, "_index")]
    require_rows(index, name, path)
    for key in {*columns, *frame}:
        if key in frame:  # a column that is not there is missed when it is read
            require_column(frame[key], f"{name}/{key}", n_rows(index), path)


def require_named(frame: Any, name: str, path: Location) -> list[str]:
    """Return the columns of a table, in their order; refuse names that lead out of it.

    Raises
    ------
    FormatError
        If there are such.
    """
    columns, index = texts_attribute(frame, "column-order"), text_attribute(frame, "_index")
    if columns is None:
        columns = [key for key in names_in(frame) if key != index and not key.startswith("__")]
    if any(name and not _is_inside(name) for name in (*columns, index)):
        raise FormatError(f"the columns of {name} are not named", where=path, way_out=WAY_OUT)
    return [name for name in dict.fromkeys(columns) if name]


def require_rows(index: Any, name: str, path: Location) -> None:
    """Refuse the names of a table's rows in Zarr that are said to be far more than are stored.

    Raises
    ------
    FormatError
        With both.
    """
    named = n_rows(index)
    is_long = isinstance(index, zarr.Array) and named > ALLOWED_ROWS  # only then is it worth to ask for sizes
    if is_long and named > MAX_RATIO * index.nbytes_stored():
        raise FormatError(f"{name} is said to have {named:,} rows, but they are not named", where=path, way_out=WAY_OUT)


def require_column(column: Any, name: str, n_named: int, path: Location) -> None:
    """Refuse a column that is none of numbers or text, or has not as many rows as are named.

    Raises
    ------
    FormatError
        Names it.
    """
    if not _is_column(column):
        raise FormatError(f"{name} is no column of numbers or text", where=path, way_out="leave it out")
    parts = [column] if is_array(column) else [column[key] for key in ROW_PARTS if key in column]
    if any(n_rows(part) != n_named for part in parts):
        raise FormatError(f"{name} has not the {n_named:,} rows that are named", where=path, way_out=WAY_OUT)
    if not is_array(column) and "categories" in column:
        require_few(column["categories"], name, n_named, path)


def require_few(categories: Any, name: str, n_named: int, path: Location) -> None:
    """Refuse a column with more categories than rows.

    Raises
    ------
    FormatError
        Names it.
    """
    part = categories if is_array(categories) else categories["values"]
    if not _is_column(categories) or n_rows(part) > max(ALLOWED_ROWS, n_named):
        raise FormatError(f"{name} has more categories than rows", where=path, way_out=WAY_OUT)


def _is_inside(column: str) -> bool:
    """Whether a name leads into the table: HDF5 takes it for a path, and old files have columns in groups."""
    return not {"", ".", ".."} & set(column.split("/"))


def _is_column(column: Any) -> bool:
    """Whether an element is what a table has as a column; AnnData reads others as well, such as sparse matrices."""
    if is_array(column):
        return _is_list(column)
    parts = set(names_in(column))
    return (parts >= CATEGORICAL or parts >= NULLABLE) and all(
        _is_column(column[name]) for name in parts & (CATEGORICAL | NULLABLE)
    )


def _is_list(column: Any) -> bool:
    """Whether an element is a list of numbers or text, and is not said to be far larger than it is."""
    if n_rows(column) < 0:
        return False
    n_bytes = n_rows(column) * column.dtype.itemsize
    if isinstance(column, zarr.Array) and n_bytes > ALLOWED_BYTES and n_bytes > MAX_RATIO * column.nbytes_stored():
        return False
    is_wide = column.dtype.kind == "f" and column.dtype.itemsize > FLOAT_BYTES
    return not is_wide and (column.dtype.kind in "biufc" or is_text(column))
