"""Runs of stored values read from object storage, in few requests: each one stretch of bytes with all chunks in it.

The Rust codecs, which read stores on disk, ask a server for a shard's size, its index and one chunk after the other,
for every run anew, and hold Python while they wait. Here a shard's index is read once, chunks that lie side by side
come in one request, and several requests are under way at once (``benchmarks/results/object_storage.md``).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype

from scnym.disk.chunk_index import index_bytes, read_index
from scnym.disk.zarr_arrays import own_codecs, spec_of, sync

REQUEST_BYTES = 2**22
"""Most bytes asked for at once, or one chunk."""
GAP_BYTES = 2**16
"""Unwanted bytes between two chunks that are read along: fewer than a server sends in the time of one more request."""
MAX_SHARD_BYTES = 2**40
"""No object is larger."""
REQUESTS_AT_ONCE = 8
"""With `REQUEST_BYTES`, this bounds the memory of what is under way: 32 MiB, and twice as much once decoded."""

Run = tuple[int, int, int]
"""First element, the one behind the last, and where they go."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk, or a part of it, that is wanted."""

    shard: int
    begin: int
    """Where its bytes begin in the shard."""
    end: int
    inside: slice
    """Which of its elements are wanted."""
    there: slice
    """Where they go."""


class RangeReader:
    """Reads runs of a one-dimensional array in shards.

    Parameters
    ----------
    array
        The array, in a store of any kind.
    """

    def __init__(self, array: zarr.Array) -> None:
        metadata: Any = array.metadata
        self._path = array.store_path
        self._chunk, self._shard = array.chunks[0], cast("tuple[int, ...]", array.shards)[0]
        self._spec = spec_of(array, self._chunk)
        self._codecs = own_codecs(metadata.codecs[0].codecs, self._spec)
        self._indices: dict[int, np.ndarray] = {}

    async def read(self, runs: Sequence[Run], out: np.ndarray, requests: asyncio.Semaphore) -> None:
        """Decode runs into memory that is there.

        Raises
        ------
        ValueError
            If a chunk is missing or damaged.
        """
        parts = [part for run in runs for part in self._parts(run)]
        missing = {shard for shard, *_ in parts} - self._indices.keys()
        await asyncio.gather(*(self._load_index(shard, requests) for shard in missing))
        chunks = sorted((self._located(*part) for part in parts), key=lambda one: (one.shard, one.begin))
        await asyncio.gather(*(self._load(group, out, requests) for group in _grouped(chunks)))

    def _parts(self, run: Run) -> Iterator[tuple[int, int, slice, slice]]:
        """Give shard, chunk in the shard, wanted elements and their place, for every chunk of a run."""
        begin, end, place = run
        for number in range(begin // self._chunk, (end - 1) // self._chunk + 1):
            first = number * self._chunk
            low, high = max(begin, first), min(end, first + self._chunk)
            shard, chunk = divmod(number, self._shard // self._chunk)
            yield shard, chunk, slice(low - first, high - first), slice(place + low - begin, place + high - begin)

    def _located(self, shard: int, chunk: int, inside: slice, there: slice) -> _Chunk:
        begin, n_bytes = map(int, self._indices[shard][chunk])
        if begin + n_bytes > MAX_SHARD_BYTES:  # so is a chunk marked that was never written
            raise ValueError(f"chunk {chunk} of shard {shard} is missing")
        return _Chunk(shard, begin, begin + n_bytes, inside, there)

    async def _load_index(self, shard: int, requests: asyncio.Semaphore) -> None:
        n_chunks = self._shard // self._chunk
        async with requests:
            content = await self._get(shard, SuffixByteRequest(index_bytes(n_chunks)))
        index = read_index(content.to_bytes())
        if index is None:
            raise ValueError(f"the index of shard {shard} is damaged")
        self._indices[shard] = index

    async def _load(self, group: list[_Chunk], out: np.ndarray, requests: asyncio.Semaphore) -> None:
        """Read some chunks of a shard in one request, and decode them."""
        first = group[0].begin
        async with requests:
            content = await self._get(group[0].shard, RangeByteRequest(first, max(one.end for one in group)))
            encoded = [(content[one.begin - first : one.end - first], self._spec) for one in group]
            for one, decoded in zip(group, await self._codecs.decode(encoded), strict=True):
                if decoded is None:
                    raise ValueError(f"a chunk of shard {one.shard} is missing")
                out[one.there] = decoded.as_numpy_array()[one.inside]

    async def _get(self, shard: int, wanted: Any) -> Any:
        content = await (self._path / f"c/{shard}").get(default_buffer_prototype(), wanted)
        if content is None:
            raise ValueError(f"shard {shard} is missing")
        return content


def read_runs(readers: Sequence[RangeReader], runs: Sequence[Run], outs: Sequence[np.ndarray]) -> None:
    """Decode the same runs of several arrays; errors as of `RangeReader.read`."""

    async def read_all() -> None:
        requests = asyncio.Semaphore(REQUESTS_AT_ONCE)
        await asyncio.gather(*(reader.read(runs, out, requests) for reader, out in zip(readers, outs, strict=True)))

    sync(read_all())


def _grouped(chunks: Sequence[_Chunk]) -> Iterator[list[_Chunk]]:
    """Put together what is read in one request."""
    group: list[_Chunk] = []
    for one in chunks:
        joins = group and (
            one.shard == group[0].shard
            and one.begin <= group[-1].end + GAP_BYTES
            and one.end <= group[0].begin + REQUEST_BYTES
        )
        if group and not joins:
            yield group
            group = []
        group.append(one)
    if group:
        yield group
