"""One run: every fold of a split, then the final model, and what they say together, in one folder.

K classes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scnym.base.errors import ScnymError, examples
from scnym.base.progress import COST_FILE, Progress, Stopwatch
from scnym.feed.plan import digest
from scnym.results.labels import label_table
from scnym.results.metrics import Metrics, figures_by_tissue, mean_and_sd, measure, spread_over
from scnym.results.scored_cells import Judged
from scnym.runs.checkpoints import Checkpoints
from scnym.runs.fold_training import baseline_name, result_of, run_baseline, run_fold
from scnym.runs.folds import Fold, FoldResult, Job
from scnym.runs.inputs import CellLabels
from scnym.runs.output_tree import (
    CATEGORIES_FILE,
    FIGURES_FILE,
    HELD_OUT_FILE,
    METRICS_FILE,
    MODEL_FILE,
    REPORT_FILE,
    Family,
    stretches,
    without_nan,
    write_json,
    write_table,
    write_tables,
)
from scnym.runs.report import figures_of, write_map
from scnym.runs.reports.training import CARD_FILE, write_model_card, write_training_page


@dataclass(frozen=True)
class Baseline:
    """What logistic regression gave on the same folds."""

    folds: list[FoldResult]
    held_out: Metrics
    """Over the held-out cells of all folds together."""

    def to_json(self, network: Sequence[FoldResult]) -> dict[str, Any]:
        """Return its figures, and what the network adds to them: mean and sd over folds of the difference."""
        pairs = [
            (theirs.metrics.summary(), ours.metrics.summary()) for theirs, ours in zip(self.folds, network, strict=True)
        ]
        gains = pd.DataFrame([{name: ours[name] - theirs[name] for name in theirs} for theirs, ours in pairs])
        return {
            "method": "logistic regression",
            "held_out": self.held_out.to_json(),
            "folds": _by_fold(self.folds),
            "spread": spread_over([result.metrics for result in self.folds]),
            "network_adds": mean_and_sd(gains.drop(columns="n_cells")),
        }


def _by_fold(folds: Sequence[FoldResult]) -> list[dict[str, Any]]:
    return [{"fold": result.fold.name, **result.metrics.summary()} for result in folds]


@dataclass(frozen=True)
class RunSummary:
    """What a training run gave."""

    folder: Path
    model_path: Path
    """The final model."""
    labels: CellLabels
    n_genes: int
    """Genes that the final model reads."""
    folds: list[FoldResult]
    final: FoldResult
    held_out: Metrics | None
    """Over the held-out cells of all folds together; None without cross-validation."""
    baseline: Baseline | None = None
    """None where it was not asked for."""
    family: Family = "independent"
    tissue: str | None = None
    """The one tissue that the model is for, in the specific family."""
    by_tissue: pd.DataFrame | None = None
    """Figures of the held-out cells of each tissue; see `scnym.results.metrics`. None where tissues are not known."""

    @property
    def not_judged(self) -> list[str]:
        """Classes of which no cell could be held out, or without folds be set aside for selection."""
        return [self.labels.classes[code] for code in sorted(self.final.fold.not_judged)]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``."""
        return {
            "family": self.family,
            "tissue": self.tissue,
            "classes": list(self.labels.classes),
            "not_judged": self.not_judged,
            "n_cells": int((self.labels.codes_C >= 0).sum()),
            "n_genes": self.n_genes,
            "held_out": None if self.held_out is None else self.held_out.to_json(),
            "folds": _by_fold(self.folds),
            "tissues": None if self.by_tissue is None else without_nan(self.by_tissue),
            "spread": spread_over([result.metrics for result in self.folds]),
            "baseline": None if self.baseline is None else self.baseline.to_json(self.folds),
            # With nothing held out, these cells are all that the report can tell of.
            "final_model_on_selection_cells": self.final.metrics.to_json()
            if self.held_out is None
            else self.final.metrics.summary(),
        }


TOLD_BY_DIGESTS = {"convert", "training_metadata", "genes_to_use", "device"}
"""Settings whose effect is compared in place of their words."""


