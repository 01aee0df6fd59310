"""Batches from a store: windows are read ahead by one thread, and dealt as normalised batches.

B cells of a batch, C cells of the store, G genes, S sources.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from torch.utils.data import IterableDataset

from scnym.base.errors import DataError, SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.batches import Batch, BatchMaker, Layout, window_size
from scnym.feed.checks import MAX_CLASSES, NO_CODE, Codes, Rows, codes_of, require_shared, rows_of
from scnym.feed.genes import distinct_names, map_datasets
from scnym.feed.plan import BalancedPlan, BatchPlan, InOrderPlan, digest
from scnym.feed.reader import ARENAS, WindowReader
from scnym.feed.resume_state import STATE_VERSION, Passes, StreamState, checked, this_worker

CPM = 1e6
BATCHES_PER_WINDOW, LEAST_WINDOW = 4, 1024
"""Batches that are read together where nothing is shuffled, and rows, if these are more. Larger windows take memory and
were no faster with 256 cells a batch."""


class StreamDataset(IterableDataset[Batch]):
    """Streams batches; each pass over it is the next epoch, in a new order.

    Works alone, and in a ``DataLoader(stream, batch_size=None)``. A background thread reads ahead already; workers
    of a DataLoader give the same batches in the same order, and must be spawned. Each worker keeps only the rows of its
    own batches, but decodes all chunks that hold any: workers speed up what is done with batches, not reading.
    A batch is its holder's for as long as it is held; no other is made in its memory before.

    Parameters
    ----------
    store
        Where the cells are.
    plan
        Which rows make each batch.
    genes
        The model's genes, in order.
    labels_C
        Class code of every row of the store, -1 where there is none, or a pandas category; None for none.
    conditions_C
        The same for the code of the context (tissue).
    normalize_to
        Library size every cell is brought to before ln(x + 1).
    layout
        Whether `Batch.x` is dense or CSR.
    stretch_bytes
        Most memory, in bytes, that rows decoded together may take; twice that is in use.

    Raises
    ------
    DataError
        If the store has none of the genes; if a gene stands twice; if codes, or the plan, are not of as many cells as
        the store has, or are no codes.
    SettingsError
        If library size or layout are not possible.
    """

    def __init__(
        self,
        store: Store,
        plan: BatchPlan,
        genes: Sequence[str],
        labels_C: Codes | None = None,
        *,
        conditions_C: Codes | None = None,
        normalize_to: float = CPM,
        layout: Layout = "dense",
        stretch_bytes: int = StreamSettings.memory_bytes // ARENAS,
    ) -> None:
        _require_possible(normalize_to, layout)
        genes = distinct_names(genes, "genes")
        self._labels_C, self._conditions_C = (
            _codes_or_none(store, codes_C, name)
            for name, codes_C in (("labels_C", labels_C), ("conditions_C", conditions_C))
        )
        if not plan.suits(store.n_cells):
            raise DataError(
                f"the plan is not of a store of {store.n_cells:,} cells", where="plan", way_out="make it for this store"
            )
        self.plan = plan
        self.n_genes = len(genes)
        self.gene_maps = map_datasets(store.datasets, genes)
        require_shared(store.datasets, genes, self.gene_maps)
        self.measured_SG = np.stack([gene_map.present_G for gene_map in self.gene_maps])
        """Which of the model's genes each source measured; bool. A gene that is absent is not zero, but unknown."""
        self._reader = WindowReader(store.datasets, self.gene_maps, normalize_to=normalize_to, max_bytes=stretch_bytes)
        labels_C, conditions_C = self._labels_C, self._conditions_C
        self._maker = BatchMaker(plan, self._reader, labels_C, conditions_C, n_genes=len(genes), layout=layout)
        self._identity = {
            "store": store.content_hash,
            "library_sizes": digest(*(dataset.n_counts_C for dataset in store.datasets)),
            "gene_tables": digest(*(gene_map.table_S for gene_map in self.gene_maps)),
            "genes": hashlib.sha256("\n".join(genes).encode()).hexdigest(),
            "normalize_to": normalize_to,
            "layout": layout,
        }
        self._passes = Passes()
        self._next = (0, 0)
        """Epoch and batch after the last batch that was given here."""
        self._go_on_at: tuple[int, int] | None = None
        """Epoch and batch with which a worker was told to go on."""

    @cached_property
    def read_amplification(self) -> float:
        """Stored values that are decoded, in whole chunks, for every value wanted: those of the first window."""
        return next((self._reader.amplification(window.rows_W) for window in self.plan.windows(0)), 1.0)

    def amplification_if_clustered(self, groups_C: Codes) -> float:
        """Return what `read_amplification` would be in a store whose cells were grouped.

        Parameters
        ----------
        groups_C
            Group of every cell of the store, as a code; -1 for none.

        Raises
        ------
        DataError
            If it is not a code for each cell.
        """
        if not isinstance(self.plan, BalancedPlan):
            return self.read_amplification
        groups_C = codes_of(groups_C, len(self._labels_C), "groups_C")
        order_C = np.lexsort((groups_C, self._reader.sources_of(np.arange(len(groups_C)))))
        window = next(self.plan.rearranged(order_C).windows(0))
        return self._reader.amplification(window.rows_W, order_C)

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one to be streamed, from its first batch.

        Raises
        ------
        SettingsError
            If it is not 0 or more.
        """
        _require_batch(epoch, 0, self.plan.n_batches)
        self._passes.reset(epoch)
        self._next = (epoch, 0)

    def state_dict(self) -> StreamState:
        """Return where the stream is, after the last batch that it gave in this process.

        In a worker of a DataLoader it is the state of this worker, which the same worker of as many takes: torchdata's
        StatefulDataLoader collects them. For a plain DataLoader with workers, see `state_after`.

        Raises
        ------
        SettingsError
            If workers give the batches, ahead of the process that takes them, which is this one.
        """
        worker = this_worker()
        if worker is not None:
            return {**self._state(*self._next), "worker": [*worker]}
        if self._passes.is_elsewhere:
            raise SettingsError(
                "the workers of a DataLoader give the batches; how many of them were taken is not known here",
                where="stream.state_dict()",
                way_out="count the batches taken in an epoch, and ask stream.state_after(epoch, n_batches)",
            )
        return self.state_after(*self._next)

    def state_after(self, epoch: int, n_batches: int) -> StreamState:
        """Return the state of a stream that has given the first `n_batches` of an epoch, and those of all before it.

        Raises
        ------
        SettingsError
            If an epoch has fewer batches.
        """
        _require_batch(epoch, n_batches, self.plan.n_batches)
        return self._state(epoch, n_batches) if n_batches < self.plan.n_batches else self._state(epoch + 1, 0)

    def _state(self, epoch: int, batch: int) -> StreamState:
        return StreamState(version=STATE_VERSION, epoch=epoch, batch=batch, identity=dict(self.identity))

    def load_state_dict(self, state: StreamState) -> None:
        """Go on where a stream was: the next pass gives the rest of that epoch, bit by bit as it would have been.

        Windows whose batches have all been given are not read. In a DataLoader with any number of workers, load the
        state before the loader is iterated, and give it to the stream in the main process. A worker's own state, as
        torchdata's StatefulDataLoader keeps it, is loaded in that worker.

        Raises
        ------
        DataError
            If the state is of another store, or of other genes, cells or labels.
        SettingsError
            If it is of a stream with other settings, or of a worker that this process is not.
        """
        worker = this_worker()
        epoch, batch = checked(state, self.identity, n_batches=self.plan.n_batches, worker=worker)
        if worker is None:
            self._passes.reset(epoch, batch)
            self._next = (epoch, batch)
        else:
            own = batch if state.get("worker") else batch + worker[0]
            self._next = self._go_on_at = (epoch, min(own, self.plan.n_batches))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides what is in the batches, and in which order, as plain values."""
        told = {"labels": self._labels_C, "conditions": self._conditions_C}
        digests = {name: digest(codes_C.astype(np.int64, copy=False)) for name, codes_C in told.items()}
        return {**self._identity, **digests, **self.plan.identity()}

    def __len__(self) -> int:
        return self.plan.n_batches

    def __iter__(self) -> Iterator[Batch]:
        worker = this_worker()
        return self._next_epoch() if worker is None else self._epoch_of_worker(*worker)

    def _next_epoch(self) -> Iterator[Batch]:
        """Yield the next epoch; it begins with its first batch, so that none is lost by asking for batches in vain."""
        epoch, first_batch = self._passes.begin()
        yield from self.epoch(epoch, first_batch=first_batch)

    def _epoch_of_worker(self, worker: int, n_workers: int) -> Iterator[Batch]:
        """Begin the next epoch at once, as all workers do, or go on with the one that was loaded."""
        if self._go_on_at is None:
            epoch, batch = self._passes.begin()
            self._next = (epoch, min(batch + worker, self.plan.n_batches))
        else:
            self._passes.begin(self._go_on_at[0])
            self._next, self._go_on_at = self._go_on_at, None
        epoch, batch = self._next
        return self._given(epoch, range(batch, self.plan.n_batches, n_workers))

    def epoch(
        self, epoch: int, *, first_batch: int = 0, worker: int = 0, n_workers: int = 1, share: tuple[int, int] = (0, 1)
    ) -> Iterator[Batch]:
        """Return the batches of one epoch, or a share of each.

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
            If there is no such epoch, batch or worker, or a batch has fewer cells than there are processes.
        """
        _require_batch(epoch, first_batch, self.plan.n_batches)
        if not 0 <= worker < n_workers:
            raise SettingsError(
                f"there is no worker {worker} of {n_workers}", where="worker", way_out="number them from 0"
            )
        return self._given(epoch, range(first_batch + worker, self.plan.n_batches, n_workers), share)

    def _given(self, epoch: int, numbers: range, share: tuple[int, int] = (0, 1)) -> Iterator[Batch]:
        """Yield the batches of an epoch that have these numbers, or a share of each, and note how far it has come."""
        step = 1 if this_worker() is None else numbers.step
        for number, batch in self._maker.batches(epoch, numbers, share):
            self._next = (epoch, min(number + step, self.plan.n_batches))
            yield batch
            del batch  # or its memory would be held while the next is made


