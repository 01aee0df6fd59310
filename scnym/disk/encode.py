"""Arrays written to Zarr shard by shard, through the Rust codec pipeline, in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from scnym.base.schema import chunk_elements, shard_elements

CODEC_PIPELINE = "zarrs.ZarrsCodecPipeline"
VALUES_CODEC = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
INDICES_CODEC = BloscCodec(cname="lz4", clevel=3, shuffle="shuffle")


@contextmanager
def rust_codecs() -> Iterator[None]:
    """Arrays opened or made inside keep the Rust codec pipeline (5-9 times faster) for good."""
    import zarrs  # noqa: F401 - registers the pipeline

    with zarr.config.set({"codec_pipeline.path": CODEC_PIPELINE}):
        yield


class ShardWriter:
    """Appends to a one-dimensional array; whole shards go to disk, the rest waits in memory.

    Parameters
    ----------
    group, name
        Where the array is made.
    n_elements
        Its final length.
    elements_per_row
        Mean number of stored values per cell, which decides the chunk length.
    dtype, codec
        What is stored, and how it is compressed.
    never_stored
        A value that no element has. A chunk of nothing but this value would not be written, so every chunk is, and
        one that is not there is known to be lost.
    max_shard_bytes
        Most memory that a shard may take before compression, in bytes.
    """

    def __init__(
        self,
        group: zarr.Group,
        name: str,
        *,
        n_elements: int,
        elements_per_row: float,
        dtype: np.dtype,
        codec: BloscCodec,
        never_stored: int,
        max_shard_bytes: int,
    ) -> None:
        chunk = chunk_elements(elements_per_row)
        shard = shard_elements(n_elements, chunk, max_shard_bytes, dtype.itemsize)
        with rust_codecs():
            self._array = group.create_array(
                name,
                shape=(n_elements,),
                dtype=dtype,
                chunks=(chunk,),
                shards=(shard,),
                compressors=codec,
                fill_value=never_stored,
            )
        self._buffer = np.empty(shard, dtype)
        self._in_buffer = 0
        self._written = 0

    def append(self, elements: np.ndarray) -> None:
        """Add elements; they are cast to the array's dtype."""
        start = 0
        while start < len(elements):
            room = len(self._buffer) - self._in_buffer
            piece = elements[start : start + room]
            self._buffer[self._in_buffer : self._in_buffer + len(piece)] = piece
            self._in_buffer += len(piece)
            start += len(piece)
            if self._in_buffer == len(self._buffer):
                self._flush()

    def close(self) -> None:
        """Write what waits."""
        if self._in_buffer:
            self._flush()

    def _flush(self) -> None:
        stop = self._written + self._in_buffer
        self._array[self._written : stop] = self._buffer[: self._in_buffer]
        self._written, self._in_buffer = stop, 0
