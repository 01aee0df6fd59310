"""Prediction of new cells: cells/s, CPU time and peak memory, on a generated atlas of 20,000 genes.

The model is trained on a few thousand cells of the same atlas. Each figure is a process of its own; it labels a small
store to load and compile, and then the time of the pass over all cells counts, with the writing of everything.
Writes ``results/predict.md``.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atlas import AtlasSettings
from fixtures import atlas_files, store_of
from harness import (
    Line,
    Step,
    machine,
    measured,
    run_step,
    table,
    take_turns,
    timed,
    work_folder,
    work_options,
    write_results,
)

import scnym

LABEL = "cell_type"
TRAINING_CELLS = 5_000
WARM_UP_CELLS = 2_000
WANTED_RATE = 10_000
MOST_GROWTH = 1.1
WAYS: dict[str, dict[str, Any]] = {
    "labels alone": {"probabilities": "none"},
    "labels and probabilities": {},
    "probabilities as text": {"probabilities": "csv"},
    "embedding too": {"embedding": True},
}


def predict(arguments: Sequence[str]) -> tuple[float, float]:
    """Label the cells of a store in one of the ways; a small store goes before, to load and compile."""
    work, store, way = Path(arguments[0]), Path(arguments[1]), arguments[2]
    settings, model = scnym.PredictSettings(**WAYS[way]), work / "run" / "tissue_independent"
    target = work / f"labelled_{os.getpid()}"
    scnym.predict(work / "warm_up.zarr", model, target, settings)
    started = time.process_time()
    summary, seconds = timed(lambda: scnym.predict(store, model, target, settings, overwrite=True))
    cpu_seconds = time.process_time() - started
    print(f"{way}: {summary.n_cells / cpu_seconds:,.0f} cells per second of CPU time", file=sys.stderr)
    return summary.n_cells, seconds


STEPS: dict[str, Step] = {"predict": predict}


def prepare(work: Path, n_cells: int) -> list[Path]:
    """Make the model, and stores of a tenth of the cells and of all."""
    sizes = {"training": TRAINING_CELLS, "warm_up": WARM_UP_CELLS, "tenth": n_cells // 10, "all": n_cells}
    stores = {
        name: store_of(atlas_files(work, f"{name}_{size}", AtlasSettings(n_cells=size)), work / f"{name}.zarr")
        for name, size in sizes.items()
    }
    if not (work / "run" / "tissue_independent").exists():
        settings = scnym.RunSettings(
            label_column=LABEL, split=scnym.SplitSettings(n_folds=0), training=scnym.TrainSettings(n_epochs=3)
        )
        scnym.train(stores["training"], work / "run", settings)
    return [stores["tenth"], stores["all"]]


def main() -> None:
    """Measure everything, print and write the table."""
    parser = work_options(__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=100_000)
    options = parser.parse_args()
    with work_folder(options.work) as work:
        tenth, everything = prepare(work, options.cells)
        plan = {way: partial(measured, Path(__file__), "predict", work, everything, way) for way in WAYS} | {
            "a tenth of the cells": partial(
                measured, Path(__file__), "predict", work, tenth, "labels and probabilities"
            )
        }
        figures = take_turns(plan, options.rounds)
    small, large = figures["a tenth of the cells"], figures["labels and probabilities"]
    growth = large.peak_bytes / small.peak_bytes
    lines = [Line(way, f"{WANTED_RATE:,} cells/s", str(figures[way]), figures[way].rate >= WANTED_RATE) for way in WAYS]
    memory = f"at most {MOST_GROWTH} x {small.peak_bytes / 1e6:,.0f} MB"
    grown = f"{growth:.2f} x: {large.peak_bytes / 1e6:,.0f} MB"
    lines.append(Line("peak memory, ten times the cells", memory, grown, growth <= MOST_GROWTH))
    text = (
        "# Prediction\n\n"
        f"A generated atlas of {options.cells:,} cells x 20,000 genes with 1,900 values a cell, 50 classes; a default\n"
        f"network of 256 units. Medians of {options.rounds} rounds, each figure a process of its own; the writing\n"
        "of the results counts, start-up, compiling and conversion do not; peak memory is that of the whole\n"
        "process, libraries included.\n"
        f"{machine()}. Written by `make bench-predict`.\n\n{table(lines)}\n"
    )
    write_results("predict", text, lines, figures)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STEPS:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