def identity_of(job: Job, folds: Sequence[Fold]) -> dict[str, Any]:
    """Return all that decides the result of a run, as plain values."""
    settings, store = job.settings.of_result(), job.store
    return {
        "settings": {name: value for name, value in settings.items() if name not in TOLD_BY_DIGESTS},
        "device": str(job.device),
        "processes": job.processes.count,
        "threads": torch.get_num_threads(),
        "counts": store.content_hash,
        "library_sizes": digest(*(dataset.n_counts_C for dataset in store.datasets)),
        "cells": _digest(store.cell_ids),
        "classes": list(job.labels.classes),
        "labels": digest(job.labels.codes_C.astype(np.int64)),
        "family": job.family,
        "tissues": list(job.tissues),
        "tissue_of_cells": None if job.conditions_C is None else digest(job.conditions_C.astype(np.int64)),
        "genes": _digest(job.genes),
        "split": digest(*(fold.parts_C for fold in folds)),
        "versions": {name: version(name) for name in ("scnym", "torch", "numpy", "scikit-learn")},
    }


def _digest(names: Iterable[str]) -> str:
    content = hashlib.sha256()
    for name in names:
        content.update(f"{name}\n".encode())
    return content.hexdigest()


def run_all(
    job: Job, folds: Sequence[Fold], folder: Path, target: Path, checkpoints: Checkpoints, progress: Progress
) -> RunSummary:
    """Train on every fold, and write what concerns all of them.

    Parameters
    ----------
    job
        What the folds share.
    folds
        The last one is the final model's.
    folder
        Where to write now; made if it is not there.
    target
        Where that will stand when it is finished.
    checkpoints
        What an interrupted run left, and where this one leaves its own.
    progress
        Where to report cells done.
    """
    watch = Stopwatch()
    if job.processes.is_first:
        folder.mkdir(exist_ok=True)
    for number, fold in enumerate(folds):
        run_fold(job, fold, number, folder, checkpoints, progress)
        if _has_baseline(job, fold):
            run_baseline(job, fold, number, checkpoints, progress)
    # Read only now: held while later folds train, it would add to their peak.
    results = _results(job, {fold.name: fold for fold in folds}, checkpoints)
    with_baseline = {baseline_name(fold): fold for fold in folds if _has_baseline(job, fold)}
    baseline = _results(job, with_baseline, checkpoints)
    summary = _summarise(job, results, baseline, target)
    if job.processes.is_first:
        _write_run(job, summary, folder)
        _write_report(job, summary, watch, folder)
    return summary


def _results(job: Job, folds: Mapping[str, Fold], checkpoints: Checkpoints) -> list[FoldResult]:
    """Return what finished folds gave, by their names among the checkpoints.

    Raises
    ------
    ScnymError
        If the state of one has gone since it was finished.
    """
    found = {name: result_of(job, fold, name, checkpoints) for name, fold in folds.items()}
    gone = [name for name, result in found.items() if result is None]
    if gone:
        raise ScnymError(
            f"the checkpoint of {examples(gone)} has gone", way_out="the same command with --resume goes on"
        )
    return [result for result in found.values() if result is not None]


def _has_baseline(job: Job, fold: Fold) -> bool:
    """Whether logistic regression is asked for, and can be judged on cells that a fold holds out."""
    return job.settings.baseline and len(fold.held_out) > 0


def _write_run(job: Job, summary: RunSummary, folder: Path) -> None:
    """Write what concerns all folds."""
    if summary.folds:
        write_tables(folder / HELD_OUT_FILE, held_out_tables(job, summary.folds))
    if job.tissues:
        write_table(folder / CATEGORIES_FILE, pd.DataFrame({"code": range(len(job.tissues)), "tissue": job.tissues}))
    _write_summary(folder, summary)


