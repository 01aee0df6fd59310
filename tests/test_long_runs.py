"""What runs for long takes no more memory, files or threads in the end than at its beginning.

`INPUTS=1000` with `--timeout 7200` labels so many inputs in place of the few here.
"""

import gc
import os
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import clustered_adata, write_csv, write_h5ad

from scnym import NetworkSettings, RunSettings, SplitSettings, StreamSettings, TrainSettings, predict_samples, train
from scnym.base.progress import SilentProgress

INPUTS = int(os.environ.get("INPUTS", "40"))
N_EPOCHS = 60
MOST_GROWTH = 8e6
"""Bytes; what allocators keep is no leak."""
PROC = Path("/proc/self")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PROC.exists(), reason="the system does not tell")]


class Watching(SilentProgress):
    """Notes memory in bytes, open files and threads whenever an epoch or an input is done."""

    def __init__(self, unit: str) -> None:
        self.unit, self.task_unit = unit, ""
        self.seen: list[tuple[int, int, int]] = []

    @contextmanager
    def task(self, name, *, total, unit):
        del name, total
        self.task_unit = unit
        yield self

    def advance(self, amount: int, note: str = "") -> None:
        if bool(note) if self.unit == "epochs" else bool(amount) and self.task_unit == self.unit:
            gc.collect()
            self.seen.append(in_use())

    def require_flat(self) -> None:
        early, late = self.seen[len(self.seen) // 5], self.seen[-1]
        assert late[0] - early[0] < MOST_GROWTH, [
            memory // 10**6 for memory, *_ in self.seen[:: max(1, len(self.seen) // 20)]
        ]
        assert late[1:] <= early[1:]


def in_use() -> tuple[int, int, int]:
    """Return memory in bytes, the number of open files, and that of threads."""
    pages = int((PROC / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list((PROC / "fd").iterdir())), len(list((PROC / "task").iterdir()))


def quick(n_epochs: int) -> RunSettings:
    return RunSettings(
        label_column="cell_type",
        split=SplitSettings(n_folds=0),
        stream=StreamSettings(batch_size=64),
        network=NetworkSettings(n_hidden=8),
        training=TrainSettings(n_epochs=n_epochs, patience=n_epochs),
        device="cpu",
    )


def test_memory_files_and_threads_do_not_grow_with_epochs(tmp_path: Path):
    cells = write_h5ad(tmp_path / "cells.h5ad", clustered_adata(300))
    train(cells, tmp_path / "first", quick(2))  # which starts the threads of the libraries
    before, watching = {thread.name for thread in threading.enumerate()}, Watching("epochs")
    train(cells, tmp_path / "long", quick(N_EPOCHS), progress=watching)
    assert len(watching.seen) >= N_EPOCHS
    watching.require_flat()
    assert {thread.name for thread in threading.enumerate()} == before


def test_memory_files_and_threads_do_not_grow_with_inputs(tmp_path: Path):
    train(write_h5ad(tmp_path / "cells.h5ad", clustered_adata(300)), tmp_path, quick(2))
    (tmp_path / "samples").mkdir()
    first = write_csv(tmp_path / "samples" / "0000.csv", clustered_adata(40))
    for number in range(1, INPUTS):
        shutil.copy(first, tmp_path / "samples" / f"{number:04d}.csv")
    model = tmp_path / "tissue_independent"
    predict_samples(first, model, tmp_path / "first").require_all()
    before, watching = {thread.name for thread in threading.enumerate()}, Watching("samples")
    predict_samples(tmp_path / "samples", model, tmp_path / "many", progress=watching).require_all()
    assert len(watching.seen) == INPUTS
    watching.require_flat()
    assert {thread.name for thread in threading.enumerate()} == before
