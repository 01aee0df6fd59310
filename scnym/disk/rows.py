"""Rows of a count matrix on disk, read with every chunk decoded once, straight into the caller's memory.

C rows wanted, N stored values, P stretches of stored values, R runs.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.buffer.cpu import NDBuffer
from zarr.core.indexing import ChunkProjection, Indexer
from zarr.core.sync import sync

from scnym.base.errors import FormatError

REQUEST_ELEMENTS = 2**21
"""Most stored values read in one piece; a request for values with gaps between them decodes up to twice as many."""

Empty = Callable[[int, np.dtype], np.ndarray]
"""Gives memory for so many elements of a dtype, as `numpy.empty` does."""


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
    firsts_R: np.ndarray
    """First stretch of each run. Stretches that share a chunk are one run, with the values between them."""

    @property
    def run_begins_R(self) -> np.ndarray:
        return self.begins_P[self.firsts_R]

    @property
    def run_ends_R(self) -> np.ndarray:
        return np.append(self.ends_P[self.firsts_R[1:] - 1], self.ends_P[-1:])

    @property
    def n_wanted(self) -> int:
        return int((self.ends_P - self.begins_P).sum())

    def requests(self, max_elements: int) -> Iterator["_Stretches"]:
        """Cut into requests of whole runs, which read up to `max_elements` and one run more."""
        so_far_R = np.cumsum(self.run_ends_R - self.run_begins_R)
        breaks = np.flatnonzero(np.diff(so_far_R // max_elements)) + 1
        for firsts in np.split(self.firsts_R, breaks):
            last_run = np.searchsorted(self.firsts_R, firsts[-1], side="right")
            stop = self.firsts_R[last_run] if last_run < len(self.firsts_R) else len(self.begins_P)
            mine = slice(int(firsts[0]), int(stop))
            yield _Stretches(self.begins_P[mine], self.ends_P[mine], firsts - firsts[0])


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
        if int((wanted.run_ends_R - wanted.run_begins_R).sum()) == indptr[-1]:
            self._fetch(wanted, outs)
        else:
            at = 0
            for request in wanted.requests(self._longest_piece):
                at = self._fetch_and_pick(request, outs, at)
        return CsrRows(indptr, outs[0], outs[1])

    def n_decoded(self, rows_C: np.ndarray) -> int:
        """Count the stored values that reading these rows decodes: those of all chunks they touch."""
        wanted = self._stretches(rows_C)
        first_chunks_R, last_chunks_R = wanted.run_begins_R // self._chunk, (wanted.run_ends_R - 1) // self._chunk
        return int((last_chunks_R - first_chunks_R + 1).sum()) * self._chunk

    def _stretches(self, rows_C: np.ndarray) -> _Stretches:
        """Find where the values of the rows lie; long stretches are cut, between chunks."""
        lasts = np.flatnonzero(np.diff(rows_C, append=-1) != 1)
        firsts = np.append(0, lasts + 1)[: len(lasts)]
        begins, ends = self._indptr[rows_C[firsts]], self._indptr[rows_C[lasts] + 1]
        filled = ends > begins
        begins, ends = _cut(begins[filled], ends[filled], self._longest_piece)
        share_a_chunk = begins[1:] // self._chunk == (ends[:-1] - 1) // self._chunk
        return _Stretches(begins, ends, np.flatnonzero(np.append(True, ~share_a_chunk)[: len(begins)]))

    def _fetch_and_pick(self, request: _Stretches, outs: Sequence[np.ndarray], at: int) -> int:
        """Decode a request aside and copy what is wanted to position `at`; give the position behind it."""
        n_read = int((request.run_ends_R - request.run_begins_R).sum())
        read = [np.empty(n_read, out.dtype) for out in outs]
        self._fetch(request, read)
        # What lies between two stretches of a run was read too; what lies between two runs was not.
        skipped_P = np.append(0, request.begins_P[1:] - request.ends_P[:-1])
        skipped_P[request.firsts_R] = 0
        lengths_P = request.ends_P - request.begins_P
        starts_P = np.cumsum(skipped_P + lengths_P) - lengths_P
        for start, length in zip(starts_P.tolist(), lengths_P.tolist(), strict=True):
            for out, source in zip(outs, read, strict=True):
                out[at : at + length] = source[start : start + length]
            at += length
        return at

    def _fetch(self, wanted: _Stretches, outs: Sequence[np.ndarray]) -> None:
        runs = list(zip(wanted.run_begins_R.tolist(), wanted.run_ends_R.tolist(), strict=True))
        if not runs:
            return
        try:
            sync(_read_runs(self._arrays, runs, outs))
        except (RuntimeError, ValueError, OSError) as fault:
            first, last = np.searchsorted(self._indptr, [runs[0][0], runs[-1][1]], side="right") - 1
            raise FormatError(
                f"counts of rows {first} to {last} cannot be read ({fault})", way_out="convert the source again"
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


class _Runs(Indexer):
    """Several runs of a one-dimensional array as one selection, so that they are decoded in one call.

    Zarr knows a single slice, or elements one by one; the Rust codecs take any number of slices at once, which costs a
    third of asking for every run by itself (64-row blocks: 5 against 16 microseconds a row).
    """

    def __init__(self, runs: Sequence[tuple[int, int]], shard: int) -> None:
        self._projections: list[ChunkProjection] = []
        at = 0
        for begin, end in runs:
            for number in range(begin // shard, (end - 1) // shard + 1):
                low, high = max(begin, number * shard), min(end, (number + 1) * shard)
                inside = slice(low - number * shard, high - number * shard)
                self._projections.append(ChunkProjection((number,), (inside,), (slice(at, at + high - low),), False))
                at += high - low
        self.shape = (at,)
        self.drop_axes = ()

    def __iter__(self) -> Iterator[ChunkProjection]:
        return iter(self._projections)


async def _read_runs(arrays: Sequence[zarr.Array], runs: Sequence[tuple[int, int]], outs: Sequence[np.ndarray]) -> None:
    """Decode the same runs of several arrays into memory that is there, one run behind the other."""
    reads: list[Any] = [
        array.async_array._get_selection(
            _Runs(runs, (array.shards or array.chunks)[0]),
            prototype=default_buffer_prototype(),
            out=NDBuffer.from_numpy_array(out),
        )
        for array, out in zip(arrays, outs, strict=True)
    ]
    await asyncio.gather(*reads)
