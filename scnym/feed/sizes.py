"""How much is read together, and in which layout, so that a stream is fast and stays below its memory cap."""

import numpy as np

from scnym.base.errors import SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.rows import REQUEST_ELEMENTS
from scnym.disk.store import Store
from scnym.feed.batches import Layout
from scnym.feed.reader import ARENAS

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
    """Give the layout in which a training step on these counts is faster."""
    n_values = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    n_places = sum(dataset.n_cells * len(dataset.genes) for dataset in store.datasets)
    return "csr" if n_values < MAX_CSR_DENSITY * n_places else "dense"


def window_size(store: Store, n_genes: int, settings: StreamSettings, layout: Layout) -> tuple[int, int]:
    """Give the bytes that rows decoded together may take, and the rows of a window, so that all stays below the cap."""
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
