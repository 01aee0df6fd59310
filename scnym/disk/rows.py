"""Rows of a count matrix on disk, read with every chunk decoded once, straight into the caller's memory.

Rows from object storage are read in few requests: each asks for the bytes of neighbouring chunks.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import zarr
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.buffer.cpu import NDBuffer
from zarr.storage import LocalStore, StorePath

from scnym.base.errors import FormatError
from scnym.disk.chunks import ShardIndexes, index_bytes, read_index
from scnym.disk.encode import own_codecs, spec_of, sync

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
        """Yield shard, chunk in the shard, wanted elements and their place, for every chunk of a run."""
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


REQUEST_ELEMENTS = 2**21
"""Most stored values read in one piece; a request for values with gaps between them decodes up to twice as many."""
REQUEST_RUNS = 4096
"""Most runs without gaps that are read in one piece: each takes a kilobyte or two while it is asked for."""

Empty = Callable[[int, np.dtype], np.ndarray]
"""Returns memory for so many elements of a dtype, as `numpy.empty` does."""


@dataclass(frozen=True, slots=True)
class CsrRows:
    """Rows of a count matrix. C rows, N stored values."""

    indptr_C1: np.ndarray
    indices_N: np.ndarray
    values_N: np.ndarray


@dataclass(frozen=True, slots=True)
class _Stretches:
    """Stored values that are wanted, ascending, and the runs in which they are read."""

    begins_P: np.ndarray
    ends_P: np.ndarray
    places_P: np.ndarray
    """Where the values of each stretch go."""
    runs_P: np.ndarray
    """Run of each stretch, ascending from 0. Stretches that share a chunk are one run, with the values between them."""

    @property
    def firsts_R(self) -> np.ndarray:
        """First stretch of each run."""
        return np.flatnonzero(np.diff(self.runs_P, prepend=-1))

    @property
    def run_begins_R(self) -> np.ndarray:
        return self.begins_P[self.firsts_R]

    @property
    def run_ends_R(self) -> np.ndarray:
        return self.ends_P[np.flatnonzero(np.diff(self.runs_P, append=-1))]

    def of_runs(self, chosen_R: np.ndarray) -> "_Stretches":
        """Return the stretches of the runs that are chosen; bool, shape (R,)."""
        mine = chosen_R[self.runs_P]
        numbers_R = np.cumsum(chosen_R) - 1
        return _Stretches(self.begins_P[mine], self.ends_P[mine], self.places_P[mine], numbers_R[self.runs_P[mine]])

    def requests(self, max_elements: int) -> Iterator["_Stretches"]:
        """Cut into requests of whole runs, which read up to `max_elements` and one run more."""
        yield from self._cut_by(np.cumsum(self.run_ends_R - self.run_begins_R) // max_elements)

    def requests_of(self, n_runs: int) -> Iterator["_Stretches"]:
        """Cut into requests of up to `n_runs` runs."""
        yield from self._cut_by(np.arange(len(self.firsts_R)) // n_runs)

    def _cut_by(self, request_R: np.ndarray) -> Iterator["_Stretches"]:
        for request in np.unique(request_R):
            yield self.of_runs(request_R == request)


class RowReader:
    """Reads rows of one CSR matrix.

    Parameters
    ----------
    indptr_C1
        Where each row starts among the stored values.
    indices, values
        The arrays on disk, in chunks of the same number of elements.
    """

    def __init__(self, indptr_C1: np.ndarray, indices: zarr.Array, values: zarr.Array) -> None:
        self._indptr = indptr_C1
        self._arrays = (indices, values)
        is_local = isinstance(values.store_path.store, LocalStore)
        self._ranges = () if is_local else tuple(map(RangeReader, self._arrays))
        self._indexes = tuple(map(ShardIndexes, self._arrays)) if is_local else ()
        self._decoders = tuple(map(_RunDecoder, self._arrays)) if is_local else ()
        self._chunk = values.chunks[0]
        self._longest_piece = max(1, REQUEST_ELEMENTS // self._chunk) * self._chunk

    def read(self, rows_C: np.ndarray, empty: Empty) -> CsrRows:
        """Read rows, ascending, each once, into memory that `empty` gives.

        Raises
        ------
        FormatError
            If a chunk is damaged.
        """
        lengths_C = self._indptr[rows_C + 1] - self._indptr[rows_C]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths_C)])
        outs = [empty(int(indptr[-1]), array.dtype) for array in self._arrays]
        wanted = self._stretches(rows_C)
        lengths_P = wanted.ends_P - wanted.begins_P
        has_gaps_R = np.bincount(wanted.runs_P, lengths_P) != wanted.run_ends_R - wanted.run_begins_R
        for request in wanted.of_runs(~has_gaps_R).requests_of(REQUEST_RUNS):
            self._fetch(request, request.places_P[request.firsts_R], outs)
        for request in wanted.of_runs(has_gaps_R).requests(self._longest_piece):
            self._fetch_and_pick(request, outs)
        return CsrRows(indptr, outs[0], outs[1])

    def n_decoded(self, rows_C: np.ndarray) -> int:
        """Count the stored values that reading these rows decodes: those of all chunks they touch."""
        wanted = self._stretches(rows_C)
        begins_R = wanted.run_begins_R // self._chunk * self._chunk
        ends_R = -(-wanted.run_ends_R // self._chunk) * self._chunk
        return int((np.minimum(ends_R, self._indptr[-1]) - begins_R).sum())

    def _stretches(self, rows_C: np.ndarray) -> _Stretches:
        """Find where the values of the rows lie; long stretches are cut, between chunks."""
        lasts = np.flatnonzero(np.diff(rows_C, append=-1) != 1)
        firsts = np.append(0, lasts + 1)[: len(lasts)]
        begins, ends = self._indptr[rows_C[firsts]], self._indptr[rows_C[lasts] + 1]
        filled = ends > begins
        begins, ends = _cut(begins[filled], ends[filled], self._longest_piece)
        places = np.cumsum(ends - begins) - (ends - begins)
        shares_a_chunk = begins[1:] // self._chunk == (ends[:-1] - 1) // self._chunk
        runs = np.cumsum(np.append(0, ~shares_a_chunk)[: len(begins)])
        return _Stretches(begins, ends, places, runs)

    def _fetch_and_pick(self, request: _Stretches, outs: Sequence[np.ndarray]) -> None:
        """Decode a request aside, and copy what is wanted of it."""
        lengths_R = request.run_ends_R - request.run_begins_R
        begins_R = np.cumsum(lengths_R) - lengths_R
        aside = [np.empty(int(lengths_R.sum()), out.dtype) for out in outs]
        self._fetch(request, begins_R, aside)
        starts_P = request.begins_P + (begins_R - request.run_begins_R)[request.runs_P]
        stops_P = starts_P + request.ends_P - request.begins_P
        copies = zip(starts_P.tolist(), stops_P.tolist(), request.places_P.tolist(), strict=True)
        for start, stop, place in copies:
            for out, source in zip(outs, aside, strict=True):
                out[place : place + stop - start] = source[start:stop]

    def _fetch(self, wanted: _Stretches, places_R: np.ndarray, outs: Sequence[np.ndarray]) -> None:
        """Decode whole runs, each to its place in `outs`."""
        runs = list(zip(wanted.run_begins_R.tolist(), wanted.run_ends_R.tolist(), places_R.tolist(), strict=True))
        try:
            if self._ranges:
                read_runs(self._ranges, runs, outs)
            else:
                for indexes in self._indexes:
                    indexes.require(wanted.run_begins_R, wanted.run_ends_R)
                sync(_decode_runs(self._decoders, runs, outs))
        except (RuntimeError, ValueError, OSError) as fault:
            first, last = np.searchsorted(self._indptr, [runs[0][0], runs[-1][1]], side="right") - 1
            raise FormatError(
                f"counts of rows {first} to {last} cannot be read ({fault})",
                way_out="see scnym verify; copy the store again, or delete it and convert the source again",
            ) from fault


def _cut(begins: np.ndarray, ends: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut stretches at the multiples of `longest` inside them."""
    firsts, lasts = begins // longest, (ends - 1) // longest
    n_pieces = lasts - firsts + 1
    if not (n_pieces > 1).any():
        return begins, ends
    within = np.arange(n_pieces.sum()) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    bounds = (np.repeat(firsts, n_pieces) + within) * longest
    return np.maximum(bounds, np.repeat(begins, n_pieces)), np.minimum(bounds + longest, np.repeat(ends, n_pieces))


