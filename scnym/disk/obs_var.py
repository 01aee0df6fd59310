"""The parts of an AnnData beside its counts: obs and var, prepared and written; obsm, varm and uns, copied."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem
from pandas.api.types import infer_dtype
from zarr.errors import UnstableSpecificationWarning

from scnym.base.errors import FormatError
from scnym.base.schema import N_COUNTS, N_GENES, OWN_OBS_COLUMNS, SOURCE, free_name, safe_names
from scnym.disk.atomic import FULL
from scnym.disk.encode import OWN_PIPELINE
from scnym.disk.formats.anndata_elements import ARRAYS, Branch, encoding_of, is_array, is_enum, names_in, read_value
from scnym.disk.formats.source import NAMES_AT_A_TIME, as_text, strings

SHARE_OF_MEMORY = 8
"""A block of rows may take one part in so many of the memory; an element that is read whole twice that."""
CHUNK_BYTES = 2**22
TEXT_BYTES = 64
"""About what a short text takes in memory, in bytes."""
ALIGNED = ("obsm", "varm")
"""Groups of which every member has a row per cell, or per gene."""
ARRAY_ATTRIBUTES: dict[str, Any] = {"encoding-type": "array", "encoding-version": "0.2.0"}


def carry_groups(
    groups: Mapping[str, Any],
    target: Any,
    *,
    max_memory_bytes: int,
    order_C: np.ndarray | None = None,
    genes_G: np.ndarray | None = None,
) -> list[str]:
    """Copy groups such as obsm, varm and uns.

    Parameters
    ----------
    groups
        Of an AnnData in HDF5 or Zarr, by name: a `Branch`, or why there is none.
    target
        Group of HDF5 or Zarr in which they are made.
    max_memory_bytes
        Most memory that may be taken, in bytes.
    order_C
        Rows of obsm in their new order; None for the order in which they are.
    genes_G
        Rows of varm that are kept, ascending; None for all.

    Returns
    -------
    list of str
        What could not be copied, such as ``uns colours/red``: damaged, of a kind that is not known, too large to be
        read whole, or of a name that cannot be stored.
    """
    left_out: list[str] = []
    rows_of = {"obsm": order_C, "varm": genes_G}
    with as_anndata_writes():
        for kind, branch in groups.items():
            into = target.require_group(kind)
            into.attrs.update(DICT_ATTRIBUTES)
            if isinstance(branch, FormatError):
                left_out.append(f"{kind} ({branch.what})")
                continue
            carrier = _Carrier(kind, rows_of.get(kind), order_C, max_memory_bytes)
            left_out += [f"{kind} {name}" for name in carrier.carry(branch, into)]
    return left_out


def is_plain(element: Any) -> bool:
    """Whether an element is an array of numbers with a row per cell or gene."""
    if not is_array(element) or element.dtype.kind not in "biuf" or is_enum(element):
        return False
    if encoding_of(element) not in ARRAYS:
        return False
    return element.shape is not None and len(element.shape) >= 2 and 0 not in element.shape


def make_array(target: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Make an empty array of numbers in a group of HDF5 or Zarr."""
    dtype = dtype.newbyteorder("<")
    if not isinstance(target, zarr.Group):
        array = target.create_dataset(name, shape=shape, dtype=dtype)
        array.attrs.update(ARRAY_ATTRIBUTES)
        return array
    chunks = (min(shape[0], max(1, CHUNK_BYTES // _row_bytes(shape, dtype))), *shape[1:])
    return target.create_array(
        name, shape=shape, dtype=dtype, chunks=chunks, attributes=ARRAY_ATTRIBUTES, overwrite=True
    )


def copy_rows(
    source: Any, into: Any, *, max_memory_bytes: int, order_C: np.ndarray | None = None, first_row: int = 0
) -> None:
    """Copy the rows of an array, in blocks, to `first_row` and on.

    Rows in a new order are collected a block at a time, for each of which the source is read from its beginning: an
    embedding of a million cells takes 200 MB, so it is read twice at the default memory cap.
    """
    n_rows = source.shape[0] if order_C is None else len(order_C)
    step = max(1, max_memory_bytes // SHARE_OF_MEMORY // _row_bytes(source.shape, source.dtype))
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        block = source[start:stop] if order_C is None else _collected(source, order_C[start:stop], step)
        into[first_row + start : first_row + stop] = block


def _collected(source: Any, wanted_C: np.ndarray, step: int) -> np.ndarray:
    block = np.empty((len(wanted_C), *source.shape[1:]), source.dtype)
    for first in range(0, source.shape[0], step):
        here = np.flatnonzero((wanted_C >= first) & (wanted_C < first + step))
        if len(here):
            block[here] = source[first : first + step][wanted_C[here] - first]
    return block


def _row_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return max(1, dtype.itemsize * math.prod(shape[1:]))


@dataclass(frozen=True)
class _Carrier:
    """Copies the members of one group, and of the dictionaries in it."""

    kind: str
    rows: np.ndarray | None
    """Rows of an array that are taken, in this order; None for all of them as they are."""
    order_C: np.ndarray | None
    max_memory_bytes: int

    def carry(self, branch: Branch, into: Any) -> Iterator[str]:
        """Copy what is in a dictionary; give the names of what cannot be copied, some with the reason."""
        for name, element in branch.items():
            if isinstance(element, FormatError):
                yield f"{name} ({element.what})"
            elif safe_names([name]) != [name] or (isinstance(element, Branch) and self.kind in ALIGNED):
                yield name
            elif isinstance(element, Branch):
                inner = into.require_group(name)
                inner.attrs.update(DICT_ATTRIBUTES)
                yield from (f"{name}/{below}" for below in self.carry(element, inner))
            elif not self._copied(element, into, name):
                if name in into:
                    del into[name]
                yield name

    def _copied(self, element: Any, into: Any, name: str) -> bool:
        rows = self.rows
        try:
            if is_plain(element):
                n_rows = element.shape[0] if rows is None else len(rows)
                array = make_array(into, name, (n_rows, *element.shape[1:]), element.dtype)
                copy_rows(element, array, max_memory_bytes=self.max_memory_bytes, order_C=rows)
                return True
            if _n_bytes(element) > 2 * self.max_memory_bytes // SHARE_OF_MEMORY:
                return False
            value: Any = read_value(element)
            if self._pairs_cells(value):
                return False
            if rows is not None:
                value = value.iloc[rows] if isinstance(value, pd.DataFrame) else value[rows]
            write_elem(into, name, plain_text(value) if isinstance(value, pd.DataFrame) else value)
            if value is None and isinstance(into, zarr.Group):
                written: Any = into[name]
                written[...] = written[...]  # AnnData leaves out its chunk, which would be taken for lost
        except Exception as fault:  # what anndata raises for kinds that it does not know has no public name
            if getattr(fault, "errno", None) in FULL:
                raise
            return False
        return True

    def _pairs_cells(self, value: Any) -> bool:
        """Whether a matrix has a row and a column for each cell, which would have to be put into the new order both."""
        n_cells = -1 if self.order_C is None else len(self.order_C)
        return self.kind == "uns" and getattr(value, "shape", None) == (n_cells, n_cells)


def _n_bytes(element: Any) -> int:
    """Estimate what an element takes in memory."""
    if not is_array(element):
        return sum(_n_bytes(element[name]) for name in names_in(element))
    itemsize = element.dtype.itemsize if element.dtype.kind in "biufc" else max(TEXT_BYTES, element.dtype.itemsize)
    return itemsize * math.prod(element.shape or ())  # HDF5 has arrays without a shape, for nothing


DICT_ATTRIBUTES = {"encoding-type": "dict", "encoding-version": "0.1.0"}
NUMBER_KINDS = "biuf"
NUMBER_ARRAYS = (pd.arrays.NumpyExtensionArray, pd.arrays.IntegerArray, pd.arrays.BooleanArray)
"""What numbers may stand in for AnnData to write them."""
INDEX = "_index"
EMPTY_GROUPS = ("layers", "obsm", "obsp", "varm", "varp", "uns")


def with_own_columns(
    obs: pd.DataFrame, *, totals_C: np.ndarray, n_genes_C: np.ndarray, sample: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Add the store's own columns; the user's of the same name step aside.

    Parameters
    ----------
    obs
        Annotations as they came.
    totals_C, n_genes_C
        Library size, and genes with a count, of every cell.
    sample
        Where the cells are from.

    Returns
    -------
    tuple
        The annotations to store, and the names of the columns that were renamed: new name to old.
    """
    obs, renamed = storable(obs)
    for name in (column for column in OWN_OBS_COLUMNS if column in obs):
        free = free_name(f"{name}_input", obs.columns)
        obs = obs.rename(columns={name: free})
        renamed[free] = name
    if np.array_equal(totals_C, np.rint(totals_C)):
        totals_C = totals_C.astype(np.int64)
    obs[N_COUNTS], obs[N_GENES] = totals_C, n_genes_C
    obs[SOURCE] = pd.Categorical([sample]).repeat(len(obs))
    return obs, renamed


def write_frames(group: zarr.Group, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """Write obs and var, made ready by `storable`, and the other groups of an AnnData, which are empty."""
    for name, frame in (("obs", obs), ("var", var)):
        write_names(group, name, strings(frame.index), list(frame.columns))
        with as_anndata_writes():
            for column in frame:
                write_elem(cast("zarr.Group", group[name]), str(column), frame[column].values)
    write_empty_groups(group)


def write_names(group: zarr.Group, frame: str, names_C: np.ndarray, columns: Sequence[str] = ()) -> None:
    """Write a table but for its columns, as AnnData does, in bounded memory.

    Parameters
    ----------
    group
        The AnnData.
    frame
        ``obs`` or ``var``.
    names_C
        Names of the rows, as NumPy's strings, shape (C,).
    columns
        Names of the columns, in their order, which are written into the table afterwards.
    """
    attributes: dict[str, Any] = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": INDEX}
    attributes["column-order"] = list(columns)
    with as_anndata_writes():
        array = group.create_group(frame, attributes=attributes, overwrite=True).create_array(
            INDEX,
            shape=names_C.shape,
            dtype=names_C.dtype,
            chunks=(min(max(1, len(names_C)), NAMES_AT_A_TIME),),
            attributes={"encoding-type": "string-array", "encoding-version": "0.2.0"},
        )
        for start in range(0, len(names_C), NAMES_AT_A_TIME):
            array[start : start + NAMES_AT_A_TIME] = names_C[start : start + NAMES_AT_A_TIME]


def write_empty_groups(group: zarr.Group) -> None:
    """Write the groups of an AnnData that hold nothing here."""
    for name in EMPTY_GROUPS:
        group.create_group(name, attributes=DICT_ATTRIBUTES, overwrite=True)


@contextmanager
def as_anndata_writes() -> Iterator[None]:
    """Write tables and the like as AnnData does, and without its warnings."""
    # Chunks of nothing but zeros are written too, so that one that is not there is known to be lost. The Rust pipeline,
    # under which a source may be open, would leave them out.
    whole = zarr.config.set({"array.write_empty_chunks": True, "codec_pipeline.path": OWN_PIPELINE})
    settings = anndata.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True)
    with warnings.catch_warnings(), settings, whole:
        # Zarr 3 warns that strings have no final specification yet; AnnData stores them so all the same.
        warnings.filterwarnings("ignore", category=UnstableSpecificationWarning)
        yield


def plain_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names and text are Python's strings, as pandas had them before version 3.

    So that all versions write the same bytes, which any AnnData reads. Text of which some is missing stays as it is.
    """
    text = [name for name in frame if isinstance(frame[name].dtype, pd.StringDtype) and not frame[name].hasnans]
    frame = frame.astype(dict.fromkeys(text, object))
    return frame.set_axis(frame.index.astype(object)) if isinstance(frame.index.dtype, pd.StringDtype) else frame


def storable(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the same table with text columns as categories, which keeps their codes at hand and missing values apart.

    What AnnData cannot write, such as dates and intervals, becomes text.

    Columns whose names cannot be stored, or stand twice, get others (`safe_names`); the new names are told, with the
    old ones.
    """
    names = safe_names(frame.columns)
    renamed = {new: str(old) for new, old in zip(names, frame.columns, strict=True) if new != old}
    frame = frame.set_axis(names, axis="columns").copy()
    for name in frame.columns:
        column = frame[name]
        stored = _storable_column(column)
        if stored is not column:
            frame[name] = stored
    frame.index = as_text(frame.index)
    frame.index.name = None
    return frame, renamed


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other, numbered from 0; a column without any value has no say in what it holds."""
    names = dict.fromkeys(name for frame in frames for name in frame)
    filled = [{name for name in frame if frame[name].notna().any()} for frame in frames]
    anywhere = set[object]().union(*filled)
    kept = [
        frame[[name for name in frame if name in own or name not in anywhere]]
        for frame, own in zip(frames, filled, strict=True)
    ]
    return pd.concat(kept, ignore_index=True)[list(names)]


def _storable_column(column: pd.Series) -> pd.Series:
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    values = column.cat.categories if is_category else column
    if values.dtype.kind in NUMBER_KINDS:
        return column if is_category or isinstance(column.array, NUMBER_ARRAYS) else column.astype(np.float64)
    if is_category and infer_dtype(values) in {"string", "empty"}:
        return column
    return column.astype(object).where(column.isna(), column.astype(str)).astype("category")
