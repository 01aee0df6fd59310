"""A whole training run: cells in, cross-validated and final models out, in one folder.

C cells of the store, K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scnym.base.errors import DataError
from scnym.base.progress import SILENT, Progress
from scnym.base.settings import RunSettings
from scnym.disk.aside import aside, require_replaceable
from scnym.disk.features import read_genes
from scnym.disk.store import Store
from scnym.feed.genes import gene_list, mismatch_advice
from scnym.feed.stream import Layout, StreamDataset, in_order_stream, layout_for, training_stream
from scnym.model.bare_weights import save_weights
from scnym.model.forward import all_logits
from scnym.model.network import CellTypeNetwork
from scnym.model.objective import probabilities_of
from scnym.model.snapshot import Card, Snapshot
from scnym.model.trainer import TrainingResult, fit_input_scale, train
from scnym.results.labels import label_table
from scnym.results.metrics import Metrics, measure
from scnym.runs.folder import (
    BEST_WEIGHTS,
    CHECKPOINT_NAME,
    METRICS_FILE,
    MODEL_FILE,
    drop_old_checkpoints,
    is_run,
    write_json,
    write_rows,
    write_table,
)
from scnym.runs.folds import Fold, make_folds
from scnym.runs.intake import UNLABELLED, CellLabels, annotated, labels_of, open_input
from scnym.runs.report import write_report

FOLDER = "tissue_independent"
HIGH_AMPLIFICATION = 3.0
"""Values decoded per value used, above which the user is told how to bring the classes together."""
HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "mean_loss", "calibration_error")


@dataclass(frozen=True)
class FoldResult:
    """What one fold, or the final model, gave."""

    fold: Fold
    training: TrainingResult
    metrics: Metrics
    """On held-out cells; for the final model on its selection cells."""
    judged_rows: np.ndarray
    """Cells that `metrics` is about."""
    probabilities_CK: np.ndarray
    """Their calibrated probabilities."""


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


@dataclass(frozen=True)
class _Job:
    """What every fold of a run shares."""

    store: Store
    labels: CellLabels
    genes: Sequence[str]
    cell_ids: np.ndarray
    settings: RunSettings
    device: torch.device


def train_tissue_independent(
    input_counts: str | Path,
    out_path: str | Path,
    settings: RunSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> RunSummary:
    """Cross-validate, then train the final model on all cells; write ``OUT/tissue_independent/``.

    Parameters
    ----------
    input_counts
        A store, or a raw file of counts, which is converted into ``OUT/cache`` once.
    out_path
        Folder in which ``tissue_independent/`` is made.
    settings
        Labels, split, stream, network, training.
    progress
        Where to report cells done.

    Raises
    ------
    UserError
        If input, labels or settings make no sense, before any training; or if the output exists.
    """
    settings = settings or RunSettings()
    out_path, target = Path(out_path), Path(out_path) / FOLDER
    require_replaceable(target, overwrite=settings.overwrite, is_replaceable=is_run)
    job = _prepare(Path(input_counts), out_path, settings, progress)
    folds = make_folds(job.labels.codes_C, job.labels.classes, settings.split)
    _say_what_clustering_gains(_balanced(job, folds[0]), job.labels, settings.label_column, progress)
    with aside(target, overwrite=settings.overwrite, is_replaceable=is_run) as folder:
        results = [_run_fold(job, fold, number, folder, progress) for number, fold in enumerate(folds)]
        summary = _summarise(job, results, target)
        _write_summary(folder, summary, results)
    return summary


def _prepare(input_counts: Path, out_path: Path, settings: RunSettings, progress: Progress) -> _Job:
    """Check everything that can be wrong before work starts."""
    metadata = settings.training_metadata and Path(settings.training_metadata)
    store = open_input(input_counts, out_path, settings.convert, progress)
    obs = annotated(store, metadata or None)
    labels = labels_of(
        obs, settings.label_column, metadata or input_counts, min_cells=settings.split.min_cells_per_class
    )
    genes = _model_genes(store, settings.genes_to_use, progress)
    left_out = {"without a label": labels.n_unlabelled, "of classes that are too small": labels.n_rare}
    for reason, count in left_out.items():
        if count:
            progress.say(f"{count:,} of {store.n_cells:,} cells {reason} are left out")
    return _Job(store, labels, genes, obs.index.to_numpy(), settings, torch.device("cpu"))


def _say_what_clustering_gains(training: StreamDataset, labels: CellLabels, column: str, progress: Progress) -> None:
    """Tell the user once, if much is decoded in vain."""
    before = training.read_amplification
    if before <= HIGH_AMPLIFICATION:
        return
    after = training.amplification_if_clustered(labels.codes_C)
    if after < before:
        progress.say(
            f"{before:.1f} values are decoded for each that is used, because the cells of a class lie apart; in a "
            f"store made with scnym convert --cluster_by {column} it would be {after:.1f}"
        )


def _model_genes(store: Store, genes_to_use: str | None, progress: Progress) -> Sequence[str]:
    """Give the genes that all sources have, or those of them that stand in a list."""
    in_order = gene_list(store.datasets, "inner")
    shared = set(in_order)
    if not shared:
        raise DataError("the sources share no gene", where=store.path, way_out="convert them apart")
    if genes_to_use is None:
        return in_order
    path = Path(genes_to_use)
    wanted = set(read_genes(path, "--genes_to_use"))
    if not wanted & shared:
        advice = mismatch_advice(sorted(wanted), in_order)
        raise DataError("none of these genes is in the counts", where=path, way_out=advice)
    if wanted - shared:
        progress.say(f"{len(wanted - shared):,} of the {len(wanted):,} genes to use are not in the counts")
    return [gene for gene in in_order if gene in wanted]


def _run_fold(job: _Job, fold: Fold, number: int, folder: Path, progress: Progress) -> FoldResult:
    """Train on one fold's cells, judge the result, write the fold's folder."""
    target = folder / fold.name
    target.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([job.settings.training.seed, number]).generate_state(1)[0]))
        network = CellTypeNetwork(len(job.genes), len(job.labels.classes), job.settings.network)
        trained = _train_fold(job, fold, network, target, progress)
    judged = fold.held_out if len(fold.held_out) else fold.selection
    rows, truth, logits = all_logits(network, _in_order(job, judged), job.device)
    probabilities = probabilities_of(logits, trained.temperature)
    result = FoldResult(fold, trained, measure(truth.numpy(), probabilities, job.labels.classes), rows, probabilities)
    _write_fold(job, result, network, target)
    return result


def _train_fold(job: _Job, fold: Fold, network: CellTypeNetwork, target: Path, progress: Progress) -> TrainingResult:
    """Train in place; no row outside `fold.train` is drawn, counted for balance, or used for scaling."""
    settings = job.settings
    training = _balanced(job, fold)
    if settings.network.scale_input:
        fit_input_scale(network, _in_order(job, fold.train, layout="csr"))
    n_draws = settings.training.epochs_for(training.plan.n_batches) * training.plan.n_draws
    with progress.task(f"train {fold.name}", total=n_draws, unit="cells") as task:
        return train(
            network,
            training,
            _in_order(job, fold.selection),
            settings.training,
            device=job.device,
            task=task,
            after_epoch=partial(_checkpoint, network, settings.training.checkpoint_every, target),
        )


def _balanced(job: _Job, fold: Fold) -> StreamDataset:
    codes_C = np.full_like(job.labels.codes_C, UNLABELLED)
    codes_C[fold.train] = job.labels.codes_C[fold.train]
    return training_stream(
        job.store,
        codes_C,
        job.genes,
        job.settings.stream,
        normalize_to=job.settings.network.normalize_to,
        layout=layout_for(job.store),
    )


def _in_order(job: _Job, rows: np.ndarray, layout: Layout | None = None) -> StreamDataset:
    return in_order_stream(
        job.store,
        rows,
        job.genes,
        job.settings.stream,
        job.labels.codes_C,
        normalize_to=job.settings.network.normalize_to,
        layout=layout or layout_for(job.store),
    )


def _checkpoint(network: CellTypeNetwork, every: int, folder: Path, epoch: int) -> None:
    if every and epoch % every == 0:
        save_weights(folder / CHECKPOINT_NAME.format(epoch), network)
        drop_old_checkpoints(folder)


def _write_fold(job: _Job, result: FoldResult, network: CellTypeNetwork, folder: Path) -> None:
    fold, training = result.fold, result.training
    for name, rows in (("train", fold.train), ("test", fold.selection), ("val", fold.held_out)):
        write_rows(folder / f"{name}_idx.csv", job.cell_ids, rows)
    classes = job.labels.classes
    judged_ids = job.cell_ids[result.judged_rows]
    truth = np.asarray(classes, dtype=object)[job.labels.codes_C[result.judged_rows]]
    write_table(folder / "predictions.csv", label_table(judged_ids, result.probabilities_CK, classes))
    write_table(folder / "labels.csv", pd.DataFrame({"cell_id": judged_ids, "cell_type": truth}))
    write_table(folder / f"{fold.name}_log.csv", pd.DataFrame([asdict(record) for record in training.log]))
    write_json(folder / f"{fold.name}_parameters.json", _parameters(job, result))
    save_weights(folder / BEST_WEIGHTS, network)
    (folder / MODEL_FILE).write_bytes(Snapshot(_card(job, result), network).to_bytes())


def _card(job: _Job, result: FoldResult) -> Card:
    return Card(
        genes=tuple(job.genes),
        classes=job.labels.classes,
        label_column=job.settings.label_column,
        network=job.settings.network,
        training=job.settings.training,
        stream=job.settings.stream,
        temperature=result.training.temperature,
        best_epoch=result.training.best_epoch,
        data_hash=job.store.content_hash,
        metrics={name: float(value) for name, value in result.metrics.summary().items()},
    )


def _parameters(job: _Job, result: FoldResult) -> dict[str, Any]:
    fold = result.fold
    return {
        "settings": asdict(job.settings),
        "cells": {"train": len(fold.train), "selection": len(fold.selection), "held_out": len(fold.held_out)},
        "n_genes": len(job.genes),
        "best_epoch": result.training.best_epoch,
        "temperature": result.training.temperature,
        "data_hash": job.store.content_hash,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("scnym", "torch", "numpy", "zarr")},
    }


def _summarise(job: _Job, results: list[FoldResult], folder: Path) -> RunSummary:
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
