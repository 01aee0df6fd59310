"""What was written is read by AnnData's own reader before it counts as finished: what that refuses is taken out again.

An AnnData of which one element cannot be read opens nowhere. Memory stays bounded: matrices are read in part.
"""

from collections.abc import Iterator
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset

from scnym.base.errors import ScnymError
from scnym.disk.formats.block import read_strings, strings
from scnym.disk.formats.elements import is_dictionary, names_in
from scnym.disk.groups import is_plain
from scnym.disk.quiet import quiet_libraries

AXES = {"obsm": "obs", "varm": "var"}
FEW = 2
"""Rows that are enough to see whether AnnData takes an element."""


def take_out_unreadable(group: Any) -> list[str]:
    """Read every element of an AnnData that was just written; take out what AnnData cannot read.

    Parameters
    ----------
    group
        The AnnData, in HDF5 or Zarr.

    Returns
    -------
    list of str
        What was taken out, such as ``obsm X_pca``.

    Raises
    ------
    ScnymError
        If AnnData cannot read the counts, or the names of cells or genes cannot be read.
    """
    with quiet_libraries():
        try:
            sparse_dataset(group["X"])[:1]
        except Exception as fault:
            raise ScnymError(f"AnnData cannot read the counts that were written ({fault})") from fault
        for name in ("obs", "var"):
            if not _reads_in_part(group[name][group[name].attrs["_index"]]):
                raise ScnymError(f"the names in {name} that were written cannot be read")
        columns = [f"{name} {column}" for name in AXES.values() for column in _unreadable_columns(group[name])]
        aligned = [f"{kind} {name}" for kind, axis in AXES.items() for name in _not_aligned(group, kind, axis)]
        return [*columns, *aligned, *(f"uns {name}" for name in _unreadable(group["uns"]))]


def _unreadable_columns(frame: Any) -> Iterator[str]:
    order, n_rows = [str(name) for name in frame.attrs["column-order"]], frame[frame.attrs["_index"]].shape[0]
    unreadable = [name for name in order if not _reads(frame[name], n_rows)]
    if unreadable:
        kept = [name for name in order if name not in unreadable]
        frame.attrs["column-order"] = np.array(kept, h5py.string_dtype()) if isinstance(frame, h5py.Group) else kept
    for name in unreadable:
        del frame[name]
        yield name


def _reads(element: Any, n_rows: int) -> bool:
    try:
        return len(cast("Any", read_elem(element))) == n_rows
    except Exception:  # noqa: BLE001 - whatever AnnData raises, it raises for its users too
        return False


def _not_aligned(group: Any, kind: str, axis: str) -> Iterator[str]:
    names = group[axis][group[axis].attrs["_index"]]
    for name in names_in(group[kind]):
        if not _is_aligned(group[kind][name], names):
            del group[kind][name]
            yield name


def _is_aligned(element: Any, names: Any) -> bool:
    """Whether AnnData takes an element for one of its rows or columns, of which these are the names."""
    if is_plain(element):
        return element.shape[0] == names.shape[0] and _reads_in_part(element)
    try:
        value: Any = read_elem(element)
        if value.shape[0] != names.shape[0]:
            return False
        some = AnnData(shape=(min(FEW, names.shape[0]), 0))
        if isinstance(value, pd.DataFrame):
            if not np.array_equal(strings(value.index), read_strings(names)):
                return False
            some.obs_names = list(value.index[:FEW])
        some.obsm["element"] = value[:FEW]
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _unreadable(branch: Any) -> Iterator[str]:
    """Take out what cannot be read of a dictionary; give the names."""
    for name in names_in(branch):
        element = branch[name]
        if is_dictionary(element):
            yield from (f"{name}/{below}" for below in _unreadable(element))
        elif not (_reads_in_part(element) if is_plain(element) else _can_be_read(element)):
            del branch[name]
            yield name


def _reads_in_part(array: Any) -> bool:
    """Whether the first rows can be read of an array, which may be too large to be read whole."""
    try:
        array[:FEW]
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _can_be_read(element: Any) -> bool:
    try:
        read_elem(element)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True
