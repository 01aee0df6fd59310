"""Accuracy of default settings on every labelled set at hand, beside three rivals that label the same cells.

Logistic regression (C=1) and nearest centroid read ln(CP10k+1), unscaled; CellTypist is trained as its manual
recommends. All methods learn from the same cells; scnym sets some of these aside for selection. Each run is a process
of its own with one thread, as many at a time as there are cores. Splits of a set are judged together.
Writes ``results/accuracy.md`` and ``.json``.

C cells, R runs of a method on a task.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from accuracy_sets import Task, all_tasks
from harness import RESULTS, Line, machine, measured, table, work_folder, work_options
from rivals import CELLTYPIST
from sklearn.metrics import accuracy_score, f1_score, recall_score

from scnym.results.metrics import expected_calibration_error

N_SEEDS = 3
OURS = "scnym"
RIVALS = ("logistic regression", "nearest centroid", "CellTypist")
METHODS = (OURS, *RIVALS)
MIN_JUDGED = 5
"""Cells of a type, below which its F1 is too much a matter of chance to be averaged with others'."""
MOST_BELOW = 0.02
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "seconds", "peak_bytes")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one method gave on one task with one seed."""

    task: str
    method: str
    seed: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float
    seconds: float
    """To learn and to label, all splits."""
    peak_bytes: float


@dataclass(frozen=True)
class Job:
    """One method on the files of one task."""

    task: Task
    folder: Path
    n_splits: int
    method: str
    seed: int

    def run(self) -> Run:
        """Run it in a process of its own, unless its labels are there already, and judge them."""
        target = self.folder / f"{self.method.replace(' ', '_')}_{self.seed}.csv"
        record = target.with_suffix(".json")
        if not record.exists():
            step, script, python = self.method, "accuracy_steps.py", Path(sys.executable)
            if self.method == "CellTypist":
                step, script, python = "task", "celltypist_steps.py", CELLTYPIST.python
            arguments = (self.folder, self.n_splits, target, self.seed)
            figure = measured(Path(__file__).with_name(script), step, *arguments, python=python)
            record.write_text(json.dumps(asdict(figure)), encoding="utf-8")
        figure = json.loads(record.read_text(encoding="utf-8"))
        run = Run(
            task=self.task.name,
            method=self.method,
            seed=self.seed,
            seconds=figure["seconds"],
            peak_bytes=figure["peak_bytes"],
            **judged(self.task, read(self.folder / "truth.csv"), read(target)),
        )
        print(
            f"{run.task}, {run.method}: macro-F1 {run.macro_f1:.3f}, {run.seconds:.0f} s", file=sys.stderr, flush=True
        )
        return run


def read(path: Path) -> pd.DataFrame:
    """Read a table in which NA is a name."""
    return pd.read_csv(path, keep_default_na=False, dtype={"cell_type": str, "predicted": str})


def judged(task: Task, truth: pd.DataFrame, found: pd.DataFrame) -> dict[str, float]:
    """Compare labels with the truth; macro averages run over the types that occur in it often enough."""
    predicted = found["predicted"].map(task.coarse) if task.coarse else found["predicted"]
    sizes = truth["cell_type"].value_counts()
    types = sizes.index[sizes >= MIN_JUDGED]
    in_C = truth["cell_type"].isin(types).to_numpy()
    truth_C, predicted_C = truth["cell_type"].to_numpy()[in_C], predicted.fillna("").to_numpy(dtype=object)[in_C]
    macro = {"labels": list(types), "average": "macro", "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(truth_C, predicted_C)),
        "balanced_accuracy": float(recall_score(truth_C, predicted_C, **macro)),
        "macro_f1": float(f1_score(truth_C, predicted_C, **macro)),
        "calibration_error": expected_calibration_error(
            found["confidence"].to_numpy()[in_C].clip(0, 1), predicted_C == truth_C
        ),
    }


def jobs(tasks: Sequence[Task], work: Path, n_seeds: int) -> Iterable[Job]:
    """Write the files of each task, and list what is to be run on them."""
    for number, task in enumerate(tasks):
        folder = work / f"task_{number:02d}"
        n_splits = task.write(folder)
        for method in METHODS:
            for seed in range(n_seeds if method == OURS else 1):
                yield Job(task, folder, n_splits, method, seed)


def means(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the mean over seeds, a row per task and method, in order."""
    names = [*dict.fromkeys(run.task for run in runs)]
    order = pd.MultiIndex.from_product([names, METHODS], names=["task", "method"])
    return pd.DataFrame(map(asdict, runs)).groupby(["task", "method"])[list(FIGURES)].mean().reindex(order)


