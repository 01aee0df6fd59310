"""Chunks of Zarr arrays: whether they are there, where they are in a shard, and what they claim to unpack to.

A shard of a store ends in its index of offsets and lengths (ZEP 2); index and chunks end in a checksum, the CRC-32C of
the bytes before (`scnym.disk.encode`). Other files may have the index in front, or no checksum. Codecs allocate what a
chunk claims before they look at it, so claims are checked first.
"""

import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from scnym.base.errors import FormatError

ALLOWED_BYTES = 2**26
"""What any array may claim without having it: arrays that are not written yet, or of one value."""
MAX_RATIO = 1100
"""Deflate packs 1,032 bytes into one at most."""
CHECKSUM_BYTES = 4
BLOSC, ZSTD = "blosc", "zstd"
PACKERS = {BloscCodec: BLOSC, ZstdCodec: ZSTD}
BLOSC_CLAIM = slice(4, 8)
ZSTD_MAGIC, ZSTD_SKIPPED = b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
"""How a frame begins; how one that is skipped does, behind its first byte."""
ZSTD_DICTIONARY_BYTES = (0, 1, 2, 4)
ZSTD_BLOCK_BYTES = 2**17
"""Most bytes that a block holds once it is unpacked."""
ONE_BYTE, RESERVED = 1, 3
"""Types of a block: one byte, to be repeated; none."""


class ChunkClaims:
    """Looks at what the chunks of an array claim.

    Parameters
    ----------
    array
        An array; for one with shards, the chunks in them.
    folder
        Where its chunks lie.

    Raises
    ------
    ValueError
        If its chunks are packed more than once, so that there is no telling before they are unpacked; or are cut far
        larger than all that is stored.
    """

    def __init__(self, array: zarr.Array, folder: Path) -> None:
        codecs = _codecs_of(array)
        self._packer, self._folder = _packer_of(codecs, array.path), folder
        self._n_checksum = CHECKSUM_BYTES * sum(isinstance(codec, Crc32cCodec) for codec in codecs)
        self._n_whole = 0 if array.dtype.hasobject else math.prod(array.chunks) * array.dtype.itemsize
        self.has_any = self._packer is not None
        """Whether chunks claim anything."""
        if self._n_whole > ALLOWED_BYTES:
            n_stored = sum(file.stat().st_size for file in chunk_files(folder))
            if self._n_whole > MAX_RATIO * n_stored:
                raise ValueError(f"chunks of {array.path} are said to hold {self._n_whole:,} bytes each")

    def are_possible(self, file: BufferedReader, offset: int, length: int) -> bool:
        """Whether a chunk, of `length` bytes from `offset` on in a file, can be what it claims, if it claims."""
        file.seek(offset)
        if self._packer == BLOSC:
            n_claimed: int | None = int.from_bytes(file.read(BLOSC_CLAIM.stop)[BLOSC_CLAIM], "little")
        else:
            n_claimed = _claim_of_zstd(file.read(max(0, length - self._n_checksum)))
        return n_claimed is not None and n_claimed <= max(ALLOWED_BYTES, self._n_whole or MAX_RATIO * length)

    def false_ones(self) -> Iterator[Path]:
        """Yield the files of an array without shards that claim too much."""
        for path in chunk_files(self._folder) if self.has_any else ():
            with path.open("rb") as file:
                if not self.are_possible(file, 0, path.stat().st_size):
                    yield path


def chunk_files(folder: Path) -> Iterator[Path]:
    """Yield the files of an array that hold its chunks, or its shards."""
    for file in folder.rglob("*"):
        if not file.name.startswith(".") and not file.name.endswith(".json") and file.is_file():
            yield file


def _codecs_of(array: Any) -> list[Any]:
    """Return what chunks go through, those in shards too, on their way to the disk."""
    if array.metadata.zarr_format == 2:
        return [*(array.metadata.filters or ()), *filter(None, [array.metadata.compressor])]
    shards = [codec for codec in array.metadata.codecs if isinstance(codec, ShardingCodec)]
    return [*(shards[0].codecs if shards else array.metadata.codecs)]


def _packer_of(codecs: Sequence[Any], path: str) -> str | None:
    names = [_name_of(codec) for codec in codecs if not isinstance(codec, Crc32cCodec)]
    packers = [name for name in names if name in {BLOSC, ZSTD}]
    if packers and (len(packers) > 1 or names[-1] != packers[0]):
        raise ValueError(f"{path} is packed more than once")
    return packers[0] if packers else None


def _name_of(codec: Any) -> str:
    """Return a codec's name, without the family that those of numcodecs have in front."""
    name = PACKERS.get(type(codec)) or getattr(codec, "codec_id", None) or getattr(codec, "codec_name", "")
    return str(name).rpartition(".")[2]


def _claim_of_zstd(content: bytes) -> int | None:
    """Add up what frames of Zstandard hold at most (RFC 8878, section 3.1.1); None for anything else."""
    begin, n_claimed = 0, 0
    while begin < len(content):
        if content[begin + 1 : begin + 4] == ZSTD_SKIPPED and content[begin] >> 4 == 5:
            begin += 8 + int.from_bytes(content[begin + 4 : begin + 8], "little")
            continue
        frame = _zstd_frame(content, begin)
        if frame is None:
            return None
        begin, n_claimed = frame[0], n_claimed + frame[1]
    return n_claimed


def _zstd_frame(content: bytes, begin: int) -> tuple[int, int] | None:
    """Return where a frame ends, and what it holds at most; None if it is none."""
    place = begin + len(ZSTD_MAGIC)
    if content[begin:place] != ZSTD_MAGIC or place == len(content):
        return None
    description = content[place]
    is_single_segment, width = bool(description & 0x20), 1 << (description >> 6)
    width = 0 if width == 1 and not is_single_segment else width
    place += 1 + (not is_single_segment) + ZSTD_DICTIONARY_BYTES[description & 3]
    n_content = int.from_bytes(content[place : place + width], "little")
    place, n_blocks, is_last = place + width, 0, 0
    while not is_last:
        header = int.from_bytes(content[place : place + 3], "little")
        is_last, kind, n_bytes = header & 1, header >> 1 & 3, header >> 3
        place, n_blocks = place + 3 + (1 if kind == ONE_BYTE else n_bytes), n_blocks + 1
        if place > len(content) or kind == RESERVED:
            return None
    return place + (CHECKSUM_BYTES if description & 4 else 0), n_content if width else n_blocks * ZSTD_BLOCK_BYTES


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
    """Return the size of the index of a shard with so many chunks, in bytes."""
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
    """Return the numbers of the chunks in which runs lie, each once."""
    firsts_R, lasts_R = begins_R // chunk, (ends_R - 1) // chunk
    lengths_R = lasts_R - firsts_R + 1
    within = np.arange(lengths_R.sum()) - np.repeat(np.cumsum(lengths_R) - lengths_R, lengths_R)
    return np.unique(np.repeat(firsts_R, lengths_R) + within)


def _fault_of(shard: Path, cut: Cut, chunks: np.ndarray | slice, claims: ChunkClaims) -> str | None:
    """Return what is wrong with a shard: all chunks must lie in the file, and some are asked what they claim."""
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
