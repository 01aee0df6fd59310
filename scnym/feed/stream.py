"""Batches from a store: windows are read ahead by one thread, and dealt as normalised batches.

B cells of a batch, G genes, W cells of a window, R rows of one source in a batch.
"""

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from scnym.base.errors import SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.rows import CsrRows
from scnym.disk.store import Dataset, Store
from scnym.feed.genes import GeneMap, map_genes
from scnym.feed.kernel import count_kept, fill_csr, fill_dense, library_factors
from scnym.feed.plan import BalancedPlan, BatchPlan, InOrderPlan, Window

Layout = Literal["dense", "csr"]
CPM = 1e6
MAX_CSR_DENSITY = 0.2
"""Share of non-zero values above which dense products are faster than sparse ones."""
MAX_WORKERS = 256
WINDOW_COPIES = 6
"""Windows in memory at once: one dealt from, one waiting, one being decoded, each up to 1.75 times its usual size."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells ready for the network."""

    x: torch.Tensor
    """ln(CPM+1) of the model's genes (or per another library size), float32, shape (B, G), dense or CSR."""
    labels: torch.Tensor
    """Class codes, -1 where there is none, int64, shape (B,)."""
    rows: np.ndarray
    """Row numbers in the store, shape (B,)."""


class StreamDataset(IterableDataset[Batch]):
    """Streams batches; each pass over it is the next epoch, in a new order.

    Works alone, and in a ``DataLoader(stream, batch_size=None)``. A background thread reads ahead already; workers
    of a DataLoader give the same batches in the same order, and must be spawned.

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
    normalize_to
        Library size every cell is brought to before ln(x + 1).
    layout
        Whether `Batch.x` is dense or CSR.
    reuse_buffer
        Give every dense batch in the same memory. Faster, but a batch is only good until the next one is asked for.
    """

    def __init__(
        self,
        store: Store,
        plan: BatchPlan,
        genes: Sequence[str],
        labels_C: np.ndarray | None = None,
        *,
        normalize_to: float = CPM,
        layout: Layout = "dense",
        reuse_buffer: bool = False,
    ) -> None:
        self.plan = plan
        self.n_genes = len(genes)
        self.gene_maps = [map_genes(dataset.genes, genes) for dataset in store.datasets]
        self._datasets = store.datasets
        self._first_rows = np.cumsum([0, *(dataset.n_cells for dataset in store.datasets)])
        self._labels_C = np.full(store.n_cells, -1) if labels_C is None else labels_C
        self._normalize_to = normalize_to
        self._layout = layout
        self._reuse_buffer = reuse_buffer
        self._buffer_BG = np.empty((0, self.n_genes), np.float32)
        # Shared memory, because workers that do not persist would forget which epochs they have already given.
        self._epochs_begun = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next one to be streamed."""
        self._epochs_begun.fill_(epoch)

    def __len__(self) -> int:
        return self.plan.n_batches

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, n_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch = int(self._epochs_begun[number])
        self._epochs_begun[number] += 1
        return self.epoch(epoch, worker=number, n_workers=n_workers)

    def epoch(self, epoch: int, *, worker: int = 0, n_workers: int = 1) -> Iterator[Batch]:
        """Give the batches of one epoch; of several workers, each gives every n-th."""
        sizes = iter(self.plan.batch_sizes())
        number, size, pieces = 0, int(next(sizes, 0)), []
        for window in self._windows(epoch):
            dealt = 0
            while dealt < window.n_rows:
                filled = sum(len(piece) for piece in pieces)
                taken = min(size - filled, window.n_rows - dealt)
                pieces.append(window.piece(dealt, dealt + taken))
                dealt += taken
                if filled + taken == size:
                    if number % n_workers == worker:
                        yield self._batch(pieces, size)
                    number, size, pieces = number + 1, int(next(sizes, 0)), []

    def _batch(self, pieces: Sequence["_Piece"], size: int) -> Batch:
        rows = np.concatenate([piece.rows for piece in pieces])
        parts, at = [], 0
        for piece in pieces:
            parts += piece.parts(at)
            at += len(piece)
        x_BG = self._csr(parts, size) if self._layout == "csr" else self._dense(parts, size)
        return Batch(x_BG, torch.from_numpy(self._labels_C[rows].astype(np.int64)), rows)

    def _dense(self, parts: Sequence["_Part"], size: int) -> torch.Tensor:
        if not self._reuse_buffer or len(self._buffer_BG) < size:
            self._buffer_BG = np.empty((size, self.n_genes), np.float32)
        x_BG = self._buffer_BG[:size]
        for at, rows, decoded in parts:
            fill_dense(x_BG, at, rows, *decoded.matrix, *decoded.scaling)
        return torch.from_numpy(x_BG)

    def _csr(self, parts: Sequence["_Part"], size: int) -> torch.Tensor:
        lengths_B = np.empty(size, np.int64)
        for at, rows, decoded in parts:
            count_kept(lengths_B, at, rows, *decoded.matrix[:2], decoded.scaling[1])
        indptr = np.zeros(size + 1, np.int32)
        np.cumsum(lengths_B, out=indptr[1:])
        indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
        for at, rows, decoded in parts:
            fill_csr(indptr, indices, values, at, rows, *decoded.matrix, *decoded.scaling)
        return csr_tensor(indptr, indices, values, (size, self.n_genes))

    def _windows(self, epoch: int) -> Iterator["_DecodedWindow"]:
        """Decode windows one ahead of the one in use."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scnym-read-ahead") as reader:
            ready = None
            for window in self.plan.windows(epoch):
                upcoming = reader.submit(self._decode, window)
                if ready is not None:
                    yield ready.result()
                ready = upcoming
            if ready is not None:
                yield ready.result()

    def _decode(self, window: Window) -> "_DecodedWindow":
        source_W = np.searchsorted(self._first_rows, window.rows_W, side="right") - 1
        local_W = np.empty(len(window.rows_W), np.int64)
        decoded: dict[int, _DecodedRows] = {}
        for source in np.unique(source_W):
            mine = source_W == source
            wanted, local_W[mine] = np.unique(window.rows_W[mine] - self._first_rows[source], return_inverse=True)
            decoded[int(source)] = self._read(self._datasets[source], wanted, self.gene_maps[source])
        return _DecodedWindow(window.rows_W, source_W, local_W, decoded)

    def _read(self, dataset: Dataset, rows: np.ndarray, gene_map: GeneMap) -> "_DecodedRows":
        factors = library_factors(dataset.n_counts_C[rows], self._normalize_to)
        return _DecodedRows(dataset.read_rows(rows), factors, gene_map.table_S, dataset.is_log)


