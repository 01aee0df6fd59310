"""Start-up, conversion, one training epoch and prediction on pbmc_facs: seconds, cells/s and peak memory.

Each figure is a process of its own, so that peak memory is that of the step alone. Writes ``results/spine.md``.
Needs the folder of real sets (``SCNYM_DATA``, default ``../shared/data``).
"""

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from harness import RESULTS, ROOT, Step, machine, measured, passes_timed, run_step, take_turns, timed

import scnym

DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
FACS = DATA / "pbmc_facs" / "pbmc_facs.h5ad"
PROGRAM = Path(sysconfig.get_path("scripts")) / "scnym"
REPEATS = 5


def convert(arguments: Sequence[str]) -> tuple[float, float]:
    """Convert the h5ad, libraries loaded before; give cells and seconds."""
    convert_file = scnym.convert
    target, seconds = timed(lambda: convert_file([FACS], Path(arguments[0]) / f"cells_{os.getpid()}.zarr"))
    return scnym.open_store(target).n_cells, seconds


def epoch(arguments: Sequence[str]) -> tuple[float, float]:
    """Train one epoch of the default network on all cells; give cells and seconds, the first epoch not counted."""
    work = Path(arguments[0])
    settings = scnym.RunSettings(
        label_column="cell_type",
        split=scnym.SplitSettings(n_folds=0),
        training=scnym.TrainSettings(n_epochs=6),
    )
    summary = scnym.train(work / "cells.zarr", work / f"run_{os.getpid()}", settings)
    log = pd.read_csv(summary.folder / "all_data" / "all_data_log.csv")
    cells = len(summary.final.fold.train)
    return cells, cells / float(log["cells_per_second"].iloc[1:].median())


def predict(arguments: Sequence[str]) -> tuple[float, float]:
    """Label all cells of the store a second time, libraries loaded and compiled; give cells and seconds."""
    work = Path(arguments[0])
    target = work / f"labelled_{os.getpid()}"
    scnym.predict(work / "cells.zarr", work / "model.safetensors", target)
    summary, seconds = timed(
        lambda: scnym.predict(work / "cells.zarr", work / "model.safetensors", target, overwrite=True)
    )
    return summary.n_cells, seconds


def stream(arguments: Sequence[str]) -> tuple[float, float]:
    """Stream balanced batches of all genes without a network, the first epoch not counted; give cells and seconds."""
    store = scnym.open_store(Path(arguments[0]) / "cells.zarr")
    codes = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
    settings = scnym.StreamSettings(class_balance="uniform")
    batches = scnym.training_stream(store, codes, store.datasets[0].genes, settings)
    return passes_timed(lambda: sum(len(batch.rows) for batch in batches), 3)


STEPS: dict[str, Step] = {
    "convert": convert,
    "stream, balanced, dense": stream,
    "training epoch": epoch,
    "predict": predict,
}


def help_seconds() -> float:
    """Time ``scnym --help`` as a whole process."""
    return timed(lambda: subprocess.run([PROGRAM, "--help"], check=True, capture_output=True))[1]


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
        plan = {step: partial(measured, Path(__file__), step, work) for step in STEPS}
        for step, rounds in take_turns(plan, REPEATS).items():
            cells = rounds.figures[0].cells
            seconds = cells / rounds.rate
            peak = f"{rounds.peak_bytes / 1e6:,.0f} MB"
            lines.append(f"| {step} | {cells:,} | {seconds:.2f} | {rounds.rate:,.0f} | {peak} |")
    helped = statistics.median(help_seconds() for _ in range(REPEATS))
    table = "\n".join(lines)
    text = (
        "# The main job, step by step\n\n"
        f"pbmc_facs: 3,874 cells x 16,791 genes, h5ad. Medians of {REPEATS} runs, each a process of its own; peak\n"
        f"memory is that of the whole process, libraries included; seconds are without loading them.\n"
        f"{machine()}. Written by `make bench-spine`.\n\n"
        f"{table}\n\n`scnym --help`: {helped:.2f} s\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "spine.md").write_text(text)
    print(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
