"""Where the chunks of a shard are: a shard ends in an index, with an offset and a length for every chunk.

Index and chunks end in a checksum, the CRC-32C of the bytes before (Zarr's sharding codec, ZEP 2; `scnym.disk.encode`).
"""

import google_crc32c
import numpy as np

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
