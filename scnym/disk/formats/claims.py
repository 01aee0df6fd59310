"""What a file of unknown origin claims to hold, checked against what it holds before memory is taken for it.

A damaged or crafted file of a few kilobytes may name a table of 10^15 rows, or have its values in another file.
"""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import zarr

from scnym.base.errors import FormatError
from scnym.disk.bucket import Location
from scnym.disk.chunk_claims import ALLOWED_BYTES, MAX_RATIO
from scnym.disk.chunk_index import ShardIndexes

HEAP, HEAP_HEADER = b"GCOL\1\0\0\0", 16
"""How a global heap of HDF5 begins, in its only version; bytes of its header, and of that of each object in it."""
SCANNED_BYTES = 2**26
ALLOWED_ROWS = 10**6
TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""How HDF5 stores a text of variable length: how long it is, and where."""
TEXTS_AT_A_TIME = 2**16
TYPE_CLASS, VARIABLE_KINDS = 2, (0, 1)
"""Where the class of an encoded type stands; what may follow that of variable length, for sequences and texts."""
ROW_PARTS = ("codes", "values", "mask")
"""Arrays with a value per row, of a column that is a group."""
COLUMN_GROUPS = ("categorical", "nullable-integer", "nullable-boolean", "nullable-string-array")
FLOAT_BYTES = 8
"""Of the widest floats that Zarr has."""
MAX_LEVELS = 64
"""Groups in groups: whoever reads them calls itself for each."""
ALLOWED_OBJECTS = 10**5
NOT_COUNTED = -1
"""Stands for a group while what is below it is looked through."""
WAY_OUT = "copy or write it again"


def require_held(file: h5py.File, path: Path) -> None:
    """Refuse an HDF5 file whose arrays claim far more bytes than are stored, or are stored in other files.

    Raises
    ------
    FormatError
        Names the array.
    """
    for name, dataset in _objects(file, path):
        _require_sound_types(name, dataset, path)
        if not isinstance(dataset, h5py.Dataset):
            continue
        n_stored = dataset.id.get_storage_size()
        n_claimed = 0 if dataset.shape is None else math.prod(dataset.shape) * dataset.dtype.itemsize
        if n_claimed > max(ALLOWED_BYTES, MAX_RATIO * n_stored):
            _refuse(name, n_claimed, n_stored, path)
        _require_small_chunks(name, dataset, path)
        _require_sound_texts(name, dataset, path)
        if dataset.external or dataset.is_virtual:
            raise FormatError(f"{name} is stored in another file", where=path, way_out="write it as one file")


def require_sound_heaps(path: Path) -> None:
    """Refuse a file with a heap of texts that ends behind it, or whose objects do not lie one behind the other.

    HDF5 itself would take any memory for the one, and read the other for ever.

    Files above `SCANNED_BYTES` are not looked through, which would take longer than to read what is wanted of them.

    Raises
    ------
    FormatError
        If there is one.
    """
    content = path.read_bytes() if path.stat().st_size <= SCANNED_BYTES else b""
    start = content.find(HEAP)
    while start >= 0:
        place, stop = start + HEAP_HEADER, start + int.from_bytes(content[start + 8 : start + HEAP_HEADER], "little")
        is_sound = stop <= len(content)
        while is_sound and place + HEAP_HEADER <= stop:
            is_free = content[place : place + 2] == b"\0\0"
            length = int.from_bytes(content[place + 8 : place + HEAP_HEADER], "little")
            step = length if is_free else HEAP_HEADER + -(-length // 8) * 8
            is_sound = 0 < step <= stop - place or place + HEAP_HEADER == stop
            place += max(step, HEAP_HEADER)
        if not is_sound:
            raise FormatError("a heap of texts is damaged", where=path, way_out=WAY_OUT)
        start = content.find(HEAP, start + 1)


def require_table(frame: Any, name: str, path: Location) -> None:
    """Refuse a table of AnnData, in HDF5 or Zarr, of odd columns or more rows than it names, before any of it is read.

    Raises
    ------
    FormatError
        Names the column.
    """
    order = frame.attrs.get("column-order", ())
    columns = {str(column) for column in order}
    outside = [column for column in (*columns, str(frame.attrs["_index"])) if not _is_inside(column)]
    if isinstance(order, str | bytes) or outside:
        raise FormatError(f"the columns of {name} are not named", where=path, way_out=WAY_OUT)
    index = frame[frame.attrs["_index"]]
    index = index if hasattr(index, "shape") else index["values"]  # text that may be missing, of AnnData 0.13
    n_rows = _n_rows(index)
    is_long = isinstance(index, zarr.Array) and n_rows > ALLOWED_ROWS  # only then is it worth to ask for sizes
    if is_long and n_rows > MAX_RATIO * index.nbytes_stored():
        raise FormatError(
            f"{name} is said to have {n_rows:,} rows, but they are not named", where=path, way_out=WAY_OUT
        )
    for key in {*columns, *frame}:
        if key.startswith("__") or key not in frame:
            continue  # categories, as they were kept before version 0.8; a column that is missed when it is read
        column = frame[key]
        if key in columns and not _is_column(column):
            raise FormatError(f"{name}/{key} is no column of numbers or text", where=path, way_out="leave it out")
        parts = [column] if hasattr(column, "shape") else [column[k] for k in ROW_PARTS if k in column]
        if any(_n_rows(part) != n_rows for part in parts):
            raise FormatError(f"{name}/{key} has not the {n_rows:,} rows that are named", where=path, way_out=WAY_OUT)
        if (
            not hasattr(column, "shape")
            and "categories" in column
            and _n_rows(column["categories"]) > max(ALLOWED_ROWS, n_rows)
        ):
            raise FormatError(f"{name}/{key} has more categories than rows", where=path, way_out=WAY_OUT)


def require_small_chunks(file: zarr.Group, keys: Iterable[str], folder: Path) -> None:
    """Refuse groups nested without end, and chunks that claim far more bytes than they have.

    Zarr takes longer for every level; Blosc and the Rust codecs take memory before they look.

    Parameters
    ----------
    file
        An AnnData.
    keys
        Its parts that will be read, as far as they are there.
    folder
        Where its store lies.

    Raises
    ------
    FormatError
        Names the chunk, or the group.
    ValueError
        Names the shard.
    """
    _require_shallow(folder / file.path)
    for array in _arrays(file, keys):
        indexes = ShardIndexes(array)
        if indexes.has_shards:
            indexes.require_all()
            continue
        for chunk in indexes.claims.false_ones():
            raise FormatError(
                f"chunk {chunk.relative_to(folder)} is damaged, or claims more than it has",
                where=folder,
                way_out=WAY_OUT,
            )


def _require_shallow(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        levels = Path(parent).relative_to(folder).parts
        if len(levels) > MAX_LEVELS:
            _refuse_nesting(levels[0], folder)


def _refuse_nesting(name: str, path: Path) -> NoReturn:
    raise FormatError(f"{name} nests groups more than {MAX_LEVELS} deep", where=path, way_out="write it flatter")


def _arrays(file: zarr.Group, keys: Iterable[str]) -> Iterator[zarr.Array[Any]]:
    for element in (file[key] for key in keys if key in file):
        if isinstance(element, zarr.Array):
            yield element
        else:
            yield from (one for _, one in element.members(max_depth=None) if isinstance(one, zarr.Array))


def _is_inside(column: str) -> bool:
    """Whether a name leads into the table: HDF5 takes it for a path, and old files have columns in groups."""
    return not {"", ".", ".."} & set(column.split("/"))


def _is_column(column: Any) -> bool:
    """Whether an element is what a table has as a column; AnnData reads others as well, such as sparse matrices."""
    if not hasattr(column, "shape"):
        parts = [column[name] for name in (*ROW_PARTS, "categories") if name in column]
        return column.attrs.get("encoding-type") in COLUMN_GROUPS and all(map(_is_column, parts))
    return _is_list(column)


def _is_list(column: Any) -> bool:
    """Whether an element is a list of numbers or text, and is not said to be far larger than it is."""
    if len(column.shape or ()) != 1:
        return False
    n_bytes = column.shape[0] * column.dtype.itemsize
    if isinstance(column, zarr.Array) and n_bytes > ALLOWED_BYTES and n_bytes > MAX_RATIO * column.nbytes_stored():
        return False
    is_record, is_wide = column.dtype.kind == "V", column.dtype.kind == "f" and column.dtype.itemsize > FLOAT_BYTES
    return not is_record and not is_wide


def _n_rows(array: Any) -> int:
    return int(array.shape[0]) if array.shape else -1


def _require_small_chunks(name: str, dataset: h5py.Dataset, path: Path) -> None:
    """Refuse chunks that no array of this size is cut into."""
    if dataset.chunks is not None:
        n_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if n_bytes > max(ALLOWED_BYTES, MAX_RATIO * dataset.id.get_storage_size()):
            _refuse(f"a chunk of {name}", n_bytes, dataset.id.get_storage_size(), path)


def _require_sound_texts(name: str, dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a text that is said to be longer than its file: HDF5 takes memory for it before it looks.

    Texts that are packed are not looked at.
    """
    if not _has_texts(dataset) or dataset.file.userblock_size:
        return
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        for begin, n_texts in _places_of_texts(dataset):
            file.seek(begin)
            for done in range(0, n_texts, TEXTS_AT_A_TIME):
                texts = file.read(min(TEXTS_AT_A_TIME, n_texts - done) * TEXT.itemsize)
                whole = texts[: len(texts) // TEXT.itemsize * TEXT.itemsize]
                longest = int(np.frombuffer(whole, TEXT)["length"].max(initial=0))
                if longest > n_bytes:
                    _refuse(f"a text of {name}", longest, n_bytes, path)


def _has_texts(dataset: h5py.Dataset) -> bool:
    kind = dataset.id.get_type()
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def _places_of_texts(dataset: h5py.Dataset) -> Iterator[tuple[int, int]]:
    """Give where the texts of an array begin in its file, and how many there are, stretch by stretch."""
    begin = dataset.id.get_offset()
    if begin is not None:
        yield begin, dataset.size or 0
    elif dataset.chunks is not None and not dataset.id.get_create_plist().get_nfilters():
        chunks: list[Any] = []
        dataset.id.chunk_iter(chunks.append)
        yield from ((chunk.byte_offset, chunk.size // TEXT.itemsize) for chunk in chunks)


def _require_sound_types(name: str, element: h5py.Dataset | h5py.Group, path: Path) -> None:
    """Refuse values of variable length that are neither texts nor sequences: HDF5 would end the process."""
    attributes = (h5py.h5a.open(element.id, index=k) for k in range(h5py.h5a.get_num_attrs(element.id)))
    own = [element.id] if isinstance(element, h5py.Dataset) else []
    for holder in (*own, *attributes):
        description = holder.get_type().encode()
        if description[TYPE_CLASS] & 0xF == h5py.h5t.VLEN and description[TYPE_CLASS + 1] & 0xF not in VARIABLE_KINDS:
            raise FormatError(f"{name or '/'} has values of no known type", where=path, way_out=WAY_OUT)


def _refuse(name: str, n_claimed: int, n_stored: int, path: Path) -> None:
    raise FormatError(
        f"{name} is said to hold {n_claimed:,} bytes, but {n_stored:,} are stored", where=path, way_out=WAY_OUT
    )


def _objects(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset | h5py.Group]]:
    """Give every group of a file once, however it is linked, and every array; refuse what would have no end."""
    yield "", file
    n_below, n_given = dict[int, int](), 0
    for one in _below(file, (), n_below, path):
        n_given += 1
        yield one
    n_met = n_below[file.id.__hash__()]
    if n_met > n_given + ALLOWED_OBJECTS:
        raise FormatError(f"{n_given:,} objects are linked so that they seem {n_met:,}", where=path, way_out=WAY_OUT)


def _below(
    group: h5py.Group, keys: tuple[str, ...], n_below: dict[int, int], path: Path
) -> Iterator[tuple[str, h5py.Dataset | h5py.Group]]:
    """Give what is below a group, and note how many objects a reader meets there that follows every link."""
    own, n_met = group.id.__hash__(), 0
    n_below[own] = NOT_COUNTED
    for key in map(str, group):
        name = "/".join((*keys, key))
        if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
            raise FormatError(f"{name} is a link to another file", where=path, way_out="write it as one file")
        element = group.get(key)
        if isinstance(element, h5py.Dataset):
            yield name, element
        elif isinstance(element, h5py.Group):
            inner = element.id.__hash__()
            if inner not in n_below:
                if len(keys) == MAX_LEVELS:
                    _refuse_nesting(keys[0], path)
                yield name, element
                yield from _below(element, (*keys, key), n_below, path)
            if n_below[inner] == NOT_COUNTED:
                raise FormatError(f"{name} is a link to a group that it lies in", where=path, way_out=WAY_OUT)
            n_met += n_below[inner]
        n_met += 1
    n_below[own] = n_met