@dataclass(frozen=True, slots=True)
class _DecodedRows:
    """Rows of one source, in memory."""

    counts: CsrRows
    factors: np.ndarray
    table_S: np.ndarray
    is_log: bool

    @property
    def matrix(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.counts.indptr_C1, self.counts.indices_N, self.counts.values_N

    @property
    def scaling(self) -> tuple[np.ndarray, np.ndarray, bool]:
        return self.factors, self.table_S, self.is_log


_Part = tuple[np.ndarray, np.ndarray, _DecodedRows]
"""Where in the batch rows go (R,), which decoded rows they are (R,), and of which source."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a window that goes into one batch."""

    rows: np.ndarray
    source: np.ndarray
    local: np.ndarray
    decoded: dict[int, _DecodedRows]

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, first: int) -> list[_Part]:
        """Give the rows of each source, for a batch in which this piece begins at row `first`."""
        found = [(np.flatnonzero(self.source == source), decoded) for source, decoded in self.decoded.items()]
        return [(first + mine, self.local[mine], decoded) for mine, decoded in found if len(mine)]


@dataclass(frozen=True, slots=True)
class _DecodedWindow:
    """A window whose rows are in memory."""

    rows_W: np.ndarray
    source_W: np.ndarray
    local_W: np.ndarray
    decoded: dict[int, _DecodedRows]

    @property
    def n_rows(self) -> int:
        return len(self.rows_W)

    def piece(self, start: int, stop: int) -> _Piece:
        dealt = slice(start, stop)
        return _Piece(self.rows_W[dealt], self.source_W[dealt], self.local_W[dealt], self.decoded)


def csr_tensor(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Give a torch CSR tensor over the same memory."""
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
    plan = BalancedPlan(
        codes_C,
        class_balance=settings.class_balance,
        batch_size=settings.batch_size,
        window_rows=_window_rows(store, len(genes), settings),
        block_rows=settings.block_rows,
        seed=settings.seed,
    )
    return StreamDataset(store, plan, genes, codes_C, normalize_to=normalize_to, layout=layout, reuse_buffer=True)


def in_order_stream(
    store: Store,
    rows_C: np.ndarray,
    genes: Sequence[str],
    settings: StreamSettings,
    labels_C: np.ndarray | None = None,
    *,
    normalize_to: float = CPM,
    layout: Layout = "dense",
) -> StreamDataset:
    """Stream the given rows once, in the order of the store; dense batches all stand in the same memory.

    Raises
    ------
    SettingsError
        If the memory cap is too small for a batch.
    """
    plan = InOrderPlan(rows_C, batch_size=settings.batch_size, window_rows=_window_rows(store, len(genes), settings))
    return StreamDataset(store, plan, genes, labels_C, normalize_to=normalize_to, layout=layout, reuse_buffer=True)


def _window_rows(store: Store, n_genes: int, settings: StreamSettings) -> int:
    """Rows per window, so that all windows and a dense batch stay below the cap even where the rows are longest."""
    batch_bytes = settings.batch_size * n_genes * 4
    room = settings.memory_bytes - batch_bytes
    row_bytes = max(_longest_block_row_bytes(dataset, settings.block_rows) for dataset in store.datasets)
    rows = int(room / (WINDOW_COPIES * row_bytes))
    if rows < settings.batch_size:
        raise SettingsError(
            f"batches of {settings.batch_size:,} cells x {n_genes:,} genes do not fit into "
            f"{settings.memory_bytes / 1e6:,.0f} MB",
            way_out="take smaller batches (--batch_size), or allow more memory (--stream_memory)",
        )
    return min(max(settings.window_rows, settings.batch_size), rows)


def _longest_block_row_bytes(dataset: Dataset, block_rows: int) -> float:
    """Bytes per row in the block with the most values."""
    bounds = np.append(np.arange(0, dataset.n_cells, block_rows), dataset.n_cells)
    elements = np.diff(dataset.indptr_C1[bounds]) / np.diff(bounds)
    return float(elements.max(initial=1.0)) * dataset.bytes_per_element + 16
