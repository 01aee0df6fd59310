"""Start-up, conversion, one training epoch and prediction on pbmc_facs: seconds, cells/s and peak memory.

Each figure is a process of its own, so that peak memory is that of the step alone. Writes ``results/spine.md``.
Needs the folder of real sets (``SCNYM_DATA``, default ``../shared/data``).
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import scnym

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
FACS = DATA / "pbmc_facs" / "pbmc_facs.h5ad"
PROGRAM = Path(sysconfig.get_path("scripts")) / "scnym"
REPEATS = 5
RESULTS = ROOT / "benchmarks" / "results"


def convert(work: Path) -> tuple[int, float]:
    """Convert the h5ad, libraries loaded before; give cells and seconds."""
    convert_file = scnym.convert
    started = time.perf_counter()
    target = convert_file([FACS], work / f"cells_{os.getpid()}.zarr")
    return scnym.open_store(target).n_cells, time.perf_counter() - started


def epoch(work: Path) -> tuple[int, float]:
    """Train one epoch of the default network on all cells; give cells and seconds, the first epoch not counted."""
    settings = scnym.RunSettings(
        label_column="cell_type",
        split=scnym.SplitSettings(n_folds=0),
        training=scnym.TrainSettings(n_epochs=6),
    )
    out = work / f"run_{os.getpid()}"
    summary = scnym.train(work / "cells.zarr", out, settings)
    log = pd.read_csv(summary.folder / "all_data" / "all_data_log.csv")
    cells = len(summary.final.fold.train)
    return cells, cells / float(log["cells_per_second"].iloc[1:].median())


def predict(work: Path) -> tuple[int, float]:
    """Label all cells of the store a second time, libraries loaded and compiled; give cells and seconds."""
    target = work / f"labelled_{os.getpid()}"
    scnym.predict(work / "cells.zarr", work / "model.safetensors", target)
    started = time.perf_counter()
    summary = scnym.predict(work / "cells.zarr", work / "model.safetensors", target, overwrite=True)
    return summary.n_cells, time.perf_counter() - started


def stream(work: Path) -> tuple[int, float]:
    """Stream balanced batches of all genes without a network, the first epoch not counted; give cells and seconds."""
    store = scnym.open_store(work / "cells.zarr")
    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    settings = scnym.StreamSettings(class_balance="uniform")
    batches = scnym.training_stream(store, codes, store.datasets[0].genes, settings)
    sum(len(batch.rows) for batch in batches)
    started = time.perf_counter()
    n_cells = sum(len(batch.rows) for _ in range(3) for batch in batches)
    return n_cells, time.perf_counter() - started


STEPS: dict[str, Callable[[Path], tuple[int, float]]] = {
    "convert": convert,
    "stream, balanced, dense": stream,
    "training epoch": epoch,
    "predict": predict,
}


def measured(step: str, work: Path) -> dict[str, float]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, step, str(work)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **PASSIVE})
    return json.loads(done.stdout.splitlines()[-1])


PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}


def help_seconds() -> float:
    """Time ``scnym --help`` as a whole process."""
    started = time.perf_counter()
    subprocess.run([PROGRAM, "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure everything, print and write the table."""
    lines = ["| step | cells | seconds | cells/s | peak memory |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        scnym.convert([FACS], work / "cells.zarr")
        settings = scnym.RunSettings(
            label_column="cell_type",
            split=scnym.SplitSettings(n_folds=0),
            training=scnym.TrainSettings(n_epochs=1),
        )
        model = scnym.train(work / "cells.zarr", work / "first", settings).model_path
        (work / "model.safetensors").write_bytes(model.read_bytes())
        for step in STEPS:
            runs = [measured(step, work) for _ in range(REPEATS)]
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = statistics.median(run["peak_bytes"] for run in runs)
            cells = int(runs[0]["cells"])
            lines.append(f"| {step} | {cells:,} | {seconds:.2f} | {cells / seconds:,.0f} | {peak / 1e6:,.0f} MB |")
    helped = statistics.median(help_seconds() for _ in range(REPEATS))
    table = "\n".join(lines)
    text = (
        "# The main job, step by step\n\n"
        f"pbmc_facs: 3,874 cells x 16,791 genes, h5ad. Medians of {REPEATS} runs, each a process of its own; peak\n"
        f"memory is that of the whole process, libraries included; seconds are without loading them.\n"
        f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}. Written by `make bench-spine`.\n\n"
        f"{table}\n\n`scnym --help`: {helped:.2f} s\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "spine.md").write_text(text)
    print(text)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        n_cells, seconds = STEPS[sys.argv[1]](Path(sys.argv[2]))
        # The high-water mark of this program alone; getrusage would count the parent's memory before the start.
        status = Path("/proc/self/status").read_text()
        peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
        print(json.dumps({"cells": n_cells, "seconds": seconds, "peak_bytes": peak}))
    else:
        main()
