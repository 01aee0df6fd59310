"""Which cells make each window and each batch: pure functions of (seed, epoch, window), no state, no data.

A class's cells lie in *pieces*: its rows inside one aligned block of the store, which are read together. Each class
walks its pieces in a keyed random order, again and again in new orders, as one endless stream of rows; an epoch takes
the next stretch of it. So no cell repeats before all others of its class have been drawn, a large class is covered
across epochs, and the totals of every class are exact.

C cells, K classes, W rows of a window.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scnym.base.errors import DataError
from scnym.base.settings import balance_exponent

SEED_SCHEME_DRAWS = 128
"""Least number of draws per class and epoch in the `seed` scheme."""
GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it spread evenly over 0 to 1, whatever their number."""
_ORDER_OF_PIECES, _ORDER_IN_WINDOW = 0, 1


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that are read and shuffled together."""

    rows_W: np.ndarray
    """Row numbers in the order in which they are dealt to batches; a row may stand twice."""


class BatchPlan(ABC):
    """Which rows make the windows and batches of an epoch."""

    batch_size: int

    @property
    @abstractmethod
    def n_draws(self) -> int:
        """Rows dealt in an epoch."""

    @abstractmethod
    def windows(self, epoch: int) -> Iterator[Window]:
        """Give the windows of an epoch, in order."""

    @property
    def n_batches(self) -> int:
        """Batches in an epoch; fewer where the last cell would be alone, which batch normalisation cannot train on."""
        return min(-(-self.n_draws // self.batch_size), max(1, self.n_draws // 2)) if self.n_draws else 0

    def batch_sizes(self) -> np.ndarray:
        """Cells in each batch of an epoch, as even as can be."""
        bounds = np.arange(self.n_batches + 1) * self.n_draws // max(1, self.n_batches)
        return np.diff(bounds)


class InOrderPlan(BatchPlan):
    """Every wanted row once, in the order of the store.

    Parameters
    ----------
    rows_C
        Row numbers, ascending.
    batch_size, window_rows
        Cells per batch, and per window.
    """

    def __init__(self, rows_C: np.ndarray, *, batch_size: int, window_rows: int) -> None:
        self.batch_size = batch_size
        self._rows = rows_C
        self._window_rows = window_rows

    @property
    def n_draws(self) -> int:
        """Rows dealt in an epoch."""
        return len(self._rows)

    def windows(self, epoch: int) -> Iterator[Window]:
        """Give the windows, the same in every epoch."""
        del epoch
        for start in range(0, len(self._rows), self._window_rows):
            yield Window(self._rows[start : start + self._window_rows])


class BalancedPlan(BatchPlan):
    """Shuffled rows with a quota for every class.

    Parameters
    ----------
    codes_C
        Class of every row of the store, -1 for rows that must not be drawn; shape (C,).
    class_balance
        natural, seed, uniform or power:A.
    batch_size, window_rows, block_rows
        Cells per batch, per window, per aligned block.
    seed
        Decides every order.

    Raises
    ------
    DataError
        If fewer than two rows may be drawn.
    """

    def __init__(
        self,
        codes_C: np.ndarray,
        *,
        class_balance: str,
        batch_size: int,
        window_rows: int,
        block_rows: int,
        seed: int,
    ) -> None:
        self.batch_size = batch_size
        self._window_rows = window_rows
        self._block_rows = block_rows
        self._seed = seed
        counts_K = np.bincount(codes_C[codes_C >= 0])
        if counts_K.sum() < 2:
            raise DataError("fewer than two cells to train on", way_out="give more labelled cells")
        # With natural balance the class does not matter, and whole blocks are read whatever classes they hold.
        walked_C = np.where(codes_C >= 0, 0, -1) if class_balance == "natural" else codes_C
        self._walks = [
            _Walk(np.flatnonzero(walked_C == code), block_rows, (seed, _ORDER_OF_PIECES, int(code)))
            for code in np.unique(walked_C[walked_C >= 0])
        ]
        sizes = np.array([walk.n_rows for walk in self._walks])
        self.draws_K = draws_per_class(sizes, class_balance)

    @property
    def n_draws(self) -> int:
        """Rows dealt in an epoch."""
        return int(self.draws_K.sum())

    def windows(self, epoch: int) -> Iterator[Window]:
        """Give the windows of an epoch: every class's share of each, to a block, and all of it in the last."""
        n_windows = -(-self.n_draws // self._window_rows)
        first_K = epoch * self.draws_K
        position_K = first_K.copy()
        for number in range(n_windows):
            due_K = first_K + (number + 1) * self.draws_K // n_windows
            end_K = due_K if number == n_windows - 1 else self._rounded(due_K, position_K, first_K + self.draws_K)
            stretches = zip(self._walks, position_K, end_K, strict=True)
            rows = np.concatenate([walk.rows(int(start), int(stop)) for walk, start, stop in stretches])
            position_K = end_K
            yield Window(_keyed(self._seed, _ORDER_IN_WINDOW, epoch, number).permutation(rows))

    def _rounded(self, due_K: np.ndarray, position_K: np.ndarray, limit_K: np.ndarray) -> np.ndarray:
        """Give whole pieces where the window keeps its size to an eighth, else the exact positions."""
        if len(due_K) * self._block_rows <= self._window_rows:
            end_K = np.clip(self._piece_ends(due_K), position_K, limit_K)
            if abs(int(end_K.sum() - due_K.sum())) <= self._window_rows // 8:
                return end_K
        return np.maximum(due_K, position_K)

    def _piece_ends(self, due_K: np.ndarray) -> np.ndarray:
        """Round each class's position to an end of a piece, some up and some down, so that windows keep their size."""
        phases = (0.5 + np.arange(len(due_K))) * GOLDEN_RATIO % 1
        rounded = [w.end_of_piece(int(due), phase) for w, due, phase in zip(self._walks, due_K, phases, strict=True)]
        return np.array(rounded)


class _Walk:
    """The endless stream of one class's rows: its pieces in keyed orders, one order after the other."""

    def __init__(self, rows: np.ndarray, block_rows: int, key: tuple[int, ...]) -> None:
        self._key = key
        breaks = np.flatnonzero(np.diff(rows // block_rows)) + 1
        self._pieces = np.split(rows, breaks)
        self.n_rows = len(rows)
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows at positions start to stop of the stream."""
        found = [np.empty(0, np.int64)]
        while start < stop:
            cycle, offset = divmod(start, self.n_rows)
            taken = self._cycle(cycle)[0][offset : offset + stop - start]
            found.append(taken)
            start += len(taken)
        return np.concatenate(found)

    def end_of_piece(self, position: int, phase: float) -> int:
        """Give the end of the piece at `position` if more than the share `phase` of it lies before, else its start."""
        cycle, offset = divmod(position, self.n_rows)
        ends = self._cycle(cycle)[1]
        number = int(np.searchsorted(ends, offset))
        start = int(ends[number - 1]) if number else 0
        end = int(ends[number])
        return cycle * self.n_rows + (end if offset - start > phase * (end - start) else start)

    def _cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the rows of a cycle in order, and where its pieces end; the cycle before is kept, older ones are not."""
        if cycle not in self._orders:
            self._orders = {k: order for k, order in self._orders.items() if k == cycle - 1}
            self._orders[cycle] = self._order_of_cycle(cycle)
        return self._orders[cycle]

    def _order_of_cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        order = _keyed(*self._key, cycle).permutation(len(self._pieces))
        pieces = [self._pieces[k] for k in order]
        return np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces])


def draws_per_class(counts_K: np.ndarray, class_balance: str) -> np.ndarray:
    """Draws of each class in an epoch, given the cells of each; shape (K,).

    `seed` draws max(128, smallest class) of every class, as the first release did. The others draw as many cells in
    total as there are, each class in proportion to (its cells) ** A: A is 1 for natural, 0 for uniform.
    """
    exponent = balance_exponent(class_balance)
    if exponent is None:
        return np.full(len(counts_K), max(SEED_SCHEME_DRAWS, int(counts_K.min())))
    weights_K = counts_K.astype(np.float64) ** exponent
    exact_K = counts_K.sum() * weights_K / weights_K.sum()
    draws_K = np.maximum(1, np.floor(exact_K)).astype(np.int64)
    missing = max(0, int(counts_K.sum() - draws_K.sum()))
    draws_K[np.argsort(draws_K - exact_K, kind="stable")[:missing]] += 1
    return draws_K


def _keyed(*key: int) -> np.random.Generator:
    """Give a generator that depends on the key alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
