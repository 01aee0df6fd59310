"""One fold of a run: learn from its training cells, judge the result on cells it has not seen, write its folder.

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

from scnym.base.progress import Progress
from scnym.base.settings import RunSettings
from scnym.disk.store import Store
from scnym.feed.stream import Layout, StreamDataset, in_order_stream, layout_for, training_stream
from scnym.model.bare_weights import save_weights
from scnym.model.forward import all_logits
from scnym.model.network import CellTypeNetwork
from scnym.model.objective import probabilities_of
from scnym.model.refit import refit
from scnym.model.snapshot import Card, Snapshot
from scnym.model.trainer import TrainingResult, fit_input_scale, train
from scnym.results.labels import label_table
from scnym.results.metrics import Metrics, measure
from scnym.runs.folder import (
    BEST_WEIGHTS,
    CHECKPOINT_NAME,
    MODEL_FILE,
    drop_old_checkpoints,
    write_json,
    write_rows,
    write_table,
)
from scnym.runs.folds import Fold
from scnym.runs.intake import UNLABELLED, CellLabels


@dataclass(frozen=True)
class Job:
    """What every fold of a run shares."""

    store: Store
    labels: CellLabels
    genes: Sequence[str]
    cell_ids: np.ndarray
    settings: RunSettings
    device: torch.device


@dataclass(frozen=True)
class FoldResult:
    """What one fold, or the final model, gave."""

    fold: Fold
    training: TrainingResult
    metrics: Metrics
    """On held-out cells; for the final model on its selection cells, before it learned from them too."""
    judged_rows: np.ndarray
    """Cells that `metrics` is about."""
    probabilities_CK: np.ndarray
    """Their calibrated probabilities."""


def run_fold(job: Job, fold: Fold, number: int, folder: Path, progress: Progress) -> FoldResult:
    """Train on one fold's cells, judge the result, write the fold's folder."""
    target = folder / fold.name
    target.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([job.settings.training.seed, number]).generate_state(1)[0]))
        network = CellTypeNetwork(len(job.genes), len(job.labels.classes), job.settings.network)
        trained = _train_fold(job, fold, network, target, progress)
        judged = all_logits(network, _in_order(job, fold.selection), job.device)
        _refit_fold(job, fold, network, progress)
    if len(fold.held_out):
        judged = all_logits(network, _in_order(job, fold.held_out), job.device)
    rows, truth, logits = judged
    probabilities = probabilities_of(logits, trained.temperature)
    result = FoldResult(fold, trained, measure(truth.numpy(), probabilities, job.labels.classes), rows, probabilities)
    _write_fold(job, result, network, target)
    return result


def _train_fold(job: Job, fold: Fold, network: CellTypeNetwork, target: Path, progress: Progress) -> TrainingResult:
    """Train in place; no row outside `fold.train` is drawn, counted for balance, or used for scaling."""
    settings = job.settings
    training = balanced_stream(job, fold)
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


def _refit_fold(job: Job, fold: Fold, network: CellTypeNetwork, progress: Progress) -> None:
    """Let the network learn from its selection cells as well, if cells are few; held-out cells stay unseen."""
    rows, settings = np.union1d(fold.train, fold.selection), job.settings.training
    if len(rows) > settings.refit_cells:
        return
    stream = _balanced_rows(job, rows)
    n_draws = settings.refit_epochs_for(stream.plan.n_batches) * stream.plan.n_draws
    with progress.task(f"train {fold.name} on its selection cells too", total=n_draws, unit="cells") as task:
        refit(network, stream, settings, device=job.device, task=task)


def balanced_stream(job: Job, fold: Fold) -> StreamDataset:
    """Stream shuffled batches of a fold's training cells; no other row is drawn."""
    return _balanced_rows(job, fold.train)


def _balanced_rows(job: Job, rows: np.ndarray) -> StreamDataset:
    codes_C = np.full_like(job.labels.codes_C, UNLABELLED)
    codes_C[rows] = job.labels.codes_C[rows]
    return training_stream(
        job.store,
        codes_C,
        job.genes,
        job.settings.stream,
        normalize_to=job.settings.network.normalize_to,
        layout=layout_for(job.store),
    )


def _in_order(job: Job, rows: np.ndarray, layout: Layout | None = None) -> StreamDataset:
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


def _write_fold(job: Job, result: FoldResult, network: CellTypeNetwork, folder: Path) -> None:
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


def _card(job: Job, result: FoldResult) -> Card:
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


def _parameters(job: Job, result: FoldResult) -> dict[str, Any]:
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
