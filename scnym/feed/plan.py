"""Which cells make each window and each batch: pure functions of (seed, epoch, window), no state, no data.

A class's cells lie in *pieces*: its rows inside one aligned block of the store, which are read together. Each class
walks its pieces in a keyed random order, again and again in new orders, as one endless stream of rows; an epoch takes
the next stretch of it. So no cell repeats before all others of its class have been drawn, a large class is covered
across epochs, and the totals of every class are exact.

C cells, K classes, P pieces, W rows of a window.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from scnym.base.errors import DataError, SettingsError
from scnym.base.settings import balance_exponent
from scnym.feed.blocks import Pieces, class_sizes, count_pieces, find_pieces

SEED_SCHEME_DRAWS = 128
"""Least number of draws per class and epoch in the `seed` scheme."""
GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it spread evenly over 0 to 1, whatever their number."""
MAX_PIECES_PER_BLOCK = 1.25
"""Up to so many classes in a block, on average, a store counts as clustered by class."""
_ORDER_OF_PIECES, _ORDER_IN_WINDOW = 0, 1


@dataclass(frozen=True, slots=True)
class Window:
    """Rows that are read and shuffled together."""

    first: int
    """Draws of the epoch before this window."""
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
    def windows(self, epoch: int, *, first_draw: int = 0) -> Iterator[Window]:
        """Return the windows of an epoch, in order, without those that end before `first_draw`."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return all that decides the order, as plain values: two plans that agree in it are the same."""

    @abstractmethod
    def suits(self, n_cells: int) -> bool:
        """Return whether it is a plan for a store of so many cells."""

    @property
    def n_batches(self) -> int:
        """Batches in an epoch; fewer where the last cell would be alone, which batch normalisation cannot train on."""
        return min(-(-self.n_draws // self.batch_size), max(1, self.n_draws // 2)) if self.n_draws else 0

    def batch_bounds(self) -> np.ndarray:
        """Draws of an epoch before each batch and after the last, shape (n_batches + 1,); sizes as even as can be."""
        return np.arange(self.n_batches + 1) * self.n_draws // max(1, self.n_batches)

    def shares(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the share of one of `count` processes begins and ends in each batch, as draws of the epoch.

        The shares of a batch differ by one cell at most, and lie one behind the other.

        Raises
        ------
        SettingsError
            If a batch has fewer cells than there are processes.
        """
        bounds = self.batch_bounds()
        first_N, sizes_N = bounds[:-1], np.diff(bounds)
        least = int(sizes_N.min(initial=count))
        if least < count:
            raise SettingsError(
                f"a batch of {least:,} cells cannot be shared by {count:,} processes",
                where="--batch_size",
                way_out="give a larger one, or start fewer processes",
            )
        return first_N + sizes_N * number // count, first_N + sizes_N * (number + 1) // count


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

    def windows(self, epoch: int, *, first_draw: int = 0) -> Iterator[Window]:
        """Yield the windows, the same in every epoch."""
        del epoch
        skipped = first_draw - first_draw % self._window_rows
        for first in range(skipped, len(self._rows), self._window_rows):
            yield Window(first, self._rows[first : first + self._window_rows])

    def identity(self) -> dict[str, Any]:
        """Return all that decides the order."""
        return {"plan": "in order", "batch_size": self.batch_size, "rows": digest(self._rows.astype(np.int64))}

    def suits(self, n_cells: int) -> bool:
        """Return whether a store of so many cells has all rows."""
        return not len(self._rows) or (self._rows[0] >= 0 and self._rows[-1] < n_cells)


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
    max_repeat
        Most draws of a class in an epoch, as a multiple of its cells; None for no bound.

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
        max_repeat: float | None = None,
    ) -> None:
        self.batch_size = batch_size
        self._settings: dict[str, Any] = {
            "class_balance": class_balance,
            "batch_size": batch_size,
            "window_rows": window_rows,
            "block_rows": block_rows,
            "seed": seed,
            "max_repeat": max_repeat,
        }
        self._window_rows, self._block_rows, self._seed = window_rows, block_rows, seed
        codes_C = codes_C.astype(np.min_scalar_type(-1 - max(1, int(codes_C.max(initial=0)))))
        if class_balance == "natural" and not _is_clustered(codes_C, block_rows, window_rows):
            codes_C = _one_class(codes_C)
        sizes_K = class_sizes(codes_C)
        if sizes_K.sum() < 2:
            raise DataError("fewer than two cells to train on", way_out="give more labelled cells")
        pieces = find_pieces(codes_C, sizes_K, block_rows)
        self._walks = [_Walk(some, (seed, _ORDER_OF_PIECES, some.code)) for some in pieces]
        self.draws_K = draws_per_class(sizes_K[sizes_K > 0], class_balance, max_repeat)
        self._codes = codes_C

    @property
    def n_draws(self) -> int:
        """Rows dealt in an epoch."""
        return int(self.draws_K.sum())

    def windows(self, epoch: int, *, first_draw: int = 0) -> Iterator[Window]:
        """Yield the windows of an epoch: every class's share of each, to a block, and all of it in the last."""
        first = 0
        for number, (start_K, end_K) in enumerate(self._stretches(epoch)):
            n_rows = int((end_K - start_K).sum())
            if first + n_rows > first_draw:
                stretches = zip(self._walks, start_K.tolist(), end_K.tolist(), strict=True)
                rows = np.concatenate([walk.rows(start, stop) for walk, start, stop in stretches])
                yield Window(first, _keyed(self._seed, _ORDER_IN_WINDOW, epoch, number).permutation(rows))
            first += n_rows

    def identity(self) -> dict[str, Any]:
        """Return all that decides the order."""
        return {"plan": "balanced", "cells": digest(self._codes), **self._settings}

    def suits(self, n_cells: int) -> bool:
        """Return whether there is a code for each of so many cells."""
        return len(self._codes) == n_cells

    def rearranged(self, order_C: np.ndarray) -> "BalancedPlan":
        """Return the same plan for a store whose rows stand in another order."""
        return BalancedPlan(self._codes[order_C], **self._settings)

    def _stretches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions in each class's stream between which every window of an epoch lies."""
        n_windows = -(-self.n_draws // self._window_rows)
        first_K = epoch * self.draws_K
        position_K = first_K.copy()
        for number in range(n_windows):
            due_K = first_K + (number + 1) * self.draws_K // n_windows
            end_K = due_K if number == n_windows - 1 else self._rounded(due_K, position_K, first_K + self.draws_K)
            yield position_K, end_K
            position_K = end_K

    def _rounded(self, due_K: np.ndarray, position_K: np.ndarray, limit_K: np.ndarray) -> np.ndarray:
        """Return whole pieces where the window keeps its size to an eighth, else the exact positions."""
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

    def __init__(self, pieces: Pieces, key: tuple[int, ...]) -> None:
        self._key = key
        self._pieces = pieces
        self.n_rows = int(pieces.lengths_P.sum(dtype=np.int64))
        self._orders: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows at positions start to stop of the stream."""
        found = [np.empty(0, np.int64)]
        while start < stop:
            cycle, first = divmod(start, self.n_rows)
            last = min(first + stop - start, self.n_rows)
            found.append(self._rows_of_cycle(cycle, first, last))
            start += last - first
        return np.concatenate(found)

    def end_of_piece(self, position: int, phase: float) -> int:
        """Return the end of the piece at `position` if more than the share `phase` of it is before, else its start."""
        cycle, offset = divmod(position, self.n_rows)
        ends = self._cycle(cycle)[1]
        number = int(np.searchsorted(ends, ends.dtype.type(offset)))
        start = int(ends[number - 1]) if number else 0
        end = int(ends[number])
        return cycle * self.n_rows + (end if offset - start > phase * (end - start) else start)

    def _rows_of_cycle(self, cycle: int, first: int, last: int) -> np.ndarray:
        order_P, ends_P = self._cycle(cycle)
        number = ends_P.dtype.type  # another type would have all of them converted first
        low, high = np.searchsorted(ends_P, number(first), side="right"), np.searchsorted(ends_P, number(last))
        skipped = first - (int(ends_P[low - 1]) if low else 0)
        return self._pieces.rows(order_P[low : high + 1])[skipped : skipped + last - first]

    def _cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of a cycle in order, and where they end; the cycle before is kept, older ones are not."""
        if cycle not in self._orders:
            self._orders = {k: order for k, order in self._orders.items() if k == cycle - 1}
            self._orders[cycle] = self._order_of_cycle(cycle)
        return self._orders[cycle]

    def _order_of_cycle(self, cycle: int) -> tuple[np.ndarray, np.ndarray]:
        lengths_P = self._pieces.lengths_P
        order_P = _keyed(*self._key, cycle).permutation(np.arange(len(lengths_P), dtype=np.uint32))
        return order_P, np.cumsum(lengths_P[order_P], dtype=np.min_scalar_type(self.n_rows))


def _is_clustered(codes_C: np.ndarray, block_rows: int, window_rows: int) -> bool:
    """Whether nearly every block holds one class, and a window has room for a block of each.

    Blocks of one class, drawn at random, would make windows in which some classes are too common: then each class is
    walked by itself, as with any other balance. Where blocks are mixed, whole blocks are read, whatever they hold.
    """
    n_classes = int(codes_C.max(initial=-1)) + 1
    n_mixed = count_pieces(_one_class(codes_C), 1, block_rows)
    n_pure = count_pieces(codes_C, n_classes, block_rows)
    return n_classes * block_rows <= window_rows and n_pure <= MAX_PIECES_PER_BLOCK * n_mixed


def _one_class(codes_C: np.ndarray) -> np.ndarray:
    """Return 0 for every row of a class, -1 for the others."""
    return (codes_C >= 0).view(np.int8) - np.int8(1)


def draws_per_class(counts_K: np.ndarray, class_balance: str, max_repeat: float | None = None) -> np.ndarray:
    """Draws of each class in an epoch, given the cells of each; shape (K,).

    `seed` draws max(128, smallest class) of every class, as the first release did. The others draw as many cells in
    total as there are, each class in proportion to (its cells) ** A: A is 1 for natural, 0 for uniform. A class that
    would give more than `max_repeat` times its cells gives so many, and the others as many as before.
    """
    draws_K = _unbounded_draws(counts_K, class_balance)
    return draws_K if max_repeat is None else np.minimum(draws_K, (max_repeat * counts_K).astype(np.int64))


def _unbounded_draws(counts_K: np.ndarray, class_balance: str) -> np.ndarray:
    exponent = balance_exponent(class_balance)
    if exponent is None:
        return np.full(len(counts_K), max(SEED_SCHEME_DRAWS, int(counts_K.min())))
    weights_K = counts_K.astype(np.float64) ** exponent
    exact_K = counts_K.sum() * weights_K / weights_K.sum()
    draws_K = np.maximum(1, np.floor(exact_K)).astype(np.int64)
    missing = max(0, int(counts_K.sum() - draws_K.sum()))
    draws_K[np.argsort(draws_K - exact_K, kind="stable")[:missing]] += 1
    return draws_K


def digest(*arrays: np.ndarray) -> str:
    """Name the content of some arrays, as of one that holds them end to end."""
    content = hashlib.sha256()
    for numbers in arrays:
        content.update(np.ascontiguousarray(numbers).data)
    return content.hexdigest()


def _keyed(*key: int) -> np.random.Generator:
    """Return a generator that depends on the key alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
