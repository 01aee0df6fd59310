"""Batches: rows that one thread decodes ahead are aligned, normalised and put together, dense or as CSR.

Memory is used again as soon as nobody holds what was in it; the window's size keeps the whole below the memory cap.

B cells of a batch, C cells of the store, G genes, N batches of an epoch, W rows of a window.
"""

import math
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from scnym.base.errors import SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.rows import REQUEST_ELEMENTS
from scnym.disk.store import Store
from scnym.feed.kernel import copy_csr, count_kept, fill_csr, fill_dense, sort_rows
from scnym.feed.plan import BatchPlan
from scnym.feed.reader import ARENAS, Stretch, WindowReader

ROOM_TO_GROW = 1.125
"""Fresh memory is so much larger than asked for: the next batch, a little longer, then fits too."""


@dataclass(slots=True)
class _Slot:
    memory: np.ndarray
    given: weakref.ref[np.ndarray]
    """What was given out last; gone when nobody holds it, a tensor over it included."""


class BufferPool:
    """Hands out arrays, in memory that was used before wherever the array from then is gone.

    Fresh pages cost as much as a third of filling them: a CSR batch of 256 cells with 1,900 values each takes 3.7 us a
    cell in fresh memory, 2.3 in memory used before. Nobody has to say that he needs an array no longer, or to copy one
    that he keeps: a queue that still pickles a batch holds it, as does a thread that pins it.

    Parameters
    ----------
    n_kept
        Most arrays whose memory is kept for later. What is held longer than others is left to its holder.
    """

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._slots: list[_Slot] = []

    def empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return memory for an array. Whoever keeps a part of it must keep the array itself, as torch does."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        slot = next((one for one in self._slots if one.given() is None and len(one.memory) >= n_bytes), None)
        memory = np.empty(int(n_bytes * ROOM_TO_GROW), np.uint8) if slot is None else slot.memory
        array = memory[:n_bytes].view(dtype).reshape(shape)
        if slot is None:
            self._slots = [*self._slots[-(self._n_kept - 1) :], _Slot(memory, weakref.ref(array))]
        else:
            slot.given = weakref.ref(array)
        return array


DENSE_ARRAYS_KEPT = 2
"""The batch in use, and the one being made."""
CSR_ARRAYS_KEPT = 6
"""Genes and values of the batch in use, of the one being made, and of a piece of one."""


class BatchStack(ABC):
    """Takes the rows of a batch, part by part, and gives them as one tensor.

    A batch is its holder's for as long as it is held; the memory of one that is gone serves for the next.

    Parameters
    ----------
    n_genes
        Genes of the model.
    """

    def __init__(self, n_genes: int) -> None:
        self._n_genes = n_genes

    @abstractmethod
    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""

    @abstractmethod
    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on, behind those already there; `part` is not needed afterwards."""

    @abstractmethod
    def tensor(self) -> torch.Tensor:
        """Return the batch, shape (B, G), float32."""


class DenseStack(BatchStack):
    """Makes dense batches."""

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self._pool = BufferPool(DENSE_ARRAYS_KEPT)

    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""
        self._batch_BG = self._pool.empty((size, self._n_genes), np.float32)

    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on."""
        for at, rows, decoded in part.by_source():
            fill_dense(self._batch_BG, first + at, rows, *decoded.matrix, *decoded.scaling)

    def tensor(self) -> torch.Tensor:
        """Return the batch."""
        batch_BG = torch.from_numpy(self._batch_BG)
        del self._batch_BG  # from here on it is the caller's
        return batch_BG


