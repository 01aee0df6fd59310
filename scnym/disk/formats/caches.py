"""Room for the compressed chunks of a file, so that each is decoded once however small the blocks that are read.

A chunk can be decoded only as a whole. One that does not stay in memory is decoded again for every block of its cells.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py

from scnym.base.errors import SettingsError
from scnym.disk.bucket import Location
from scnym.disk.formats.block import BYTES_PER_ELEMENT

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
    """Give room for all chunks that hold one cell, if the memory cap has it.

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