def _codes_or_none(store: Store, codes_C: Codes | None, name: str) -> np.ndarray:
    if codes_C is None:
        return np.broadcast_to(np.int8(NO_CODE), store.n_cells)  # takes no memory
    return codes_of(codes_C, store.n_cells, name)


def _require_possible(normalize_to: float, layout: str) -> None:
    if not isinstance(normalize_to, Real) or not 0 < float(normalize_to) < float("inf"):
        raise SettingsError(
            f"{normalize_to!r} is not possible", where="normalize_to", way_out="give a library size, such as 1e4"
        )
    if layout not in get_args(Layout):
        raise SettingsError(f"{layout!r} is not possible", where="layout", way_out="give dense or csr")


def _require_batch(epoch: int, batch: int, n_batches: int) -> None:
    if not isinstance(epoch, Integral) or epoch < 0:
        raise SettingsError(f"there is no epoch {epoch!r}", where="epoch", way_out="epochs are numbered from 0")
    if not isinstance(batch, Integral) or not 0 <= batch <= n_batches:
        raise SettingsError(
            f"an epoch of {n_batches:,} batches cannot be at {batch!r}", where="batch", way_out="count them per epoch"
        )


def training_stream(
    store: Store,
    codes_C: Codes,
    genes: Sequence[str],
    settings: StreamSettings,
    *,
    conditions_C: Codes | None = None,
    normalize_to: float = CPM,
    layout: Layout = "dense",
) -> StreamDataset:
    """Stream shuffled, class-balanced batches of the rows whose code is not -1, for a training loop.

    Parameters
    ----------
    store
        Where the cells are.
    codes_C
        Class code of every row of the store, in its order: an array, a list, a Series, or a pandas category.
    genes
        Names, in order; see `gene_list`.
    settings
        Sizes, balance, memory, seed.
    conditions_C, normalize_to, layout
        As for `StreamDataset`.

    Raises
    ------
    SettingsError
        If the memory cap is too small for a batch; if library size or layout are not possible.
    DataError
        If fewer than two rows may be drawn; if codes are not of as many cells as the store has, or are no codes; if a
        gene stands twice, or the store has none.
    """
    codes_C = codes_of(codes_C, store.n_cells, "codes_C", n_classes=MAX_CLASSES)
    genes = distinct_names(genes, "genes")
    stretch_bytes, window_rows = window_size(store, len(genes), settings, layout)
    plan = BalancedPlan(
        codes_C,
        class_balance=settings.class_balance,
        batch_size=settings.batch_size,
        window_rows=window_rows,
        block_rows=settings.block_rows,
        seed=settings.seed,
        max_repeat=settings.max_repeat,
    )
    shared: Any = {"normalize_to": normalize_to, "layout": layout, "stretch_bytes": stretch_bytes}
    return StreamDataset(store, plan, genes, codes_C, conditions_C=conditions_C, **shared)


