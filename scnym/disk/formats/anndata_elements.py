"""Elements of an AnnData in HDF5 or Zarr, read as whoever wrote them meant them.

AnnData's own reader knows what AnnData writes. Files by R, Julia and Matlab hold texts of fixed length, attributes that
are lists of one element, enums, and factors whose names are stored elsewhere. An element that cannot be read stops only
files that need it; else it is left out and reported.

E elements of an array.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

from scnym.base.errors import FormatError, ScnymError
from scnym.disk.formats.source import READING_FAULTS


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Let no warning of a library through: of unusual files, which are read, or left out and said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Unsound:
    """Names of parts, such as ``uns/colours``, each with what is wrong with it.

    Parameters
    ----------
    faults
        What is wrong, by name; ``""`` is the whole file.
    """

    def __init__(self, faults: Mapping[str, FormatError] | None = None) -> None:
        self._faults = dict(faults or {})

    def at(self, key: str) -> FormatError | None:
        """Return what is wrong with a part itself, or with one that it lies in."""
        parts = key.split("/")
        names = ("", *("/".join(parts[:stop]) for stop in range(1, len(parts) + 1)))
        return next((self._faults[name] for name in names if name in self._faults), None)

    def within(self, key: str) -> FormatError | None:
        """Return what is wrong with a part, with one that it lies in, or with anything that lies in it."""
        below = (fault for name, fault in self._faults.items() if name.startswith(f"{key}/"))
        return self.at(key) or next(below, None)

    def require(self, key: str) -> None:
        """Refuse a part that is needed, where anything of it is not sound.

        Raises
        ------
        FormatError
            The first fault.
        """
        fault = self.within(key)
        if fault is not None:
            raise fault

    def require_whole(self) -> None:
        """Refuse a file that is not sound itself.

        Raises
        ------
        FormatError
            With the fault.
        """
        if "" in self._faults:
            raise self._faults[""]

    def require_any(self) -> None:
        """Refuse a file of which any part is not sound.

        Raises
        ------
        FormatError
            The first fault.
        """
        for fault in self._faults.values():
            raise fault


def reason_of(fault: BaseException, key: str) -> str:
    """Return what is wrong with a part in words that follow its name."""
    what = fault.what if isinstance(fault, ScnymError) else f"it cannot be read: {fault}"
    return what.removeprefix(f"{key} ")


SPARSE = {"csr_matrix": sparse.csr_matrix, "csc_matrix": sparse.csc_matrix}
NULLABLE = {"values", "mask"}
CATEGORICAL = {"codes", "categories"}
LOGICAL = {"FALSE": False, "TRUE": True}
MISSING_LOGICAL = "NA"
"""How R calls a logical value that is missing, in an enum."""
DICTIONARIES = ("", "dict")
ARRAYS = ("", "array", "string-array", "string", "numeric-scalar", "bytes")
"""What arrays of numbers and texts say that they are, if anything."""
WAY_OUT = "copy or write it again"
UTF8 = "utf-8"


class Branch:
    """A dictionary of an AnnData, such as uns: its members are opened one by one, so that a bad one spoils no other.

    Parameters
    ----------
    group
        Of HDF5 or Zarr.
    key
        Its name in the file.
    unsound
        What must not be opened.
    hidden
        Members that are no part of it.
    """

    def __init__(
        self, group: Any, key: str = "", unsound: Unsound | None = None, hidden: frozenset[str] = frozenset()
    ) -> None:
        self._group, self._key, self._unsound = group, key, unsound or Unsound()
        self.names = [name for name in names_in(group) if name not in hidden]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield every member by name: an array, a group that stands for one value, a branch, or why it is none."""
        for name in self.names:
            key = f"{self._key}/{name}" if self._key else name
            yield name, open_member(self._group, name, key, self._unsound)


def open_member(
    group: Any, name: str, key: str, unsound: Unsound, hidden: frozenset[str] = frozenset()
) -> Any | Branch | FormatError:
    """Open a member of a group: an array, a group that stands for one value, a branch; or return why it is none.

    Parameters
    ----------
    group, name
        The group, and the member in it.
    key
        The member's name in the file.
    unsound
        What must not be opened.
    hidden
        Of a branch: members that are no part of it.
    """
    fault = unsound.at(key)
    try:
        element = None if fault else group[name]
        if not fault and is_dictionary(element):
            return Branch(element, key, unsound, hidden)
    except READING_FAULTS as broken:
        return FormatError(reason_of(broken, key))
    fault = fault or unsound.within(key)
    return FormatError(reason_of(fault, key)) if fault else element


def holds(group: Any, key: str) -> bool:
    """Whether there is a member of a name, be it one that cannot be opened."""
    try:
        return key in group
    except READING_FAULTS:
        return True


def is_array(element: Any) -> bool:
    """Whether an element is an array."""
    return isinstance(element, h5py.Dataset | zarr.Array)


def is_enum(array: Any) -> bool:
    """Whether the numbers of an array stand for names; true and false do not count."""
    return isinstance(array, h5py.Dataset) and h5py.check_enum_dtype(array.dtype) is not None


