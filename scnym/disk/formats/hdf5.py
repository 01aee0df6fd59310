"""HDF5 files of unknown origin: what they claim is checked against what they hold before memory is taken for it.

A damaged or crafted file of a few kilobytes may name a table of 10^15 rows, or have its values in another file. Also
which compression filters are installed, and room for chunks, which can be decoded only as a whole.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import zarr

from scnym.base.errors import FormatError, SettingsError
from scnym.disk.chunks import ALLOWED_BYTES, MAX_RATIO, ShardIndexes
from scnym.disk.formats.anndata_elements import Unsound, names_in
from scnym.disk.formats.source import BYTES_PER_ELEMENT, READING_FAULTS
from scnym.disk.location import Location

PLUGINS = "hdf5plugin"
NAMES = {
    305: "LZO",
    307: "bzip2",
    32000: "LZF",
    32001: "Blosc",
    32004: "LZ4",
    32008: "Bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32029: "HTJ2K",
    32028: "SPERR",
}
"""Registered filters by their numbers (https://github.com/HDFGroup/hdf5_plugins)."""


def require_filters(name: str, dataset: h5py.Dataset, path: Path) -> None:
    """Refuse an array that is compressed by a filter that is not installed.

    Raises
    ------
    FormatError
        Names the filter.
    """
    settings = dataset.id.get_create_plist()
    for number in range(settings.get_nfilters()):
        code, _, _, described = settings.get_filter(number)
        if not _is_available(code):
            known = NAMES.get(code) or described.decode(errors="replace").strip("\0 ") or f"number {code}"
            raise FormatError(
                f"{name} is compressed by the HDF5 filter {known}, which is not installed",
                where=path,
                way_out=f"install it with pip install {PLUGINS}, or write the file with gzip",
            )


def _is_available(code: int) -> bool:
    if h5py.h5z.filter_avail(code):
        return True
    try:
        import_module(PLUGINS)  # registers its filters
    except ImportError:
        return False
    return h5py.h5z.filter_avail(code)


SHARE_OF_MEMORY = 2
"""Chunks may take one part in so many of the memory cap; blocks take the rest."""
USUAL_BYTES = 2**20
"""What HDF5 keeps of each array anyway."""
SLOTS_PER_CHUNK = 101


@dataclass(frozen=True, slots=True)
class ChunkCache:
    """How much of a file's chunks is kept in memory while it is read."""

    n_bytes_per_array: int
    n_slots: int
    max_elements: int
    """Most values of a block beside it."""

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `h5py.File`; chunks that were read to their end are given up first."""
        return {"rdcc_nbytes": self.n_bytes_per_array, "rdcc_nslots": self.n_slots, "rdcc_w0": 1.0}


def cache_for(arrays: Sequence[Any], path: Location, max_memory_bytes: int, *, cell_axis: int = 0) -> ChunkCache:
    """Return room for all chunks that hold one cell, if the memory cap has it.

    Parameters
    ----------
    arrays
        Of HDF5 or Zarr, read side by side.
    path
        The file.
    max_memory_bytes
        Memory cap, in bytes.
    cell_axis
        The axis along which blocks of cells are cut.

    Raises
    ------
    SettingsError
        If the memory cap is too small for single chunks.
    """
    chunked = [array for array in arrays if _is_compressed(array)]
    chunk_bytes = [math.prod(array.chunks) * array.dtype.itemsize for array in chunked]
    needed = sum(chunk_bytes) + max(chunk_bytes, default=0)  # one more, not yet decoded
    if needed > max(USUAL_BYTES, max_memory_bytes // SHARE_OF_MEMORY):
        enough = f"{math.ceil(SHARE_OF_MEMORY * needed / 1e6)}MB"
        raise SettingsError(
            f"its counts are stored in compressed chunks of {max(chunk_bytes) / 1e6:,.0f} MB, which can be read only "
            f"whole",
            where=path,
            way_out=f"give --max_memory {enough}, or write the file in smaller chunks",
            mend={"--max_memory": enough},
        )
    n_across = [_n_across(array, cell_axis) for array in chunked]
    strip_bytes = max((n * size for n, size in zip(n_across, chunk_bytes, strict=True)), default=0)
    kept_bytes = len(chunked) * strip_bytes
    if strip_bytes <= USUAL_BYTES or kept_bytes + max(chunk_bytes) > max_memory_bytes // SHARE_OF_MEMORY:
        strip_bytes = kept_bytes = 0
    left = (max_memory_bytes - max(kept_bytes, needed)) // BYTES_PER_ELEMENT
    return ChunkCache(max(USUAL_BYTES, strip_bytes), SLOTS_PER_CHUNK * max(10, *n_across, 0), left)


def _is_compressed(array: Any) -> bool:
    """Whether an array is decoded chunk by chunk; HDF5 reads plain chunks in part."""
    if isinstance(array, h5py.Dataset):
        return array.chunks is not None and array.id.get_create_plist().get_nfilters() > 0
    return hasattr(array, "chunks")


def _n_across(array: Any, cell_axis: int) -> int:
    """Count the chunks that hold a part of one cell."""
    lengths = zip(array.shape, array.chunks, strict=True)
    return math.prod(-(-length // chunk) for axis, (length, chunk) in enumerate(lengths) if axis != cell_axis)


HEAP, HEAP_HEADER = b"GCOL\1\0\0\0", 16
"""How a global heap of HDF5 begins, in its only version; bytes of its header, and of that of each object in it."""
SCANNED_BYTES = 2**26
TEXT = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""How HDF5 stores a text of variable length: how long it is, and where."""
TEXTS_AT_A_TIME = 2**16
TYPE_CLASS, VARIABLE_KINDS = 2, (0, 1)
"""Where the class of an encoded type stands; what may follow that of variable length, for sequences and texts."""
MAX_LEVELS = 64
"""Groups in groups: whoever reads them calls itself for each."""
ALLOWED_OBJECTS = 10**5
NOT_COUNTED = -1
"""Stands for a group while what is below it is looked through."""
WAY_OUT = "copy or write it again"


def unsound_hdf5(file: h5py.File, path: Path) -> Unsound:
    """Find arrays that claim far more bytes than are stored, lie in other files, or cannot be opened or unpacked.

    Raises
    ------
    FormatError
        If its groups have no end.
    """
    faults: dict[str, FormatError] = {}
    for name, element in _objects(file, path):
        if isinstance(element, FormatError):
            faults[name] = element
            continue
        if isinstance(element, str):  # the name under which a group has been looked through
            again = {key: fault for key, fault in faults.items() if key == element or key.startswith(f"{element}/")}
            faults |= {f"{name}{key.removeprefix(element)}": fault for key, fault in again.items()}
            continue
        try:
            _require_sound_types(name, element, path)
            if isinstance(element, h5py.Dataset):
                _require_held(name, element, path)
        except FormatError as fault:
            faults[name] = fault
        except READING_FAULTS as fault:
            faults[name] = _unreadable(name, fault, path)
    return Unsound(faults)


def _require_held(name: str, dataset: h5py.Dataset, path: Path) -> None:
    """Refuse an array that claims far more bytes than are stored, or is stored in other files."""
    if dataset.external or dataset.is_virtual:
        raise FormatError(f"{name} is stored in another file", where=path, way_out="write it as one file")
    n_stored = dataset.id.get_storage_size()
    n_claimed = 0 if dataset.shape is None else math.prod(dataset.shape) * dataset.dtype.itemsize
    if n_claimed > max(ALLOWED_BYTES, MAX_RATIO * n_stored):
        _refuse(name, n_claimed, n_stored, path)
    _require_small_chunks(name, dataset, path)
    _require_sound_texts(name, dataset, path)
    require_filters(name, dataset, path)


def _unreadable(name: str, fault: BaseException, path: Path) -> FormatError:
    return FormatError(f"{name} cannot be read ({fault})", where=path, way_out=WAY_OUT)


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


def unsound_zarr(file: zarr.Group, keys: Iterable[str], folder: Path) -> Unsound:
    """Find chunks that claim far more bytes than they have, and what cannot be opened.

    Zarr takes longer for every level of groups; Blosc and the Rust codecs take memory before they look.

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
        If groups are nested without end.
    """
    _require_shallow(folder / file.path)
    faults: dict[str, FormatError] = {}
    for name, element in _elements(file, keys):
        try:
            fault = element if isinstance(element, FormatError) else _fault_of_chunks(element, folder)
        except ValueError as odd:
            fault = FormatError(str(odd), where=folder, way_out=WAY_OUT)
        if fault is not None:
            faults[name] = fault
    return Unsound(faults)


def _fault_of_chunks(array: zarr.Array, folder: Path) -> FormatError | None:
    indexes = ShardIndexes(array)
    if indexes.has_shards:
        indexes.require_all()
        return None
    false = next(indexes.claims.false_ones(), None)
    return false and FormatError(
        f"chunk {false.relative_to(folder)} is damaged, or claims more than it has", where=folder, way_out=WAY_OUT
    )


def _require_shallow(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        levels = Path(parent).relative_to(folder).parts
        if len(levels) > MAX_LEVELS:
            _refuse_nesting(levels[0], folder)


def _refuse_nesting(name: str, path: Path) -> NoReturn:
    raise FormatError(f"{name} nests groups more than {MAX_LEVELS} deep", where=path, way_out="write it flatter")


def _elements(group: Any, names: Iterable[str], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays below a group, by name, and a fault for each member that cannot be opened."""
    for name in names:
        key = f"{before}{name}"
        try:
            element: Any = group[name]
            below = None if isinstance(element, zarr.Array) else names_in(element)
        except KeyError:
            continue
        except READING_FAULTS as fault:
            yield key, _unreadable(key, fault, Path(str(getattr(group.store_path.store, "root", ""))))
            continue
        if below is None:
            yield key, element
        else:
            yield from _elements(element, below, f"{key}/")


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
    """Yield where the texts of an array begin in its file, and how many there are, stretch by stretch."""
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


@dataclass
class _Walk:
    """What is known of the groups of a file while they are looked through, by their places in it."""

    path: Path
    n_below: dict[int, int] = field(default_factory=dict)
    """Objects that a reader meets below a group, if it follows every link."""
    names: dict[int, str] = field(default_factory=dict)
    """Where a group was met first."""


def _objects(file: h5py.File, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every group and array of a file by name, and a fault for what cannot be opened.

    What is in a group is given once; where the group is met again, its first name is.

    Raises
    ------
    FormatError
        If groups have no end.
    """
    yield "", file
    walk, n_given = _Walk(path), 0
    for one in _below(file, (), walk):
        n_given += 1
        yield one
    n_met = walk.n_below[file.id.__hash__()]
    if n_met > n_given + ALLOWED_OBJECTS:
        raise FormatError(f"{n_given:,} objects are linked so that they seem {n_met:,}", where=path, way_out=WAY_OUT)


def _below(group: h5py.Group, keys: tuple[str, ...], walk: _Walk) -> Iterator[tuple[str, Any]]:
    """Yield what is below a group, and note how many objects a reader meets there that follows every link."""
    own, n_met, path = group.id.__hash__(), 0, walk.path
    walk.n_below[own], walk.names[own] = NOT_COUNTED, "/".join(keys)
    try:
        members = [str(key) for key in group]
    except READING_FAULTS as fault:
        yield "/".join(keys), _unreadable("/".join(keys) or "the file", fault, path)
        members = []
    for key in members:
        name = "/".join((*keys, key))
        element = _member(group, key, name, path)
        if isinstance(element, h5py.Group):
            inner = element.id.__hash__()
            if inner in walk.n_below:
                yield name, walk.names[inner]
            elif len(keys) == MAX_LEVELS:
                _refuse_nesting(keys[0], path)
            else:
                yield name, element
                yield from _below(element, (*keys, key), walk)
            if walk.n_below[inner] == NOT_COUNTED:
                raise FormatError(f"{name} is a link to a group that it lies in", where=path, way_out=WAY_OUT)
            n_met += walk.n_below[inner]
        elif element is not None:
            yield name, element
        n_met += 1
    walk.n_below[own] = n_met


def _member(group: h5py.Group, key: str, name: str, path: Path) -> Any:
    """Open a member of a group; a fault where it must not be, or cannot; None for a link that leads nowhere."""
    try:
        if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
            return FormatError(f"{name} is a link to another file", where=path, way_out="write it as one file")
        element = group.get(key)
    except READING_FAULTS as fault:
        return _unreadable(name, fault, path)
    return element if isinstance(element, h5py.Dataset | h5py.Group) else None