def in_order_stream(
    store: Store,
    rows_C: Rows,
    genes: Sequence[str],
    settings: StreamSettings,
    labels_C: Codes | None = None,
    *,
    conditions_C: Codes | None = None,
    normalize_to: float = CPM,
    layout: Layout = "dense",
) -> StreamDataset:
    """Stream the given rows once, in the order of the store.

    Of `settings`, `window_rows` is the most that is read together: as nothing is shuffled, four batches are enough.

    Parameters
    ----------
    store
        Where the cells are.
    rows_C
        Row numbers, ascending, each once; or whether each row of the store is wanted.
    genes
        Names, in order; see `gene_list`.
    settings
        Sizes and memory.
    labels_C, conditions_C, normalize_to, layout
        As for `StreamDataset`.

    Raises
    ------
    SettingsError
        If the memory cap is too small for a batch; if library size or layout are not possible.
    DataError
        If rows are not in the store, not ascending, or stand twice; if codes are not of as many cells as the store has,
        or are no codes; if a gene stands twice, or the store has none.
    """
    rows = rows_of(rows_C, store.n_cells, "rows_C")
    genes = distinct_names(genes, "genes")
    stretch_bytes, window_rows = window_size(store, len(genes), settings, layout)
    window_rows = min(window_rows, max(LEAST_WINDOW, BATCHES_PER_WINDOW * settings.batch_size))
    plan = InOrderPlan(rows, batch_size=settings.batch_size, window_rows=window_rows)
    shared: Any = {"normalize_to": normalize_to, "layout": layout, "stretch_bytes": stretch_bytes}
    return StreamDataset(store, plan, genes, labels_C, conditions_C=conditions_C, **shared)
