"""What an AnnData holds beside counts, obs and var: obsm, varm and uns, carried from one file into another.

Rows of plain arrays are copied in blocks; all else is read whole if it is small. Nothing that is read is executed.

C cells.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem

from scnym.base.columns import safe_names
from scnym.base.errors import FormatError
from scnym.disk.aside import FULL
from scnym.disk.formats.elements import ARRAYS, Branch, encoding_of, is_array, is_enum, names_in, read_value
from scnym.disk.frames import DICT_ATTRIBUTES, as_anndata_writes, plain_text

SHARE_OF_MEMORY = 8
"""A block of rows may take one part in so many of the memory; an element that is read whole twice that."""
CHUNK_BYTES = 2**22
TEXT_BYTES = 64
"""About what a short text takes in memory, in bytes."""
ALIGNED = ("obsm", "varm")
"""Groups of which every member has a row per cell, or per gene."""
ARRAY_ATTRIBUTES: dict[str, Any] = {"encoding-type": "array", "encoding-version": "0.2.0"}


def carry_groups(
    groups: Mapping[str, Any], target: Any, *, max_memory_bytes: int, order_C: np.ndarray | None = None
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

    Returns
    -------
    list of str
        What could not be copied, such as ``uns colours/red``: damaged, of a kind that is not known, too large to be
        read whole, or of a name that cannot be stored.
    """
    left_out: list[str] = []
    with as_anndata_writes():
        for kind, branch in groups.items():
            into = target.require_group(kind)
            into.attrs.update(DICT_ATTRIBUTES)
            if isinstance(branch, FormatError):
                left_out.append(f"{kind} ({branch.what})")
                continue
            carrier = _Carrier(kind, order_C, max_memory_bytes)
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
    n_rows = source.shape[0]
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
        order_C = self.order_C if self.kind == "obsm" else None
        try:
            if is_plain(element):
                array = make_array(into, name, element.shape, element.dtype)
                copy_rows(element, array, max_memory_bytes=self.max_memory_bytes, order_C=order_C)
                return True
            if _n_bytes(element) > 2 * self.max_memory_bytes // SHARE_OF_MEMORY:
                return False
            value: Any = read_value(element)
            if self._pairs_cells(value):
                return False
            if order_C is not None:
                value = value.iloc[order_C] if isinstance(value, pd.DataFrame) else value[order_C]
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
