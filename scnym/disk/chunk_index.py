"""Whether chunks are there, and where those of a shard are: it ends in an index, with offset and length of each.

Index and chunks end in a checksum, the CRC-32C of the bytes before (Zarr's sharding codec, ZEP 2; `scnym.disk.encode`).
"""

import math
import os
import warnings
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from scnym.base.errors import FormatError
from scnym.disk.chunk_claims import HEAD_BYTES, ChunkClaims

ENTRY_DTYPE = np.dtype("<u8")
NO_CHUNK = np.iinfo(ENTRY_DTYPE).max
"""Offset and length of a chunk that was not written."""
CHECKSUM_BYTES = 4
CUT_INTO_SHARDS = ("X/data", "X/indices")
INDEX_CODECS = (BytesCodec(endian="little"), Crc32cCodec())


def index_bytes(n_chunks: int) -> int:
    """Give the size of the index of a shard with so many chunks, in bytes."""
    return n_chunks * 2 * ENTRY_DTYPE.itemsize + CHECKSUM_BYTES


def read_index(content: bytes) -> np.ndarray | None:
    """Read an index: offset and length of every chunk, in bytes, shape (n_chunks, 2); None if it is damaged."""
    if not is_whole(content):
        return None
    return np.frombuffer(content[:-CHECKSUM_BYTES], ENTRY_DTYPE).reshape(-1, 2)


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
        If the index is not such as Zarr writes it by default, or chunks of a shard have shards in them.
    """

    def __init__(self, array: zarr.Array) -> None:
        self._array: Any = array
        self._folder = Path(str(getattr(array.store_path.store, "root", ""))) / array.store_path.path
        self._n_chunks, self._claims = _chunks_per_shard(array), ChunkClaims(array)
        self._seen: dict[int, np.ndarray] = {}
        """Which chunks of a shard have been looked at."""

    @property
    def has_shards(self) -> bool:
        """Whether the array has any."""
        return self._n_chunks > 0

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
        shards, chunks = np.divmod(_chunks_of(begins_R, ends_R, self._array.chunks[0]), self._n_chunks)
        for shard in np.unique(shards).tolist():
            mine, seen = chunks[shards == shard], self._seen.get(shard)
            if seen is None or not seen[mine].all():
                new = mine if seen is None else mine[~seen[mine]]
                self._look(self._folder / self._array.metadata.encode_chunk_key((shard,)), new)
                self._seen.setdefault(shard, np.zeros(self._n_chunks, bool))[mine] = True

    def require_all(self) -> None:
        """Refuse any chunk that lies outside of its shard or claims more than it has.

        Raises
        ------
        ValueError
            Names the shard.
        """
        for file in self._folder.rglob("*") if self.has_shards else ():
            if file.is_file() and not file.name.endswith(".json"):
                self._look(file, slice(None))

    def _look(self, shard: Path, chunks: np.ndarray | slice) -> None:
        if shard.exists() and not _are_possible(shard, self._n_chunks, chunks, self._claims):
            place = f"{self._array.path}/{shard.relative_to(self._folder).as_posix()}"
            raise ValueError(f"the index of shard {place} is damaged, or a chunk of it claims more than it has")


def _chunks_of(begins_R: np.ndarray, ends_R: np.ndarray, chunk: int) -> np.ndarray:
    """Give the numbers of the chunks in which runs lie, each once."""
    firsts_R, lasts_R = begins_R // chunk, (ends_R - 1) // chunk
    lengths_R = lasts_R - firsts_R + 1
    within = np.arange(lengths_R.sum()) - np.repeat(np.cumsum(lengths_R) - lengths_R, lengths_R)
    return np.unique(np.repeat(firsts_R, lengths_R) + within)


def _chunks_per_shard(array: zarr.Array) -> int:
    """Give the number of chunks in a shard, 0 for an array without shards."""
    codecs: Any = getattr(array.metadata, "codecs", ())
    if not any(isinstance(codec, ShardingCodec) for codec in codecs):
        return 0
    outer = codecs[0]
    within = any(isinstance(codec, ShardingCodec) for codec in (*codecs[1:], *getattr(outer, "codecs", ())))
    if within or outer.index_codecs != INDEX_CODECS or outer.index_location.value != "end":
        raise ValueError(f"{array.path} is cut into shards in a way that is not known")
    return math.prod(shard // chunk for shard, chunk in zip(array.shards or (), array.chunks, strict=True))


def _are_possible(shard: Path, n_chunks: int, chunks: np.ndarray | slice, claims: ChunkClaims) -> bool:
    """Whether the index of a shard is whole, all chunks lie inside the file, and some do not say that they are more."""
    n_bytes, n_index = shard.stat().st_size, index_bytes(n_chunks)
    if n_bytes < n_index:
        return False
    with shard.open("rb", buffering=0) as file:
        file.seek(n_bytes - n_index)
        index = read_index(file.read(n_index))
        if index is None or _lies_outside(index, n_bytes).any():
            return False
        wanted = index[chunks]
        return not claims.looks or all(
            claims.are_possible(claims.of(os.pread(file.fileno(), min(HEAD_BYTES, length), offset)), length)
            for offset, length in wanted[~_is_absent(wanted)].tolist()
        )


def _is_absent(index: np.ndarray) -> np.ndarray:
    return (index == NO_CHUNK).all(axis=1)


def _lies_outside(index: np.ndarray, n_bytes: int) -> np.ndarray:
    offsets, lengths = index.T
    return ~_is_absent(index) & ((lengths > n_bytes) | (offsets > n_bytes - np.minimum(lengths, n_bytes)))


def require_chunks(root: zarr.Group, path: Path) -> None:
    """Refuse a store with chunks missing: Zarr reads one that is not there as zeros, and every chunk was written.

    Raises
    ------
    FormatError
        Names the array.
    """
    n_files = sum(len(files) for _, _, files in os.walk(path))
    with warnings.catch_warnings():
        # Zarr warns of files that are none of its own, such as our hashes, where the description lacks its parts.
        warnings.filterwarnings("ignore", message="Object at .* is not recognized as a component of a Zarr hierarchy")
        members = list(root.members(max_depth=None))
    for name, member in members:
        if isinstance(member, zarr.Array):
            _require_possible(member, n_files, name, path)
            require_own_cut(member, name, path)
        if isinstance(member, zarr.Array) and member.nchunks_initialized < member.nchunks:
            raise FormatError(
                f"{member.nchunks - member.nchunks_initialized:,} of {member.nchunks:,} chunks of {name} are missing",
                where=path,
                way_out="copy the store again, or convert the source again",
            )


def require_own_cut(array: zarr.Array, name: str, path: Path) -> None:
    """Refuse shards that are not cut as `scnym.disk.encode` does, or where it makes none; and chunks too large."""
    if ShardIndexes(array).has_shards:
        if not name.endswith(CUT_INTO_SHARDS):
            raise ValueError(f"{name} is cut into shards")
        return
    false_one = next(ChunkClaims(array).false_ones(path / array.path), None)
    if false_one:
        raise ValueError(f"a chunk of {name} claims more than it has")


def _require_possible(array: zarr.Array, n_files: int, name: str, path: Path) -> None:
    """Refuse an array that is said to have more chunks than there are files, before they are looked for."""
    cuts = zip(array.shape, array.shards or array.chunks, strict=True)
    n_needed = math.prod(-(-length // max(1, cut)) for length, cut in cuts)
    if n_needed > n_files:
        raise FormatError(
            f"{name} is said to have {n_needed:,} pieces, but there are {n_files:,} files in all",
            where=path,
            way_out="copy the store again, or convert the source again",
        )