class _RunDecoder:
    """Decodes several runs of a one-dimensional array in one call.

    Zarr knows a single slice, or elements one by one; the Rust codecs take any number of slices at once, which costs a
    third of asking for every run by itself (64-row blocks: 5 against 16 microseconds a row). What all runs of a shard
    share is made once: made for every run, it takes a quarter of the time of reading.

    Parameters
    ----------
    array
        The array on disk.
    """

    def __init__(self, array: zarr.Array) -> None:
        self._array = array.async_array
        self._shard = (array.shards or array.chunks)[0]
        self._spec = spec_of(array, self._shard)
        self._shard_paths: dict[int, StorePath] = {}

    async def decode(self, runs: Sequence[tuple[int, int, int]], out: np.ndarray) -> None:
        """Decode runs (begin, end, place) into memory that is there."""
        parts = []
        for begin, end, place in runs:
            for number in range(begin // self._shard, (end - 1) // self._shard + 1):
                first = number * self._shard
                low, high = max(begin, first), min(end, first + self._shard)
                inside = (slice(low - first, high - first),)
                there = (slice(place + low - begin, place + high - begin),)
                parts.append((self._path_of(number), self._spec, inside, there, False))
        await self._array.codec_pipeline.read(parts, NDBuffer.from_numpy_array(out))

    def _path_of(self, shard: int) -> StorePath:
        if shard not in self._shard_paths:
            self._shard_paths[shard] = self._array.store_path / self._array.metadata.encode_chunk_key((shard,))
        return self._shard_paths[shard]


async def _decode_runs(
    decoders: Sequence[_RunDecoder], runs: Sequence[tuple[int, int, int]], outs: Sequence[np.ndarray]
) -> None:
    """Decode the same runs of several arrays, side by side."""
    await asyncio.gather(*(decoder.decode(runs, out) for decoder, out in zip(decoders, outs, strict=True)))