def is_dictionary(element: Any) -> bool:
    """Whether an element is a group of others, and not one value in parts."""
    return not is_array(element) and encoding_of(element) in DICTIONARIES and not set(names_in(element)) >= CATEGORICAL


def names_in(group: Any) -> list[str]:
    """Return the names in a group, also of members that cannot be opened."""
    if isinstance(group, h5py.Group):
        return [str(name) for name in group]
    root = getattr(group.store_path.store, "root", None)
    if group.metadata.consolidated_metadata is not None or not isinstance(root, Path):
        return list(group)
    folders = (root / group.path).iterdir()
    described = ("zarr.json", ".zarray", ".zgroup")
    return sorted(one.name for one in folders if any((one / name).is_file() for name in described))


def is_there(file: Any, key: str) -> bool:
    """Whether an AnnData has counts at a place, so it is no dictionary and not said to be nothing."""
    if key not in file:
        return False
    counts = file[key]
    return encoding_of(counts) not in {"null", "dict"} and (is_array(counts) or bool(names_in(counts)))


def holds_counts(file: Any, members: set[str], key: str) -> bool:
    """Whether an AnnData has X, or raw in one of its forms."""
    if key == "raw":
        return "raw.X" in members or ("raw" in members and not is_array(file["raw"]) and "X" in names_in(file["raw"]))
    return key in members and is_there(file, key)


def text_attribute(element: Any, name: str) -> str:
    """Read an attribute that is one text, however it is stored; an empty text where there is none."""
    texts = texts_attribute(element, name)
    return texts[0] if texts and len(texts) == 1 else ""


def texts_attribute(element: Any, name: str) -> list[str] | None:
    """Read an attribute that lists texts, however they are stored; None where there is none."""
    value = element.attrs.get(name)
    if value is None or isinstance(value, h5py.Empty):
        return None if value is None else []
    values = [value] if isinstance(value, str | bytes) else np.ravel(np.asarray(value, dtype=object)).tolist()
    return [one.decode(UTF8, "surrogateescape") if isinstance(one, bytes) else str(one) for one in values]


def encoding_of(element: Any) -> str:
    """Return what an element says that it is, such as ``csr_matrix``; also where AnnData before 0.7 wrote it."""
    old = text_attribute(element, "h5sparse_format")
    return f"{old}_matrix" if old else text_attribute(element, "encoding-type")


def shape_of(matrix: Any) -> tuple[int, ...] | None:
    """Return the shape of a sparse matrix, as its attributes have it; None where there is none."""
    shape = matrix.attrs.get("h5sparse_shape", matrix.attrs.get("shape"))
    return None if shape is None else tuple(int(length) for length in np.ravel(shape))


def is_text(array: Any) -> bool:
    """Whether an array holds texts."""
    if isinstance(array, h5py.Dataset):
        return h5py.check_string_dtype(array.dtype) is not None
    return array.dtype.kind in "OSTU"


def read_texts(array: Any) -> Any:
    """Read texts of any length, encoded as UTF-8 whatever the array says."""
    if isinstance(array, h5py.Dataset):
        return array.asstr(UTF8)[()]
    texts = np.asarray(array[()])
    return (np.char.decode(texts, UTF8) if texts.dtype.kind == "S" else texts).astype(object)


def read_array(array: Any) -> Any:
    """Read numbers, texts, or the names of an enum.

    Raises
    ------
    FormatError
        If it holds anything else.
    """
    if encoding_of(array) not in ARRAYS:
        raise FormatError(f"it is of the kind {encoding_of(array)!r}, which is not known")
    names = h5py.check_enum_dtype(array.dtype) if isinstance(array, h5py.Dataset) else None
    if names is not None:
        return named(array[()], names)
    if is_text(array):
        return read_texts(array)
    if array.dtype.kind not in "biufc":
        raise FormatError(f"it holds {array.dtype}, neither numbers nor text")
    if isinstance(array, h5py.Dataset) and array.id.get_type().get_class() == h5py.h5t.BITFIELD:
        return _bits(array[()])
    return array[()]


def named(values_E: np.ndarray, names: dict[str, int]) -> Any:
    """Return what an enum calls its values: true and false, or categories; a value without a name is missing."""
    by_value = {value: name for name, value in sorted(names.items(), key=lambda one: one[1])}
    logical = {value: LOGICAL.get(name.upper()) for value, name in by_value.items()}
    missing_E = ~np.isin(values_E, list(by_value))
    if {name.upper() for name in names} - {MISSING_LOGICAL} == set(LOGICAL):
        true_E = np.isin(values_E, [value for value, is_true in logical.items() if is_true])
        missing_E |= np.isin(values_E, [value for value, is_true in logical.items() if is_true is None])
        return pd.arrays.BooleanArray(true_E, missing_E) if missing_E.any() else true_E
    codes_E = np.searchsorted(list(by_value), values_E)
    return pd.Categorical.from_codes(np.where(missing_E, -1, codes_E), list(by_value.values()))  # type: ignore[arg-type]


def n_unnamed(column: Any) -> int:
    """Count the values of an enum that it does not name, which are taken for missing."""
    names = h5py.check_enum_dtype(column.dtype) if isinstance(column, h5py.Dataset) else None
    return 0 if names is None else int((~np.isin(column[()], list(names.values()))).sum())


