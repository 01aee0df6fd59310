"""The whole way at two sizes: convert, train a balanced epoch, cross-validate, predict; memory, and time per cell.

A generated atlas of 20,000 genes, 50 types and 5 tissues. Each figure is a process of its own. A last process takes the
training step apart. Writes ``results/scale.md``, ``.json`` and ``.png``.

C cells.
"""

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from atlas import AtlasSettings
from fixtures import atlas_files
from harness import (
    RESULTS,
    Figure,
    Line,
    Rounds,
    Step,
    growth_lines,
    machine,
    measured,
    put_out_of_memory,
    run_step,
    table,
    take_turns,
    timed,
    work_folder,
    work_options,
    write_results,
)
from matplotlib import pyplot as plt

import scnym
from scnym.disk.store import Dataset
from scnym.feed.batches import CsrStack
from scnym.model.network import CellTypeNetwork
from scnym.model.optimizers import Optimizers

LABEL = "cell_type"
MOST_BYTES = 2e9
MOST_WAIT = 0.1
STAGES = ("convert", "train one balanced epoch", "cross-validate, two folds", "predict")


def convert(arguments: Sequence[str]) -> tuple[float, float]:
    """Convert the h5ad: FILE, STORE."""
    source, target = map(Path, arguments)
    shutil.rmtree(target, ignore_errors=True)
    convert_file, open_store = scnym.convert, scnym.open_store
    _, seconds = timed(lambda: convert_file([source], target))
    return open_store(target).n_cells, seconds


def train(arguments: Sequence[str]) -> tuple[float, float]:
    """Train one balanced epoch, with selection, and write the model: STORE, FOLDER; the pass over all cells counts."""
    summary, seconds = timed(lambda: scnym.train(arguments[0], arguments[1], _settings(n_folds=0)))
    log = pd.read_csv(summary.folder / "all_data" / "all_data_log.csv")
    print(f"waiting for batches: {log['wait_share'].iloc[0]:.3f} of the epoch", file=sys.stderr)
    return scnym.open_store(arguments[0]).n_cells, seconds


def cross_validate(arguments: Sequence[str]) -> tuple[float, float]:
    """Train two folds and the final model, an epoch each, and judge them: STORE, FOLDER."""
    _, seconds = timed(lambda: scnym.train(arguments[0], arguments[1], _settings(n_folds=2)))
    return scnym.open_store(arguments[0]).n_cells, seconds


def predict(arguments: Sequence[str]) -> tuple[float, float]:
    """Label all cells: STORE, MODEL, FOLDER."""
    summary, seconds = timed(lambda: scnym.predict(arguments[0], arguments[1], arguments[2], overwrite=True))
    return summary.n_cells, seconds


def _settings(n_folds: int) -> scnym.RunSettings:
    return scnym.RunSettings(
        label_column=LABEL,
        overwrite=True,
        split=scnym.SplitSettings(n_folds=n_folds),
        stream=scnym.StreamSettings(class_balance="uniform"),
        training=scnym.TrainSettings(n_epochs=1, refit_cells=0),
    )


