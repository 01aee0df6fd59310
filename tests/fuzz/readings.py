"""How scnym opens and reads a file of each kind, all of it, as its commands do."""

import contextlib
import io
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch

from scnym import verify
from scnym.base.progress import SILENT
from scnym.base.settings import ConvertSettings, StreamSettings
from scnym.disk.formats.detect import open_source
from scnym.disk.formats.source import GroupSource, Scattered, TurnedSource
from scnym.disk.obs_var import carry_groups, storable
from scnym.disk.parts import Parts, ValueChecks, canonical
from scnym.disk.store import Store
from scnym.disk.values.scales import reading_of
from scnym.feed.stream import in_order_stream
from scnym.model.snapshot import Snapshot

SETTINGS = ConvertSettings()
MAX_ELEMENTS = 2**16
GENES_OPTION = "training_genes.txt"
"""List of genes that lies beside the folder of bare weights."""


def read_source(path: Path, settings: ConvertSettings = SETTINGS) -> None:
    """Open a raw input and read all of it, as a conversion does."""
    source = open_source(path, settings)
    with contextlib.ExitStack() as stack:
        if isinstance(source, Scattered):
            scratch = path.parent / "turned"
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            source = TurnedSource(source, scratch, SILENT)
        checks = ValueChecks(source.path, source.var.index)
        parts = Parts(Path(stack.enter_context(TemporaryDirectory(dir=path.parent))))
        for block in source.blocks(MAX_ELEMENTS):
            checks.check(block.counts_CG, block.cells)
            counts_CG = canonical(block.counts_CG)
            parts.add(counts_CG, block.cells, checks.range_of(counts_CG, block.cells))
        reading_of(source, parts, parts.value_range(), "auto")
        original = source.source if isinstance(source, TurnedSource) else source
        if isinstance(original, GroupSource):
            with original.other_groups() as groups, h5py.File(io.BytesIO(), "w") as scratch_file:
                carry_groups(groups, scratch_file, max_memory_bytes=SETTINGS.max_memory_bytes)
        for frame in (source.var, source.obs):
            if frame is not None:
                storable(frame)


def read_store(path: Path) -> None:
    """Open a store, read its annotations and rows, stream its cells, compare its hashes."""
    store = Store(path)
    if len(store.obs) != store.n_cells:
        raise AssertionError("annotations of another number of cells")
    store.column("cell_type")
    genes = store.datasets[0].genes
    for dataset in store.datasets:
        rows = dataset.read_rows(np.arange(dataset.n_cells))
        if len(rows.values_N) != rows.indptr_C1[-1]:
            raise AssertionError("another number of values")
    for batch in in_order_stream(store, np.arange(store.n_cells), genes, StreamSettings(batch_size=4)):
        del batch
    verify(path)


def read_model(path: Path) -> None:
    """Load a model and label two cells."""
    _label(Snapshot.load(path))


def read_folder_of(run: Path) -> None:
    """Load the bare weights in a folder, with the genes beside it."""
    _label(Snapshot.load(run / "weights.pkl", run.parent / GENES_OPTION))


@torch.no_grad()
def _label(snapshot: Snapshot) -> None:
    logits_BK, _ = snapshot.network.logits_and_embedding(torch.zeros(2, len(snapshot.card.genes)))
    if logits_BK.shape != (2, len(snapshot.card.classes)):
        raise AssertionError("not a value for each class")