def _bits(values_E: np.ndarray) -> np.ndarray:
    if not np.isin(values_E, (0, 1)).all():
        raise FormatError("it holds bits, neither numbers nor text")
    return values_E.astype(bool)


def read_column(column: Any, names: Any = None) -> Any:
    """Read a column of a table, in a form of which pandas makes a series.

    Parameters
    ----------
    column
        An array, or a group that stands for one: categories, or values some of which are missing.
    names
        An array of the names that the column's codes stand for, where it does not hold these itself.

    Raises
    ------
    FormatError
        If it is none.
    """
    if is_array(column) and names is not None:
        return _categorical(column[()], names, is_ordered=_flag(names, "ordered"))
    if is_array(column):
        values = read_array(column)
        return values if len(column.shape) == 1 else values.ravel()
    parts, kind = set(names_in(column)), encoding_of(column)
    if parts >= CATEGORICAL and kind in {"", "categorical"}:
        return _categorical(column["codes"][()], column["categories"], is_ordered=_flag(column, "ordered"))
    if parts >= NULLABLE and (not kind or kind.startswith("nullable-")):
        values = read_array(column["values"])
        if kind == "nullable-boolean":
            values = np.asarray(values).astype(bool)
        return _nullable(values, np.asarray(column["mask"][()]).astype(bool))
    raise FormatError("it is no column of numbers or text")


def _flag(element: Any, name: str) -> bool:
    value = element.attrs.get(name, False)
    return bool(np.ravel(value)[0]) if np.size(value) else False


def _categorical(codes_E: Any, categories: Any, *, is_ordered: bool) -> pd.Categorical:
    """Return categories by their codes; R's missing integer is missing, as any negative code is."""
    named = np.atleast_1d(np.asarray(read_column(categories), dtype=object))
    codes_E = np.ravel(codes_E)
    if codes_E.dtype.kind == "f":
        codes_E = np.where(np.isnan(codes_E), -1, codes_E)
    if codes_E.dtype.kind not in "iuf" or np.any(codes_E >= len(named)) or np.any(codes_E != np.floor(codes_E)):
        raise FormatError("it holds codes that stand for no category")
    whole_E = np.maximum(codes_E.astype(np.int64), -1)
    return pd.Categorical.from_codes(whole_E, pd.Index(named).infer_objects(), ordered=is_ordered)  # type: ignore[arg-type]


def _nullable(values_E: Any, mask_E: np.ndarray) -> Any:
    values_E = np.asarray(values_E)
    if values_E.dtype.kind in "iu":
        return pd.arrays.IntegerArray(values_E.astype(values_E.dtype.newbyteorder("=")), mask_E)
    if values_E.dtype.kind == "b":
        return pd.arrays.BooleanArray(values_E, mask_E)
    if values_E.dtype.kind == "f":
        return np.where(mask_E, np.nan, values_E)
    return np.where(mask_E, None, values_E.astype(object))


def read_value(element: Any) -> Any:
    """Read an element of obsm, varm or uns that is no dictionary.

    Raises
    ------
    Exception
        What AnnData raises for kinds that it does not know has no public name.
    """
    with quiet_libraries():
        kind = encoding_of(element)
        if kind in SPARSE:
            return read_sparse(element)
        if kind == "dataframe":
            return _frame(element)
        if is_array(element):
            return _whole(element)
        parts = set(names_in(element))
        return _storable(read_column(element)) if parts >= NULLABLE or parts >= CATEGORICAL else read_elem(element)


def read_sparse(group: Any) -> Any:
    """Read a sparse matrix whole, of whatever version of AnnData.

    Raises
    ------
    ValueError
        If its parts do not fit together.
    """
    parts = tuple(np.asarray(group[name][()]) for name in ("data", "indices", "indptr"))
    matrix = SPARSE[encoding_of(group)](parts, shape=shape_of(group))
    matrix.check_format(full_check=True)  # compiled code would look places up unchecked
    return matrix


def _whole(array: Any) -> Any:
    if encoding_of(array) == "null" or (array.shape is None and not encoding_of(array)):
        return None
    if array.dtype.names is not None:
        return read_elem(array)
    value = read_array(array)
    return value if array.shape or isinstance(value, str) else np.ravel(value)[0]


def _frame(group: Any) -> pd.DataFrame:
    index = read_column(group[text_attribute(group, "_index") or "_index"])
    columns = {name: _storable(read_column(group[name])) for name in texts_attribute(group, "column-order") or ()}
    return pd.DataFrame(columns, index=pd.Index(np.asarray(index, dtype=object)).astype(str))


def _storable(values: Any) -> Any:
    """Return texts of which some are missing as categories, which every version of AnnData reads."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "O" and pd.isna(values).any():
        return pd.Categorical(values)
    return values


def n_rows(array: Any) -> int:
    """Return the length of a list, also where it is a matrix of one column or row; -1 if it is neither."""
    shape = array.shape or ()
    return int(math.prod(shape)) if shape and math.prod(shape) == max(shape) else -1