class Clock:
    """Adds up the seconds that some methods take, by name, while a network is in training.

    The passes that scale the input, select and judge read cells by the same methods; they do not count.

    Parameters
    ----------
    network
        Class of the network: its `train` and `eval` say when it is in training.
    """

    def __init__(self, network: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._runs = False
        switch = network.train

        def watched_switch(one: Any, mode: bool = True) -> Any:
            self._runs = mode
            return switch(one, mode)

        network.train = watched_switch

    def time(self, name: str, owner: type, method: str) -> None:
        """Time every call of a method in training from now on."""
        real = getattr(owner, method)

        def timed_call(*arguments: Any, **named: Any) -> Any:
            result, seconds = timed(lambda: real(*arguments, **named))
            if self._runs:
                self.seconds[name] = self.seconds.get(name, 0.0) + seconds
            return result

        setattr(owner, method, timed_call)


def take_apart(arguments: Sequence[str]) -> tuple[float, float]:
    """Train an epoch with clocks on its parts, and keep the share of each: STORE, FOLDER, TARGET."""
    clock = Clock(CellTypeNetwork)
    clock.time("read and decode (in a thread of its own, beside the others)", Dataset, "read_rows")
    clock.time("align, normalise, put into batches", CsrStack, "add")
    clock.time("align, normalise, put into batches", CsrStack, "tensor")
    clock.time("forward", CellTypeNetwork, "path_logits")
    clock.time("backward", torch.Tensor, "backward")
    clock.time("optimiser, with backward", Optimizers, "step")
    summary = scnym.train(arguments[0], arguments[1], _settings(n_folds=0))
    epoch = pd.read_csv(summary.folder / "all_data" / "all_data_log.csv").iloc[0]
    n_cells = len(summary.final.fold.train)
    seconds = n_cells / epoch["cells_per_second"]
    clock.seconds["optimiser"] = clock.seconds.pop("optimiser, with backward") - clock.seconds["backward"]
    shares = {name: spent / seconds for name, spent in clock.seconds.items()}
    record = {"cells_per_second": epoch["cells_per_second"], "waiting": epoch["wait_share"], "parts": shares}
    Path(arguments[2]).write_text(json.dumps(record), encoding="utf-8")
    return n_cells, seconds


STEPS: dict[str, Step] = {
    **dict(zip(STAGES, (convert, train, cross_validate, predict), strict=True)),
    "take apart": take_apart,
}


def plan_of(work: Path, n_cells: int) -> dict[str, Callable[[], Figure]]:
    """List what is measured for one size; the steps of a round build on each other."""
    (source,) = atlas_files(work, f"scale_{n_cells}", AtlasSettings(n_cells=n_cells))
    store, run = work / f"scale_{n_cells}.zarr", work / f"scale_run_{n_cells}"
    model = run / "tissue_independent"
    arguments: dict[str, tuple[Path, ...]] = {
        "convert": (source, store),
        "train one balanced epoch": (store, run),
        "cross-validate, two folds": (store, work / f"scale_folds_{n_cells}"),
        "predict": (store, model, run),
    }
    return {f"{stage}, {n_cells:,}": partial(_from_disk, stage, arguments[stage]) for stage in STAGES}


def _from_disk(stage: str, arguments: Sequence[Path]) -> Figure:
    """Measure a stage with its input on disk alone, whatever its size."""
    put_out_of_memory(arguments[0])
    return measured(Path(__file__), stage, *arguments)


def verdicts(figures: Mapping[str, Rounds], small: int, large: int, parts: Mapping[str, Any]) -> list[Line]:
    """Compare with the bars: memory, growth, waiting."""
    lines = []
    for stage in STAGES:
        few, many = figures[f"{stage}, {small:,}"], figures[f"{stage}, {large:,}"]
        peak = max(few.peak_bytes, many.peak_bytes)
        lines.append(Line(stage, f"at most {MOST_BYTES / 1e9:g} GB", str(many), peak <= MOST_BYTES))
        lines += growth_lines(stage, few, many)
    waiting = parts["waiting"]
    return [
        *lines,
        Line("training: waiting for batches", f"at most {MOST_WAIT:.0%}", f"{waiting:.1%}", waiting <= MOST_WAIT),
    ]


def step_table(parts: Mapping[str, Any]) -> str:
    """Format the parts of a training epoch as a Markdown table."""
    rows = [f"| {name} | {share:.1%} |" for name, share in parts["parts"].items()]
    return "\n".join(
        ["| part | share of the epoch |", "|---|---|", *rows, f"| waiting for batches | {parts['waiting']:.1%} |"]
    )


def draw(figures: Mapping[str, Rounds], sizes: Sequence[int], path: Path) -> None:
    """Plot time per cell and peak memory of every stage over the number of cells."""
    plot, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for stage in STAGES:
        rounds = [figures[f"{stage}, {size:,}"] for size in sizes]
        time_axes.plot(sizes, [1e6 / some.rate for some in rounds], marker="o", label=stage)
        memory_axes.plot(sizes, [some.peak_bytes / 1e9 for some in rounds], marker="o", label=stage)
    for axes, label in ((time_axes, "microseconds per cell"), (memory_axes, "peak memory, GB")):
        axes.set(xscale="log", xlabel="cells", ylabel=label)
        axes.set_ylim(bottom=0)
    memory_axes.axhline(MOST_BYTES / 1e9, color="grey", linestyle=":")
    plot.legend(*time_axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(STAGES), frameon=False)
    plot.savefig(path, dpi=150)


def main() -> None:
    """Measure everything, print and write the table."""
    parser = work_options(str(__doc__).splitlines()[0])
    parser.add_argument("--cells", type=int, nargs=2, default=(100_000, 1_000_000), help="the two sizes")
    options = parser.parse_args()
    small, large = options.cells
    with work_folder(options.work) as work:
        figures = take_turns({**plan_of(work, small), **plan_of(work, large)}, options.rounds)
        record = work / "scale_parts.json"
        measured(Path(__file__), "take apart", work / f"scale_{small}.zarr", work / "scale_parts", record)
        parts = json.loads(record.read_text(encoding="utf-8"))
    lines = verdicts(figures, small, large, parts)
    text = (
        "# Scale\n\n"
        f"A generated atlas of 20,000 genes with 1,900 values a cell, 50 types, 5 tissues: {small:,} and {large:,}\n"
        f"cells. Rounds, of which medians are given: {options.rounds}. Each figure is a process of its own.\n"
        "Inputs are on disk, and not in memory, when a figure begins.\n"
        "All but start-up counts: reading, writing, selection, judgement. Epochs draw all types equally often. Peak\n"
        "memory is that of the whole process, libraries included.\n"
        f"{machine()}. Written by `make bench-scale`.\n\n{table(lines)}\n\n"
        "![time per cell and memory](scale.png)\n\n"
        f"## A training epoch, taken apart\n\n{small:,} cells, {parts['cells_per_second']:,.0f} cells/s.\n\n"
        f"{step_table(parts)}\n"
    )
    write_results("scale", text, lines, figures)
    draw(figures, (small, large), RESULTS / "scale.png")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in STEPS:
        run_step(STEPS, sys.argv[1:])
    else:
        main()
