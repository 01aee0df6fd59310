"""One run: every fold of a split, then the final model, and what they say together, in one folder.

K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.progress import Progress
from scnym.results.metrics import Metrics, measure
from scnym.runs.folder import METRICS_FILE, MODEL_FILE, write_json, write_table
from scnym.runs.folds import Fold
from scnym.runs.intake import CellLabels
from scnym.runs.learning import FoldResult, Job, run_fold
from scnym.runs.report import write_report

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "mean_loss", "calibration_error")


@dataclass(frozen=True)
class RunSummary:
    """What a training run gave."""

    folder: Path
    model_path: Path
    """The final model."""
    labels: CellLabels
    n_genes: int
    folds: list[FoldResult]
    final: FoldResult
    held_out: Metrics | None
    """Over the held-out cells of all folds together; None without cross-validation."""

    def to_json(self) -> dict[str, Any]:
        """Give the content of ``metrics.json``."""
        by_fold = pd.DataFrame([{"fold": result.fold.name, **result.metrics.summary()} for result in self.folds])
        return {
            "classes": list(self.labels.classes),
            "n_cells": int((self.labels.codes_C >= 0).sum()),
            "n_genes": self.n_genes,
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "folds": by_fold.to_dict(orient="records"),
            "spread": {
                name: {"mean": float(by_fold[name].mean()), "sd": float(by_fold[name].std(ddof=1))}
                for name in HEADLINES
                if self.folds
            },
            "final_model_on_selection_cells": self.final.metrics.summary(),
        }


def run_all(job: Job, folds: Sequence[Fold], folder: Path, target: Path, progress: Progress) -> RunSummary:
    """Train on every fold, and write what concerns all of them.

    Parameters
    ----------
    job
        What the folds share.
    folds
        The last one is the final model's.
    folder
        Where to write now.
    target
        Where that will stand when it is finished.
    progress
        Where to report cells done.
    """
    results = [run_fold(job, fold, number, folder, progress) for number, fold in enumerate(folds)]
    summary = _summarise(job, results, target)
    _write_summary(folder, summary, results)
    return summary


def _summarise(job: Job, results: list[FoldResult], folder: Path) -> RunSummary:
    *folds, final = results
    held_out = None
    if folds:
        rows = np.concatenate([result.judged_rows for result in folds])
        probabilities = np.concatenate([result.probabilities_CK for result in folds])
        held_out = measure(job.labels.codes_C[rows], probabilities, job.labels.classes)
    model_path = folder / final.fold.name / MODEL_FILE
    return RunSummary(folder, model_path, job.labels, len(job.genes), folds, final, held_out)


def _write_summary(folder: Path, summary: RunSummary, results: list[FoldResult]) -> None:
    """Write what concerns all folds."""
    classes = summary.labels.classes
    write_table(folder / "celltype_label.csv", pd.DataFrame({"code": range(len(classes)), "cell_type": classes}))
    by_fold = [(result.fold.name, result.metrics) for result in summary.folds]
    accuracy = pd.DataFrame([(name, metrics.accuracy) for name, metrics in by_fold], columns=["fold", "accuracy"])
    losses = pd.DataFrame([(name, metrics.mean_loss) for name, metrics in by_fold], columns=["fold", "loss"])
    write_table(folder / "fold_eval_acc.csv", accuracy)
    write_table(folder / "fold_eval_losses.csv", losses)
    write_json(folder / METRICS_FILE, summary.to_json())
    logs = {result.fold.name: pd.DataFrame([asdict(record) for record in result.training.log]) for result in results}
    judged = summary.held_out or summary.final.metrics
    write_report(folder / "report.html", summary.to_json(), judged, logs)