class CsrStack(BatchStack):
    """Makes CSR batches with genes ascending in every row."""

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self._pool = BufferPool(CSR_ARRAYS_KEPT)

    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""
        self._lengths_B = np.empty(size, np.int32)
        self._indices: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on."""
        lengths = self._lengths_B[first : first + len(part)]
        for at, rows, decoded in part.by_source():
            if decoded.gene_map.is_whole:
                lengths[at] = decoded.counts.indptr_C1[rows + 1] - decoded.counts.indptr_C1[rows]
            else:
                count_kept(lengths, at, rows, *decoded.matrix[:2], decoded.gene_map.table_S)
        indptr = _indptr(lengths)
        indices, values = self._empty(int(indptr[-1]))
        for at, rows, decoded in part.by_source():
            if decoded.gene_map.is_identity:
                copy_csr(indptr, indices, values, at, rows, *decoded.matrix, decoded.factors, decoded.is_log)
                continue
            fill_csr(indptr, indices, values, at, rows, *decoded.matrix, *decoded.scaling)
            if not decoded.gene_map.is_monotone:
                sort_rows(indptr, indices, values, at, self._n_genes)
        self._indices.append(indices)
        self._values.append(values)

    def tensor(self) -> torch.Tensor:
        """Return the batch."""
        if len(self._indices) > 1:
            indices, values = self._empty(sum(map(len, self._indices)))
            self._indices = [np.concatenate(self._indices, out=indices)]
            self._values = [np.concatenate(self._values, out=values)]
        indptr, shape = _indptr(self._lengths_B), (len(self._lengths_B), self._n_genes)
        (indices,), (values,) = self._indices, self._values
        self._indices, self._values = [], []  # from here on they are the batch's
        return csr_tensor(indptr, indices, values, shape)

    def _empty(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self._pool.empty((n,), np.int32), self._pool.empty((n,), np.float32)


def _indptr(lengths: np.ndarray) -> np.ndarray:
    indptr = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def csr_tensor(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Return a torch CSR tensor over the same memory."""
    with warnings.catch_warnings():
        # torch calls CSR tensors a beta feature on every first use; what is used here is tested here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            torch.from_numpy(indptr),
            torch.from_numpy(indices),
            torch.from_numpy(values) if isinstance(values, np.ndarray) else values,
            size=shape,
            check_invariants=False,
        )


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
        """Yield the batches of an epoch that have these numbers, or a share of each, with its number.

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
        """Yield the rows of a share of some batches, in the order in which they are dealt, by windows."""
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


MAX_CSR_DENSITY = 0.2
"""Share of non-zero values above which dense products are faster than sparse ones."""
INDEX_BYTES = 64
"""Memory that a row of a window takes beside its values: its number, source, place, factor and the like."""
SHARE_FOR_ROWS = 0.95
"""Share of the memory cap that is dealt out; the rest is for what is small."""
WINDOW_MARGIN = 1.3
"""Windows are planned so much smaller, in rows of mean length, than the memory for one: one that is larger all the
same is read in two goes, which costs time."""


def layout_for(store: Store) -> Layout:
    """Return the layout in which a training step on these counts is faster."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    n_places = sum(dataset.n_cells * len(dataset.genes) for dataset in store.datasets)
    return "csr" if n_values < MAX_CSR_DENSITY * n_places else "dense"


def window_size(store: Store, n_genes: int, settings: StreamSettings, layout: Layout) -> tuple[int, int]:
    """Return the bytes that rows decoded together may take, and the rows of a window, below the memory cap."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    element_bytes = max(dataset.bytes_per_element for dataset in store.datasets)
    longest_row = max(int(np.diff(dataset.indptr_C1).max(initial=1)) for dataset in store.datasets)
    # Of dense batches there are two, the one in use and the next; of CSR batches also the pieces one is made of.
    row_bytes = n_genes * 4 * 2 if layout == "dense" else min(longest_row, n_genes) * 8 * 3
    aside_bytes = min(n_values, 2 * REQUEST_ELEMENTS) * element_bytes
    stretch_bytes = (
        int(SHARE_FOR_ROWS * settings.memory_bytes) - settings.batch_size * row_bytes - aside_bytes
    ) // ARENAS
    mean_bytes = n_values / max(1, store.n_cells) * element_bytes + INDEX_BYTES
    rows = int(stretch_bytes / (WINDOW_MARGIN * mean_bytes))
    if rows < settings.batch_size:
        raise SettingsError(
            f"batches of {settings.batch_size:,} cells x {n_genes:,} genes do not fit into "
            f"{settings.memory_bytes / 1e6:,.0f} MB",
            way_out="take smaller batches (--batch_size); in training, --stream_memory allows more",
        )
    return stretch_bytes, min(max(settings.window_rows, settings.batch_size), rows)
