"""Windows in memory: rows are decoded one stretch ahead by one thread, into memory that is used again and again.

W rows of a stretch, S genes of a source.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from scnym.disk.rows import CsrRows
from scnym.disk.store import Dataset
from scnym.feed.genes import GeneMap
from scnym.feed.kernel import library_factors

ARENAS = 2
"""Stretches in memory at once: one dealt from, and one ready or being decoded."""
ALIGNMENT = 8
"""Arrays in an arena start at multiples of it, in bytes."""


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """Rows of one source, in memory."""

    counts: CsrRows
    factors: np.ndarray
    """Factor of each row from counts to normalised counts."""
    gene_map: GeneMap
    is_log: bool

    @property
    def matrix(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row pointers, genes of the source, values: as the kernels take them."""
        return self.counts.indptr_C1, self.counts.indices_N, self.counts.values_N

    @property
    def scaling(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Factors, gene table, scale: as the kernels take them."""
        return self.factors, self.gene_map.table_S, self.is_log


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that were decoded together, or some of them."""

    rows_W: np.ndarray
    """Row numbers in the store."""
    sources_W: np.ndarray
    """Source of each."""
    local_W: np.ndarray
    """Which of the source's decoded rows each one is."""
    decoded: dict[int, DecodedRows]
    """The decoded rows of each source."""

    def __len__(self) -> int:
        return len(self.rows_W)

    def part(self, start: int, stop: int) -> "Stretch":
        """Return a part of the rows."""
        some = slice(start, stop)
        return Stretch(self.rows_W[some], self.sources_W[some], self.local_W[some], self.decoded)

    def by_source(self) -> Iterator[tuple[np.ndarray, np.ndarray, DecodedRows]]:
        """Give, for each source, where its rows are in this stretch, and which of its decoded rows they are."""
        if len(self.decoded) == 1:
            yield np.arange(len(self)), self.local_W, next(iter(self.decoded.values()))
            return
        for source, decoded in self.decoded.items():
            mine = np.flatnonzero(self.sources_W == source)
            if len(mine):
                yield mine, self.local_W[mine], decoded


class WindowReader:
    """Decodes rows of several sources.

    Parameters
    ----------
    datasets
        The sources.
    gene_maps
        Where the genes of each go.
    normalize_to
        Library size every cell is brought to.
    max_bytes
        Most memory, in bytes, that the rows of one stretch may take.
    """

    def __init__(
        self, datasets: Sequence[Dataset], gene_maps: Sequence[GeneMap], *, normalize_to: float, max_bytes: int
    ) -> None:
        self._datasets = datasets
        self._gene_maps = gene_maps
        self._normalize_to = normalize_to
        self._max_bytes = max_bytes
        self._first_rows = np.cumsum([0, *(dataset.n_cells for dataset in datasets)])
        all_bytes = sum(int(dataset.indptr_C1[-1]) * dataset.bytes_per_element for dataset in datasets)
        self._arena_bytes = min(max_bytes, all_bytes) + 2 * ALIGNMENT * len(datasets)

    def stretches(self, wanted: Iterator[np.ndarray]) -> Iterator[Stretch]:
        """Decode some rows after the other, one ahead of those in use.

        A stretch is good until the next one is asked for.
        """
        arenas = cycle([_Arena(self._arena_bytes) for _ in range(ARENAS)])
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scnym-read-ahead") as thread:
            ready = None
            for rows_W in wanted:
                for some_W in self._that_fit(rows_W):
                    upcoming = thread.submit(self._decode, some_W, next(arenas))
                    if ready is not None:
                        yield ready.result()
                    ready = upcoming
            if ready is not None:
                yield ready.result()

    def amplification(self, rows_W: np.ndarray, order_C: np.ndarray | None = None) -> float:
        """Return the values that are decoded for every value wanted, when some rows are read together.

        Parameters
        ----------
        rows_W
            Their numbers.
        order_C
            For a store whose rows stood in this order; None for the order in which they are.
        """
        n_wanted, n_decoded = 0, 0
        for source, _, local in self._by_source(np.unique(rows_W)):
            dataset, first = self._datasets[source], self._first_rows[source]
            order = None if order_C is None else order_C[first : first + dataset.n_cells] - first
            lengths_C = np.diff(dataset.indptr_C1)
            n_wanted += int(lengths_C[local if order is None else order[local]].sum())
            n_decoded += dataset.n_decoded(local, order)
        return n_decoded / n_wanted if n_wanted else 1.0

    def sources_of(self, rows_W: np.ndarray) -> np.ndarray:
        """Return the source of every row."""
        return np.searchsorted(self._first_rows, rows_W, side="right") - 1

    def _that_fit(self, rows_W: np.ndarray) -> list[np.ndarray]:
        """Cut rows, in order, into stretches of bounded size: a window that is too large is read in several goes."""
        bytes_W = np.empty(len(rows_W), np.int64)
        for source, mine, local in self._by_source(rows_W):
            bytes_W[mine] = self._bytes_of(source, local)
        # Cut one row early: a stretch goes past its bound by no more than that.
        bound = max(1, self._max_bytes - int(bytes_W.max(initial=0)))
        return np.split(rows_W, np.flatnonzero(np.diff(np.cumsum(bytes_W) // bound)) + 1)

    def _decode(self, rows_W: np.ndarray, arena: "_Arena") -> Stretch:
        sources_W, local_W = np.empty(len(rows_W), np.int64), np.empty(len(rows_W), np.int64)
        wanted: dict[int, np.ndarray] = {}
        for source, mine, local in self._by_source(rows_W):
            wanted[source], local_W[mine] = np.unique(local, return_inverse=True)
            sources_W[mine] = source
        arena.clear()
        decoded = {source: self._read(source, rows, arena) for source, rows in wanted.items()}
        return Stretch(rows_W, sources_W, local_W, decoded)

    def _read(self, source: int, rows: np.ndarray, arena: "_Arena") -> DecodedRows:
        dataset = self._datasets[source]
        factors = library_factors(dataset.n_counts_C[rows], self._normalize_to)
        return DecodedRows(dataset.read_rows(rows, arena.empty), factors, self._gene_maps[source], dataset.is_log)

    def _bytes_of(self, source: int, rows: np.ndarray) -> np.ndarray:
        dataset = self._datasets[source]
        return (dataset.indptr_C1[rows + 1] - dataset.indptr_C1[rows]) * dataset.bytes_per_element

    def _by_source(self, rows_W: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield each source with where its rows are among these, and their numbers in it."""
        sources_W = self.sources_of(rows_W)
        for source in np.unique(sources_W).tolist():
            mine = np.flatnonzero(sources_W == source)
            yield source, mine, rows_W[mine] - self._first_rows[source]


class _Arena:
    """Memory for one stretch after the other: fresh pages cost as much as decoding into them.

    It never grows: what was given before may still be looked at while the next stretch is decoded, and would be kept
    beside a larger one.

    Parameters
    ----------
    n_bytes
        Its size; memory that is never given is never touched.
    """

    def __init__(self, n_bytes: int) -> None:
        self._bytes = np.empty(n_bytes, np.uint8)
        self._taken = 0

    def clear(self) -> None:
        """Begin again; what was given before is overwritten."""
        self._taken = 0

    def empty(self, n: int, dtype: np.dtype) -> np.ndarray:
        """Return memory for `n` elements; beside the arena, if it is full."""
        begin = self._taken
        end = begin + n * dtype.itemsize
        if end > len(self._bytes):
            return np.empty(n, dtype)
        self._taken = -(-end // ALIGNMENT) * ALIGNMENT
        return self._bytes[begin:end].view(dtype)
