"""Batches from a store: windows are read ahead by one thread, and dealt as normalised batches.

B cells of a batch, C cells of the store, G genes, S sources.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from scnym.base.errors import SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.rows import REQUEST_ELEMENTS
from scnym.disk.store import Store
from scnym.feed.genes import map_datasets
from scnym.feed.plan import BalancedPlan, BatchPlan, InOrderPlan, digest
from scnym.feed.reader import ARENAS, Stretch, WindowReader
from scnym.feed.stack import BatchStack, CsrStack, DenseStack
from scnym.feed.state import STATE_VERSION, StreamState, checked

Layout = Literal["dense", "csr"]
CPM = 1e6
MAX_CSR_DENSITY = 0.2
"""Share of non-zero values above which dense products are faster than sparse ones."""
MAX_WORKERS = 256
INDEX_BYTES = 64
"""Memory that a row of a window takes beside its values: its number, source, place, factor and the like."""
SHARE_FOR_ROWS = 0.95
"""Share of the memory cap that is dealt out; the rest is for what is small."""
BATCHES_PER_WINDOW, LEAST_WINDOW = 4, 1024
"""Batches that are read together where nothing is shuffled, and rows, if these are more. Larger windows take memory and
were no faster with 256 cells a batch."""
WINDOW_MARGIN = 1.3
"""Windows are planned so much smaller, in rows of mean length, than the memory for one: one that is larger all the
same is read in two goes, which costs time."""


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


class StreamDataset(IterableDataset[Batch]):
    """Streams batches; each pass over it is the next epoch, in a new order.

    Works alone, and in a ``DataLoader(stream, batch_size=None)``. A background thread reads ahead already; workers
    of a DataLoader give the same batches in the same order, and must be spawned. Each worker keeps only the rows of its
    own batches, but decodes all chunks that hold any: workers speed up what is done with batches, not reading.

    Parameters
    ----------
    store
        Where the cells are.
    plan
        Which rows make each batch.
    genes
        The model's genes, in order.
    labels_C
        Class code of every row of the store; None for none.
    conditions_C
        Code of the context (tissue) of every row of the store; None for none.
    normalize_to
        Library size every cell is brought to before ln(x + 1).
    layout
        Whether `Batch.x` is dense or CSR.
    reuse_buffer
        Give every dense batch in the same memory. Faster, but a batch is only good until the next one is asked for.
    stretch_bytes
        Most memory, in bytes, that rows decoded together may take; twice that is in use.
    """

    def __init__(
        self,
        store: Store,
        plan: BatchPlan,
        genes: Sequence[str],
        labels_C: np.ndarray | None = None,
        *,
        conditions_C: np.ndarray | None = None,
        normalize_to: float = CPM,
        layout: Layout = "dense",
        reuse_buffer: bool = False,
        stretch_bytes: int = StreamSettings.memory_bytes // ARENAS,
    ) -> None:
        self.plan = plan
        self.n_genes = len(genes)
        self.gene_maps = map_datasets(store.datasets, genes)
        self.measured_SG = np.stack([gene_map.present_G for gene_map in self.gene_maps])
        """Which of the model's genes each source measured; bool. A gene that is absent is not zero, but unknown."""
        self._reader = WindowReader(store.datasets, self.gene_maps, normalize_to=normalize_to, max_bytes=stretch_bytes)
        unknown_C = np.broadcast_to(np.int8(-1), store.n_cells)  # takes no memory
        self._labels_C = unknown_C if labels_C is None else labels_C
        self._conditions_C = unknown_C if conditions_C is None else conditions_C
        self._layout = layout
        self._reuse_buffer = reuse_buffer
        self._identity = {
            "store": store.content_hash,
            "library_sizes": digest(*(dataset.n_counts_C for dataset in store.datasets)),
            "gene_tables": digest(*(gene_map.table_S for gene_map in self.gene_maps)),
            "genes": hashlib.sha256("\n".join(genes).encode()).hexdigest(),
            "normalize_to": normalize_to,
            "layout": layout,
        }
        # Shared memory, because workers that do not persist would forget which epochs they have already given.
        self._epochs_begun = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()
        self._resume_at = torch.tensor([-1, 0]).share_memory_()
        """Epoch that begins with a later batch than its first, and which."""
        self._given = (0, 0)

    @cached_property
    def read_amplification(self) -> float:
        """Stored values that are decoded, in whole chunks, for every value wanted: those of the first window."""
        return next((self._reader.amplification(window.rows_W) for window in self.plan.windows(0)), 1.0)

    def amplification_if_clustered(self, groups_C: np.ndarray) -> float:
        """Give what `read_amplification` would be in a store whose cells were grouped.

        Parameters
        ----------
        groups_C
            Group of every cell of the store, as a number.
        """
        if not isinstance(self.plan, BalancedPlan):
            return self.read_amplification
        order_C = np.lexsort((groups_C, self._reader.sources_of(np.arange(len(groups_C)))))
        window = next(self.plan.rearranged(order_C).windows(0))
        return self._reader.amplification(window.rows_W, order_C)

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one to be streamed, from its first batch."""
        self._epochs_begun.fill_(epoch)
        self._resume_at[0] = -1
        self._given = (epoch, 0)

    def state_dict(self) -> StreamState:
        """Say where the stream is, after the last batch that it gave in this process; see `state_after`.

        Workers of a DataLoader give batches in processes of their own, ahead of the one that takes them: there, count
        the batches taken, and ask `state_after`.
        """
        return self.state_after(*self._given)

    def state_after(self, epoch: int, n_batches: int) -> StreamState:
        """Give the state of a stream that has given the first `n_batches` of an epoch, and those of all before it."""
        if n_batches >= self.plan.n_batches:
            epoch, n_batches = epoch + 1, 0
        return StreamState(version=STATE_VERSION, epoch=epoch, batch=n_batches, identity=self.identity)

    def load_state_dict(self, state: StreamState) -> None:
        """Go on where a stream was: the next pass gives the rest of that epoch, bit by bit as it would have been.

        Windows whose batches have all been given are not read. In a DataLoader with any number of workers, load the
        state before the loader is iterated, and give it to the stream in the main process.

        Raises
        ------
        DataError
            If the state is of another store, or of other genes, cells or labels.
        SettingsError
            If it is of a stream with other settings.
        """
        epoch, batch = checked(state, self.identity, n_batches=self.plan.n_batches)
        self.set_epoch(epoch)
        self._resume_at.copy_(torch.tensor([epoch, batch]))
        self._given = (epoch, batch)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides what is in the batches, and in which order, as plain values."""
        told = {"labels": self._labels_C, "conditions": self._conditions_C}
        digests = {name: digest(codes_C.astype(np.int64, copy=False)) for name, codes_C in told.items()}
        return {**self._identity, **digests, **self.plan.identity()}

    def __len__(self) -> int:
        return self.plan.n_batches

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, n_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch = int(self._epochs_begun[number])
        self._epochs_begun[number] += 1
        first_batch = int(self._resume_at[1]) if epoch == int(self._resume_at[0]) else 0
        return self.epoch(epoch, first_batch=first_batch, worker=number, n_workers=n_workers)

    def epoch(
        self, epoch: int, *, first_batch: int = 0, worker: int = 0, n_workers: int = 1, share: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Give the batches of one epoch, or a share of each.

        Parameters
        ----------
        epoch
            Its number.
        first_batch
            Those before are left out.
        worker, n_workers
            Of several workers, each gives every n-th batch.
        share
            Number and count of processes that train together: each gives its share of every batch, and no row that
            is not in it is read, but decoded where it is in a chunk with one that is.

        Raises
        ------
        SettingsError
            If a batch has fewer cells than there are processes.
        """
        bounds = self.plan.batch_bounds()
        first_N, stop_N = self.plan.shares(*share)
        numbers = iter(range(first_batch + worker, self.plan.n_batches, n_workers))
        stack, parts = self._stack(), []
        number = filled = size = 0
        for stretch in self._reader.stretches(self._wanted(epoch, first_batch + worker, n_workers, share)):
            dealt = 0
            while dealt < len(stretch):
                if not parts:
                    number = next(numbers)
                    filled, size = 0, int(stop_N[number] - first_N[number])
                    stack.begin(size)
                part = stretch.part(dealt, dealt + size - filled)
                stack.add(part, filled)
                parts.append(part)
                dealt, filled = dealt + len(part), filled + len(part)
                if filled == size:
                    self._given = (epoch, number + 1)
                    yield self._batch(parts, stack.tensor(), int(bounds[number + 1] - bounds[number]))
                    parts = []

    def _stack(self) -> BatchStack:
        if self._layout == "csr":
            return CsrStack(self.n_genes)
        return DenseStack(self.n_genes, reuse_buffer=self._reuse_buffer)

    def _wanted(self, epoch: int, first_batch: int, step: int, share: tuple[int, int]) -> Iterator[np.ndarray]:
        """Give the rows of a share of every `step`-th batch, in the order in which they are dealt, by windows."""
        bounds, (first_N, stop_N) = self.plan.batch_bounds(), self.plan.shares(*share)
        first_draw = int(bounds[min(first_batch, len(bounds) - 1)])
        for window in self.plan.windows(epoch, first_draw=first_draw):
            draws_W = np.arange(window.first, window.first + len(window.rows_W))
            number_W = np.searchsorted(bounds, draws_W, side="right") - 1
            in_share_W = (draws_W >= first_N[number_W]) & (draws_W < stop_N[number_W])
            rows_W = window.rows_W[(number_W >= first_batch) & ((number_W - first_batch) % step == 0) & in_share_W]
            if len(rows_W):
                yield rows_W

    def _batch(self, parts: Sequence[Stretch], x_BG: torch.Tensor, whole_size: int) -> Batch:
        rows, sources = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rows_W", "sources_W"))
        labels_B, conditions_B = (
            torch.from_numpy(codes_C[rows].astype(np.int64)) for codes_C in (self._labels_C, self._conditions_C)
        )
        return Batch(x_BG, labels_B, conditions_B, rows, sources, whole_size)


def layout_for(store: Store) -> Layout:
    """Give the layout in which a training step on these counts is faster."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    n_places = sum(dataset.n_cells * len(dataset.genes) for dataset in store.datasets)
    return "csr" if n_values < MAX_CSR_DENSITY * n_places else "dense"


def training_stream(
    store: Store,
    codes_C: np.ndarray,
    genes: Sequence[str],
    settings: StreamSettings,
    *,
    conditions_C: np.ndarray | None = None,
    normalize_to: float = CPM,
    layout: Layout = "dense",
) -> StreamDataset:
    """Stream shuffled, class-balanced batches of the rows whose code is not -1, for a training loop.

    Dense batches all stand in the same memory.

    Raises
    ------
    SettingsError
        If the memory cap is too small for a batch.
    DataError
        If fewer than two rows may be drawn.
    """
    stretch_bytes, window_rows = _window_size(store, len(genes), settings, layout)
    plan = BalancedPlan(
        codes_C,
        class_balance=settings.class_balance,
        batch_size=settings.batch_size,
        window_rows=window_rows,
        block_rows=settings.block_rows,
        seed=settings.seed,
        max_repeat=settings.max_repeat,
    )
    shared: Any = {"normalize_to": normalize_to, "layout": layout, "reuse_buffer": True, "stretch_bytes": stretch_bytes}
    return StreamDataset(store, plan, genes, codes_C, conditions_C=conditions_C, **shared)


def in_order_stream(
    store: Store,
    rows_C: np.ndarray,
    genes: Sequence[str],
    settings: StreamSettings,
    labels_C: np.ndarray | None = None,
    *,
    conditions_C: np.ndarray | None = None,
    normalize_to: float = CPM,
    layout: Layout = "dense",
) -> StreamDataset:
    """Stream the given rows once, in the order of the store; dense batches all stand in the same memory.

    Of `settings`, `window_rows` is the most that is read together: as nothing is shuffled, four batches are enough.

    Raises
    ------
    SettingsError
        If the memory cap is too small for a batch.
    """
    stretch_bytes, window_rows = _window_size(store, len(genes), settings, layout)
    window_rows = min(window_rows, max(LEAST_WINDOW, BATCHES_PER_WINDOW * settings.batch_size))
    plan = InOrderPlan(rows_C, batch_size=settings.batch_size, window_rows=window_rows)
    shared: Any = {"normalize_to": normalize_to, "layout": layout, "reuse_buffer": True, "stretch_bytes": stretch_bytes}
    return StreamDataset(store, plan, genes, labels_C, conditions_C=conditions_C, **shared)


def _window_size(store: Store, n_genes: int, settings: StreamSettings, layout: Layout) -> tuple[int, int]:
    """Give the bytes that rows decoded together may take, and the rows of a window, so that all stays below the cap."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    element_bytes = max(dataset.bytes_per_element for dataset in store.datasets)
    longest_row = max(int(np.diff(dataset.indptr_C1).max(initial=1)) for dataset in store.datasets)
    # Dense batches stand in one memory; of CSR batches three: the one in use, the next, and the pieces it is made of.
    row_bytes = n_genes * 4 if layout == "dense" else min(longest_row, n_genes) * 8 * 3
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