def held_out_tables(job: Job, folds: Sequence[FoldResult]) -> Iterator[pd.DataFrame]:
    """Yield what the folds say of the cells that they held out, in the order of the input, some cells at a time.

    One row per cell: cell_id, fold, cell_type (the true one), predicted, confidence, margin, second,
    second_confidence; and the tissue, where there is one.
    """
    rows_C, found, folds_C = _held_out(folds)
    order_C, cell_ids, context = np.argsort(rows_C), job.store.cell_ids, job.context
    for cells in (order_C[some] for some in stretches(len(rows_C))):
        rows = rows_C[cells]
        table = label_table(cell_ids[rows], found.ranked.part(cells), job.labels.classes)
        table = table.rename(columns={"cell_type": "predicted"})
        table.insert(1, "fold", folds_C.iloc[cells].array)
        table.insert(2, "cell_type", job.true_classes(rows).array)
        if context is not None:
            column = f"{context.column}_input" if context.column in table else context.column
            table[column] = context.names_of(rows).array
        yield table


def _held_out(folds: Sequence[FoldResult]) -> tuple[np.ndarray, Judged, pd.Series]:
    """Return the rows that the folds held out, fold by fold, what is said of them, and the fold of each."""
    sizes = [len(result.judged_rows) for result in folds]
    names = pd.CategoricalDtype([result.fold.name for result in folds])
    folds_C = pd.Series(pd.Categorical.from_codes(np.repeat(np.arange(len(folds)), sizes), dtype=names))
    rows_C = np.concatenate([result.judged_rows for result in folds])
    return rows_C, Judged.joined([result.judged for result in folds]), folds_C


def _summarise(job: Job, results: list[FoldResult], baseline: list[FoldResult], folder: Path) -> RunSummary:
    *folds, final = results
    return RunSummary(
        folder=folder,
        model_path=folder / final.fold.name / MODEL_FILE,
        labels=job.labels,
        n_genes=final.n_genes,
        folds=folds,
        final=final,
        held_out=_judge_together(job, folds) if folds else None,
        baseline=Baseline(baseline, _judge_together(job, baseline)) if baseline else None,
        family=job.family,
        tissue=job.tissue,
        by_tissue=_by_tissue(job, folds),
    )


def _by_tissue(job: Job, folds: Sequence[FoldResult]) -> pd.DataFrame | None:
    if job.context is None or not folds:
        return None
    rows_C, found, folds_C = _held_out(folds)
    names = pd.CategoricalDtype(pd.Index(job.labels.classes))
    predicted_C = pd.Categorical.from_codes(found.best_C, dtype=names)
    table = {"fold": folds_C, "cell_type": job.true_classes(rows_C), "predicted": predicted_C}
    return figures_by_tissue(pd.DataFrame({"tissue": job.context.names_of(rows_C), **table}))


def _judge_together(job: Job, folds: Sequence[FoldResult]) -> Metrics:
    """Measure the held-out cells of all folds at once, each with the temperature of its own fold."""
    rows_C, found, _ = _held_out(folds)
    return measure(job.labels.codes_C[rows_C], found, job.labels.classes, not_judged=folds[0].fold.not_judged)


def _write_summary(folder: Path, summary: RunSummary) -> None:
    """Write the classes and the figures."""
    classes = summary.labels.classes
    write_table(folder / "celltype_label.csv", pd.DataFrame({"code": range(len(classes)), "cell_type": classes}))
    for file, column, figure in (
        ("fold_eval_acc.csv", "accuracy", "accuracy"),
        ("fold_eval_losses.csv", "loss", "mean_loss"),
    ):
        table = pd.DataFrame({"fold": [result.fold.name for result in summary.folds]})
        table[column] = [getattr(result.metrics, figure) for result in summary.folds]
        if summary.baseline is not None:
            table[f"baseline_{column}"] = [getattr(result.metrics, figure) for result in summary.baseline.folds]
        write_table(folder / file, table)
    write_json(folder / METRICS_FILE, summary.to_json())


def _write_report(job: Job, summary: RunSummary, watch: Stopwatch, folder: Path) -> None:
    """Write what is for people: the page, and what its figures are drawn from."""
    rows_C, judged, _ = _held_out(summary.folds or [summary.final])
    write_json(folder / FIGURES_FILE, figures_of(job, rows_C, judged))
    write_map(job, summary.folds, folder)
    write_json(folder / COST_FILE, watch.cost(len(rows_C)))
    final = folder / summary.final.fold.name
    write_model_card(final / MODEL_FILE, final / CARD_FILE)
    write_training_page(folder, folder / REPORT_FILE)
