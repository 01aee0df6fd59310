"""Whether chunks are there, and where those of a shard are: its index has offset and length of each (ZEP 2).

The shards of a store end in their index; index and chunks end in a checksum, the CRC-32C of the bytes before
(`scnym.disk.encode`). Those of other files may have the index in front, or no checksum.
"""

import math
import os
import re
import warnings
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from scnym.base.errors import FormatError
from scnym.disk.chunk_claims import CHECKSUM_BYTES, ChunkClaims, chunk_files

ENTRY_DTYPE = np.dtype("<u8")
NO_CHUNK = np.iinfo(ENTRY_DTYPE).max
"""Offset and length of a chunk that was not written."""
CUT_INTO_SHARDS = re.compile(r"^dataset_\d+/X/(data|indices)$")


@dataclass(frozen=True)
class Cut:
    """How an array is cut into shards."""

    n_chunks: int = 0
    """In a shard; 0 where there are no shards."""
    has_checksum: bool = True
    """Whether the index ends in one."""
    is_in_front: bool = False
    """Whether the index stands before the chunks."""
    dtype: np.dtype = ENTRY_DTYPE

    @classmethod
    def of(cls, array: zarr.Array) -> "Cut":
        """Read it from an array's description.

        Raises
        ------
        ValueError
            If chunks of a shard have shards in them, or its index is packed.
        """
        codecs: Any = getattr(array.metadata, "codecs", ())
        outer = next((codec for codec in codecs if isinstance(codec, ShardingCodec)), None)
        if outer is None:
            return cls()
        order, *checksums = outer.index_codecs
        endian: Any = getattr(order, "endian", None)  # text in Zarr 3.4, enums before
        place: Any = outer.index_location
        is_plain = isinstance(order, BytesCodec) and all(isinstance(one, Crc32cCodec) for one in checksums)
        is_nested = len(codecs) > 1 or any(isinstance(codec, ShardingCodec) for codec in outer.codecs)
        if not is_plain or len(checksums) > 1 or is_nested:
            raise ValueError(f"{array.path} is cut into shards in a way that is not known")
        return cls(
            math.prod(shard // chunk for shard, chunk in zip(array.shards or (), array.chunks, strict=True)),
            has_checksum=bool(checksums),
            is_in_front=getattr(place, "value", place) == "start",
            dtype=ENTRY_DTYPE.newbyteorder(">") if getattr(endian, "value", endian) == "big" else ENTRY_DTYPE,
        )

    @property
    def is_own(self) -> bool:
        """Whether it is how `scnym.disk.encode` cuts."""
        return (self.has_checksum, self.is_in_front, self.dtype) == (True, False, ENTRY_DTYPE)

    @property
    def n_index_bytes(self) -> int:
        """Size of the index of a shard."""
        return index_bytes(self.n_chunks) - (0 if self.has_checksum else CHECKSUM_BYTES)

    def read_index(self, file: BufferedReader, n_bytes: int) -> np.ndarray | None:
        """Read the index of a shard of so many bytes, shape (n_chunks, 2); None if it is damaged."""
        file.seek(0 if self.is_in_front else n_bytes - self.n_index_bytes)
        content = file.read(self.n_index_bytes)
        if self.has_checksum:
            return read_index(content, self.dtype)
        return np.frombuffer(content, self.dtype).reshape(-1, 2)


def index_bytes(n_chunks: int) -> int:
    """Give the size of the index of a shard with so many chunks, in bytes."""
    return n_chunks * 2 * ENTRY_DTYPE.itemsize + CHECKSUM_BYTES


def read_index(content: bytes, dtype: np.dtype = ENTRY_DTYPE) -> np.ndarray | None:
    """Read an index: offset and length of every chunk, in bytes, shape (n_chunks, 2); None if it is damaged."""
    if not is_whole(content):
        return None
    return np.frombuffer(content[:-CHECKSUM_BYTES], dtype).reshape(-1, 2)


def is_whole(content: bytes) -> bool:
    """Whether bytes end in the CRC-32C of those before."""
    wanted = int.from_bytes(content[-CHECKSUM_BYTES:], "little")
    return len(content) > CHECKSUM_BYTES and google_crc32c.value(content[:-CHECKSUM_BYTES]) == wanted


class ShardIndexes:
    """Looks where the chunks of an array on this machine lie in their shards, once, before the Rust codecs read them.

    They take as much memory as an index, or a chunk itself, says that it needs, and where there is none they end the
    process.

    Parameters
    ----------
    array
        An array; without shards there is nothing to look at.

    Raises
    ------
    ValueError
        If chunks of a shard have shards in them, or its index is packed.
    """

    def __init__(self, array: zarr.Array) -> None:
        self._array: Any = array
        self._folder = Path(str(getattr(array.store_path.store, "root", ""))) / array.store_path.path
        self.cut, self.claims = Cut.of(array), ChunkClaims(array, self._folder)
        self._seen: dict[int, np.ndarray] = {}
        """Which chunks of a shard have been looked at."""

    @property
    def has_shards(self) -> bool:
        """Whether the array has any."""
        return self.cut.n_chunks > 0

    def require(self, begins_R: np.ndarray, ends_R: np.ndarray) -> None:
        """Refuse chunks, of an array of one dimension, that lie outside of their shard or claim more than they have.

        Parameters
        ----------
        begins_R, ends_R
            First element of each run that will be read, and the one behind its last; shape (R,).

        Raises
        ------
        ValueError
            Names the shard.
        """
        if not self.has_shards:
            return
        shards, chunks = np.divmod(_chunks_of(begins_R, ends_R, self._array.chunks[0]), self.cut.n_chunks)
        for shard in np.unique(shards).tolist():
            in_shard, seen = chunks[shards == shard], self._seen.get(shard)
            if seen is None or not seen[in_shard].all():
                new = in_shard if seen is None else in_shard[~seen[in_shard]]
                self._look(self._folder / self._array.metadata.encode_chunk_key((shard,)), new)
                # Kept as flags: the indexes themselves would take 16 bytes for each chunk of the store.
                seen = np.zeros(self.cut.n_chunks, bool) if seen is None else seen
                seen[in_shard if self.claims.has_any else slice(None)] = True
                self._seen[shard] = seen

    def require_all(self) -> None:
        """Refuse any chunk that lies outside of its shard or claims more than it has.

        Raises
        ------
        ValueError
            Names the shard.
        """
        for file in chunk_files(self._folder) if self.has_shards else ():
            self._look(file, slice(None))

    def _look(self, shard: Path, chunks: np.ndarray | slice) -> None:
        fault = _fault_of(shard, self.cut, chunks, self.claims) if shard.exists() else None
        if fault:
            raise ValueError(f"{self._array.path}/{shard.relative_to(self._folder).as_posix()}: {fault}")


def _chunks_of(begins_R: np.ndarray, ends_R: np.ndarray, chunk: int) -> np.ndarray:
    """Give the numbers of the chunks in which runs lie, each once."""
    firsts_R, lasts_R = begins_R // chunk, (ends_R - 1) // chunk
    lengths_R = lasts_R - firsts_R + 1
    within = np.arange(lengths_R.sum()) - np.repeat(np.cumsum(lengths_R) - lengths_R, lengths_R)
    return np.unique(np.repeat(firsts_R, lengths_R) + within)


def _fault_of(shard: Path, cut: Cut, chunks: np.ndarray | slice, claims: ChunkClaims) -> str | None:
    """Say what is wrong with a shard: all chunks must lie in the file, and some are asked what they claim."""
    n_bytes = shard.stat().st_size
    if n_bytes < cut.n_index_bytes:
        return "the index is cut off"
    with shard.open("rb") as file:
        index = cut.read_index(file, n_bytes)
        if index is None or _lies_outside(index, n_bytes).any():
            return "the index is damaged"
        asked = index[chunks] if claims.has_any else index[:0]
        places = asked[~_is_absent(asked)].tolist()
        if not all(claims.are_possible(file, offset, length) for offset, length in places):
            return "a chunk claims more than it has"
    return None


def _is_absent(index: np.ndarray) -> np.ndarray:
    return (index == NO_CHUNK).all(axis=1)


def _lies_outside(index: np.ndarray, n_bytes: int) -> np.ndarray:
    offsets, lengths = index.T
    return ~_is_absent(index) & ((lengths > n_bytes) | (offsets > n_bytes - np.minimum(lengths, n_bytes)))


def require_chunks(root: zarr.Group, path: Path, dataset: str = "") -> None:
    """Refuse a store with chunks missing: Zarr reads one that is not there as zeros, and every chunk was written.

    Parameters
    ----------
    root, path
        The store, and where it is.
    dataset
        Look at this one only; at all of them by default.

    Raises
    ------
    FormatError
        Names the array.
    """
    n_files = n_files_below(path / dataset)
    with warnings.catch_warnings():
        # Zarr warns of files that are none of its own, such as our hashes, where the description lacks its parts.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr hierarchy")
        part: Any = root[dataset] if dataset else root
        members = list(part.members(max_depth=None))
    for array in (member for _, member in members if isinstance(member, zarr.Array)):
        name = array.path
        require_possible(array, name, path, n_files)
        require_own_cut(array, name, path)
        if array.nchunks_initialized < array.nchunks:
            raise FormatError(
                f"{array.nchunks - array.nchunks_initialized:,} of {array.nchunks:,} chunks of {name} are missing",
                where=path,
                way_out="copy the store again, or convert the source again",
            )


def require_own_cut(array: zarr.Array, name: str, path: Path) -> None:
    """Refuse shards that are not cut as `scnym.disk.encode` does, or where it makes none; and chunks too large.

    Raises
    ------
    FormatError
        Names the array.
    """
    try:
        indexes = ShardIndexes(array)
        if indexes.has_shards:
            how = "" if indexes.cut.is_own else " in a way that is not known"
            fault = f"{name} is cut into shards{how}" if how or not CUT_INTO_SHARDS.search(array.path) else None
        else:
            is_false = next(indexes.claims.false_ones(), None) is not None
            fault = f"a chunk of {name} claims more than it has" if is_false else None
    except ValueError as odd:
        fault = str(odd)
    if fault:
        raise FormatError(fault, where=path, way_out="copy the store again, or convert the source again")


def require_possible(array: zarr.Array, name: str, path: Path, n_files: int) -> None:
    """Refuse an array that is said to have more chunks than there are files, before they are looked for one by one.

    Raises
    ------
    FormatError
        Names the array.
    """
    cuts = zip(array.shape, array.shards or array.chunks, strict=True)
    n_needed = math.prod(-(-length // max(1, cut)) for length, cut in cuts)
    if n_needed > n_files:
        raise FormatError(
            f"{name} is said to have {n_needed:,} pieces, but there are {n_files:,} files in all",
            where=path,
            way_out="copy the store again, or convert the source again",
        )


def n_files_below(folder: Path) -> int:
    """Count files."""
    return sum(len(files) for _, _, files in os.walk(folder))
