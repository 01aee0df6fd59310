"""Whether chunks are there, and where those of a shard are: it ends in an index, with offset and length of each.

Index and chunks end in a checksum, the CRC-32C of the bytes before (Zarr's sharding codec, ZEP 2; `scnym.disk.encode`).
"""

import math
import os
import warnings
from pathlib import Path

import google_crc32c
import numpy as np
import zarr

from scnym.base.errors import FormatError

ENTRY_DTYPE = np.dtype("<u8")
CHECKSUM_BYTES = 4


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
        if isinstance(member, zarr.Array) and member.nchunks_initialized < member.nchunks:
            raise FormatError(
                f"{member.nchunks - member.nchunks_initialized:,} of {member.nchunks:,} chunks of {name} are missing",
                where=path,
                way_out="copy the store again, or convert the source again",
            )


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
