"""Batches: the rows of a plan's windows are decoded ahead by one thread, and dealt.

B cells of a batch, C cells of the store, G genes, N batches of an epoch, W rows of a window.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from scnym.feed.plan import BatchPlan
from scnym.feed.reader import Stretch, WindowReader
from scnym.feed.stack import BatchStack, CsrStack, DenseStack

Layout = Literal["dense", "csr"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells ready for the network."""

    x: torch.Tensor
    """ln(CPM+1) of the model's genes (or per another library size), float32, shape (B, G), dense or CSR.

    Zero where a gene has no count, and also where the cell's source never measured it: `StreamDataset.measured_SG`
    tells the two apart.
    """
    labels: torch.Tensor
    """Class codes, -1 where there is none, int64, shape (B,)."""
    conditions: torch.Tensor
    """Codes of the cells' contexts (tissues), -1 where there is none, int64, shape (B,)."""
    rows: np.ndarray
    """Row numbers in the store, shape (B,)."""
    sources: np.ndarray
    """Source of each cell, a row of `StreamDataset.measured_SG`; int64, shape (B,)."""
    whole_size: int
    """Cells of the whole batch, of which these may be the share of one process."""


class BatchMaker:
    """Makes the batches of a plan.

    Parameters
    ----------
    plan
        Which rows make each batch.
    reader
        Reads them.
    labels_C, conditions_C
        Codes of all rows of the store.
    n_genes
        Genes of the model.
    layout
        Whether `Batch.x` is dense or CSR.
    """

    def __init__(
        self,
        plan: BatchPlan,
        reader: WindowReader,
        labels_C: np.ndarray,
        conditions_C: np.ndarray,
        *,
        n_genes: int,
        layout: Layout,
    ) -> None:
        self._plan, self._reader = plan, reader
        self._labels_C, self._conditions_C = labels_C, conditions_C
        self._n_genes, self._layout = n_genes, layout

    def batches(self, epoch: int, numbers: range, share: tuple[int, int]) -> Iterator[tuple[int, Batch]]:
        """Give the batches of an epoch that have these numbers, or a share of each, with its number.

        Raises
        ------
        SettingsError
            If a batch has fewer cells than there are processes that share it.
        """
        bounds = self._plan.batch_bounds()
        first_N, stop_N = self._plan.shares(*share)
        upcoming = iter(numbers)
        stack, parts = self._stack(), []
        number = filled = size = 0
        for stretch in self._reader.stretches(self._wanted(epoch, numbers, share)):
            dealt = 0
            while dealt < len(stretch):
                if not parts:
                    number = next(upcoming)
                    filled, size = 0, int(stop_N[number] - first_N[number])
                    stack.begin(size)
                part = stretch.part(dealt, dealt + size - filled)
                stack.add(part, filled)
                parts.append(part)
                dealt, filled = dealt + len(part), filled + len(part)
                if filled == size:
                    yield number, self._batch(parts, stack.tensor(), int(bounds[number + 1] - bounds[number]))
                    parts = []

    def _stack(self) -> BatchStack:
        return CsrStack(self._n_genes) if self._layout == "csr" else DenseStack(self._n_genes)

    def _wanted(self, epoch: int, numbers: range, share: tuple[int, int]) -> Iterator[np.ndarray]:
        """Give the rows of a share of some batches, in the order in which they are dealt, by windows."""
        bounds, (first_N, stop_N) = self._plan.batch_bounds(), self._plan.shares(*share)
        first_draw = int(bounds[min(numbers.start, len(bounds) - 1)])
        for window in self._plan.windows(epoch, first_draw=first_draw):
            draws_W = np.arange(window.first, window.first + len(window.rows_W))
            number_W = np.searchsorted(bounds, draws_W, side="right") - 1
            in_share_W = (draws_W >= first_N[number_W]) & (draws_W < stop_N[number_W])
            is_wanted_W = (number_W >= numbers.start) & ((number_W - numbers.start) % numbers.step == 0)
            rows_W = window.rows_W[is_wanted_W & in_share_W]
            if len(rows_W):
                yield rows_W

    def _batch(self, parts: Sequence[Stretch], x_BG: torch.Tensor, whole_size: int) -> Batch:
        rows, sources = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows_W", "sources_W"))
        labels_B, conditions_B = (
            torch.from_numpy(codes_C[rows].astype(np.int64)) for codes_C in (self._labels_C, self._conditions_C)
        )
        return Batch(x_BG, labels_B, conditions_B, rows, sources, whole_size)
