"""What an AnnData holds beside counts, obs and var: obsm, varm and uns, carried from one file into another.

Rows of plain arrays are copied in blocks; all else is read whole if it is small. Nothing that is read is executed.

C cells.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem, write_elem

from scnym.base.columns import safe_names
from scnym.disk.frames import DICT_ATTRIBUTES, as_anndata_writes

SHARE_OF_MEMORY = 8
"""A block of rows may take one part in so many of the memory; an element that is read whole twice that."""
CHUNK_BYTES = 2**22
TEXT_BYTES = 64
"""About what a short text takes in memory, in bytes."""
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
        Of an AnnData in HDF5 or Zarr, by name.
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
        What could not be copied, such as ``uns colours/red``: of a kind that is not known, too large to be read whole,
        or of a name that cannot be stored.
    """
    left_out: list[str] = []
    rows_of = {"obsm": order_C, "varm": genes_G}
    with as_anndata_writes():
        for kind, group in groups.items():
            into = target.require_group(kind)
            into.attrs.update(DICT_ATTRIBUTES)
            left_out += [f"{kind} {name}" for name in _carry_dict(group, into, rows_of.get(kind), max_memory_bytes)]
    return left_out


def is_plain(element: Any) -> bool:
    """Whether an element is an array of numbers with a row per cell or gene."""
    if not hasattr(element, "dtype") or element.dtype.kind not in "biuf":
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


def _carry_dict(group: Any, into: Any, order_C: np.ndarray | None, max_memory_bytes: int) -> Iterator[str]:
    """Copy the members of a dictionary; give the names of those that cannot be."""
    for name in group:
        element = group[name]
        if safe_names([name]) != [name]:
            yield name
        elif _is_dict(element):
            inner = into.require_group(name)
            inner.attrs.update(DICT_ATTRIBUTES)
            yield from (f"{name}/{below}" for below in _carry_dict(element, inner, order_C, max_memory_bytes))
        elif is_plain(element):
            n_rows = element.shape[0] if order_C is None else len(order_C)
            array = make_array(into, name, (n_rows, *element.shape[1:]), element.dtype)
            copy_rows(element, array, max_memory_bytes=max_memory_bytes, order_C=order_C)
        elif not _carried_whole(element, into, name, order_C, max_memory_bytes):
            yield name


def _carried_whole(element: Any, into: Any, name: str, order_C: np.ndarray | None, max_memory_bytes: int) -> bool:
    if _n_bytes(element) > 2 * max_memory_bytes // SHARE_OF_MEMORY:
        return False
    try:
        value: Any = read_elem(element)
        if order_C is not None:
            value = value.iloc[order_C] if isinstance(value, pd.DataFrame) else value[order_C]
        write_elem(into, name, value)
        read_elem(into[name])
        if value is None and isinstance(into, zarr.Group):
            written: Any = into[name]
            written[...] = written[...]  # AnnData leaves out its chunk, which would be taken for lost
    except Exception:  # noqa: BLE001 - what anndata raises for kinds that it does not know has no public name
        if name in into:
            del into[name]
        return False
    return True


def _is_dict(element: Any) -> bool:
    return not hasattr(element, "dtype") and element.attrs.get("encoding-type", "dict") in {"dict", ""}


def _n_bytes(element: Any) -> int:
    """Estimate what an element takes in memory."""
    if not hasattr(element, "dtype"):
        return sum(_n_bytes(element[name]) for name in element)
    itemsize = element.dtype.itemsize if element.dtype.kind in "biufc" else max(TEXT_BYTES, element.dtype.itemsize)
    return itemsize * math.prod(element.shape or ())  # HDF5 has arrays without a shape, for nothing
