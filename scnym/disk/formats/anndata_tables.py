"""The tables of cells and genes in an AnnData on disk, obs and var, of every version and by every writer.

What a table claims to hold is checked before any of it is read. R rows of a table.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import zarr

from scnym.base.errors import DataError, FormatError
from scnym.disk.chunks import ALLOWED_BYTES, MAX_RATIO
from scnym.disk.formats.anndata_elements import (
    CATEGORICAL,
    NULLABLE,
    Unsound,
    is_array,
    is_text,
    n_rows,
    n_unnamed,
    named,
    names_in,
    read_column,
    reason_of,
    text_attribute,
    texts_attribute,
)
from scnym.disk.formats.source import READING_FAULTS, as_text, read_strings, strings
from scnym.disk.location import Location

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


Noun = Literal["cell", "gene"]
INDEX_NAMES = ("_index", "index")
"""What names the rows where a table does not say."""
CATEGORIES = "__categories"
"""Where AnnData 0.7, SeuratDisk and MuDataSeurat keep the names that the codes of a column stand for."""
OLD_RAW, OLD_RAW_CATEGORIES = "raw.var", "raw.cat"
"""Of AnnData before 0.7."""


@dataclass
class Table:
    """A table, its columns read whole, its names still to be read.

    R rows.
    """

    columns: dict[str, Any]
    n_rows: int
    names: Any
    """Names of the rows: an array or a group of the file, or texts, shape (R,)."""
    left_out: list[str] = field(default_factory=list)
    """Columns that cannot be read, and why."""
    remarks: list[str] = field(default_factory=list)
    """How columns were understood, where the user should know."""
    used: frozenset[str] = frozenset()
    """Members of uns that hold the names of categories."""

    def frame(self, names_R: np.ndarray | None = None) -> pd.DataFrame:
        """Return the columns, under the names of the rows where these are given, else numbered from 0."""
        index = pd.RangeIndex(self.n_rows) if names_R is None else as_text(pd.Index(names_R.astype(object)))
        return pd.DataFrame(self.columns, index=index)


def read_table(file: Any, key: str, noun: Noun, path: Location, unsound: Unsound) -> Table:
    """Read a table but for the names of its rows.

    A column that cannot be read, or must not be, is left out.

    Parameters
    ----------
    file
        An AnnData.
    key
        Of the table in it.
    noun
        What its rows are.
    path
        The file, for errors.
    unsound
        What must not be read.

    Raises
    ------
    FormatError
        If it is no table, or names no rows.
    """
    fault = unsound.at(key)
    if fault is not None:
        raise fault
    element = file[key]
    if is_array(element):
        return _old_table(file, element, key, path, unsound)
    index = _index_of(element, key, noun, path)
    unsound.require(f"{key}/{index}")
    names = _members_of(element[index])
    require_rows(names, key, path)
    if n_rows(names) < 0:
        raise FormatError(f"{key}/{index} is no list of names", where=path, way_out="write the file again")
    table = Table({}, n_rows(names), element[index])
    for name in require_named(element, key, path):
        try:
            unsound.require(f"{key}/{name}")
            table.columns[name] = _column(element, name, key, table.n_rows, path, unsound)
            if nameless := n_unnamed(element[name]):
                table.remarks.append(f"{nameless:,} values of {key} {name} that its enum does not name are missing")
        except READING_FAULTS as odd:
            table.left_out.append(f"{name} ({reason_of(odd, f'{key}/{name}')})")
    return table


def read_names(names: Any, noun: Noun, path: Location) -> np.ndarray:
    """Read the names of rows, a few at a time where they are texts, shape (R,).

    Raises
    ------
    DataError
        If one is missing.
    """
    if isinstance(names, np.ndarray):
        return strings(names)
    if is_array(names) and is_text(names) and len(names.shape) == 1:
        return read_strings(names)
    if not is_array(names) and "mask" in names and is_text(names["values"]):
        _require_named(np.asarray(names["mask"][:]).astype(bool), noun, path)
        return read_strings(names["values"])
    read = pd.Series(read_column(names))
    _require_named(read.isna().to_numpy(), noun, path)
    return strings(read.astype(str).to_numpy(dtype=object))


def _require_named(is_missing_R: np.ndarray, noun: Noun, path: Location) -> None:
    if is_missing_R.any():
        axis = {"cell": "obs", "gene": "var"}[noun]
        raise DataError(
            f"{is_missing_R.sum():,} {noun}s have no name, the first of them {noun} {int(is_missing_R.argmax())}",
            where=path,
            way_out=f"name every {noun}, in Python with adata.{axis}_names = ...",
        )


def _index_of(table: Any, key: str, noun: Noun, path: Location) -> str:
    """Return which member of a table names its rows."""
    given, members = text_attribute(table, "_index"), names_in(table)
    index = next((name for name in ([given] if given else INDEX_NAMES) if name in members), None)
    if index is None:
        raise FormatError(
            f"{key} names no {noun}s" + (f": there is no {given!r} in it" if given else ""),
            where=path,
            way_out="write the file again",
        )
    return index


def _members_of(names: Any) -> Any:
    """Return the array with one element per row of what names the rows."""
    return names if is_array(names) else names["values" if "values" in names else "codes"]


def _column(table: Any, name: str, key: str, n_named: int, path: Location, unsound: Unsound) -> Any:
    if name not in table:
        raise FormatError(f"{key}/{name} is not there", where=path)
    require_column(table[name], f"{key}/{name}", n_named, path)
    apart = _categories_of(table, name, unsound.at(f"{key}/{CATEGORIES}"))
    if apart is None:
        return read_column(table[name])
    unsound.require(f"{key}/{CATEGORIES}/{apart}")
    categories = table[CATEGORIES][apart]
    require_few(categories, f"{key}/{name}", n_named, path)
    return read_column(table[name], categories)


def _categories_of(table: Any, name: str, fault: FormatError | None) -> str | None:
    """Return the name of what the codes of a column stand for, where it is kept apart; None if they are no codes."""
    column, place = table[name], table[name].attrs.get("categories")
    if not is_array(column) or column.dtype.kind not in "iuf":
        return None
    if fault is not None and place is not None:
        raise fault
    if fault is not None or CATEGORIES not in table:
        return None
    apart = names_in(table[CATEGORIES])
    if isinstance(place, h5py.Reference) and place:
        place = table.file[place].name  # its name, for what has none has not been looked at
    named = place.rpartition("/")[2] if isinstance(place, str) else name
    return next((one for one in (name, named) if one in apart), None)


def _old_table(file: Any, records: Any, key: str, path: Location, unsound: Unsound) -> Table:
    """Read a table as AnnData stored it before version 0.7: one array of records, categories apart in uns."""
    names: tuple[str, ...] = records.dtype.names or ()
    if not names:
        raise FormatError(f"{key} is no table", where=path, way_out="write the file again")
    unsound.require(key)
    rows, used = records[()], dict[str, str]()
    index = next((name for name in INDEX_NAMES if name in names), names[0])
    table = Table({}, len(rows), np.array(_text(rows[index]), dtype=object))
    for name in (name for name in names if name != index):
        place = _old_categories(file, key, name, unsound)
        try:
            enum = h5py.check_enum_dtype(records.dtype[name])
            values = rows[name] if enum is None else named(rows[name], enum)
            table.columns[name] = _old_column(values, None if place is None else file[place])
        except READING_FAULTS as odd:
            table.left_out.append(f"{name} ({reason_of(odd, name)})")
            continue
        if place is not None and isinstance(table.columns[name], pd.Categorical):
            used[name] = place
    table.used = frozenset(place.removeprefix("uns/") for place in used.values() if place.startswith("uns/"))
    return table


def _old_categories(file: Any, key: str, name: str, unsound: Unsound) -> str | None:
    places = [f"{OLD_RAW_CATEGORIES}/{name}_categories"] if key == OLD_RAW else []
    sound = (place for place in (*places, f"uns/{name}_categories") if unsound.within(place) is None)
    return next((place for place in sound if place in file), None)


def _old_column(values_R: Any, categories: Any) -> Any:
    if not isinstance(values_R, np.ndarray):
        return values_R
    if values_R.dtype.kind in "iu" and categories is not None:
        texts = _text(np.atleast_1d(categories[()]))
        if values_R.max(initial=-1) < len(texts):
            return pd.Categorical.from_codes(values_R, texts)  # type: ignore[arg-type]
    if values_R.ndim != 1 or values_R.dtype.kind not in "biufSUO":
        raise FormatError("it is no column of numbers or text")
    return _text(values_R) if values_R.dtype.kind in "SUO" else values_R


def _text(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)]