def verdicts(mean: pd.DataFrame, runs: Sequence[Run]) -> list[Line]:
    """Compare with the best rival: in the mean over sets, then set by set."""
    over_sets = {method: float(mean.xs(method, level="method")["macro_f1"].mean()) for method in METHODS}
    best = max(RIVALS, key=over_sets.__getitem__)
    ours = f"{over_sets[OURS]:.4f}: {over_sets[OURS] - over_sets[best]:+.4f}"
    lines = [Line("mean over sets", f"{best}: {over_sets[best]:.4f}", ours, over_sets[OURS] >= over_sets[best])]
    for task in dict.fromkeys(run.task for run in runs):
        f1 = {method: float(mean["macro_f1"].loc[task, method]) for method in METHODS}
        best = max(RIVALS, key=f1.__getitem__)
        gap = f1[OURS] - f1[best]
        by_seed = [run.macro_f1 for run in runs if (run.task, run.method) == (task, OURS)]
        figure = f"{f1[OURS]:.3f} ({min(by_seed):.3f} to {max(by_seed):.3f}): {gap:+.3f}"
        lines.append(Line(task, f"{best}: {f1[best]:.3f}", figure, gap >= -MOST_BELOW))
    return lines


def all_figures(mean: pd.DataFrame) -> str:
    """Format every figure as a Markdown table."""
    rows = ["| set | method | accuracy | balanced accuracy | macro-F1 | ECE | seconds | MB |", "|---" * 8 + "|"]
    for row in mean.reset_index().to_dict(orient="records"):
        scores = " | ".join(f"{row[name]:.3f}" for name in FIGURES[:4])
        cost = f"{row['seconds']:.1f} | {row['peak_bytes'] / 1e6:,.0f}"
        rows.append(f"| {row['task']} | {row['method']} | {scores} | {cost} |")
    return "\n".join(rows)


def overall(mean: pd.DataFrame) -> str:
    """Format each method's mean over sets as a Markdown table."""
    rows = ["| method | accuracy | balanced accuracy | macro-F1 | ECE | seconds, all sets |", "|---" * 6 + "|"]
    for method in METHODS:
        some = mean.xs(method, level="method")
        scores = " | ".join(f"{some[name].mean():.4f}" for name in FIGURES[:4])
        rows.append(f"| {method} | {scores} | {some['seconds'].sum():.0f} |")
    return "\n".join(rows)


def main() -> None:
    """Measure, print, write."""
    options = work_options(str(__doc__).splitlines()[0])
    options.add_argument("--only", help="run only the tasks whose name holds this; nothing is written")
    options.add_argument("--seeds", type=int, default=N_SEEDS, help="runs of scnym on each task")
    arguments = options.parse_args()
    os.environ.update(ONE_THREAD)
    tasks = [task for task in all_tasks() if (arguments.only or "") in task.name]
    with work_folder(arguments.work) as work, ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(Job.run, jobs(tasks, work, arguments.seeds)))
    mean = means(runs)
    lines = verdicts(mean, runs)
    text = (
        "# Accuracy, default settings\n\n"
        f"Written by `make bench-accuracy` on {machine()}. Seeds for scnym, of which means are given:\n"
        f"{arguments.seeds}. They decide its selection cells, the order of the stream, first weights and dropout; the\n"
        "rivals have no chance in them.\n"
        "Each run was a process of its own with one thread, as many at a time as there are cores. Cross-validation is\n"
        f"5-fold, all held-out cells judged together; types with fewer than {MIN_JUDGED} cells there are left out.\n\n"
        f"## Macro-F1 against the best rival of each set (target: at most {MOST_BELOW} below)\n\n{table(lines)}\n\n"
        f"## Means over sets\n\n{overall(mean)}\n\n## Everything\n\n{all_figures(mean)}\n"
    )
    print(text)
    if not arguments.only:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "accuracy.md").write_text(text, encoding="utf-8")
        record = {
            "machine": machine(),
            "lines": [asdict(line) for line in lines],
            "runs": [asdict(run) for run in runs],
        }
        (RESULTS / "accuracy.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
