"""One fold of a run: learn from its training cells, judge the result on cells it has not seen, write its folder.

C cells of the store, K classes.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scnym.base.errors import examples
from scnym.base.progress import Progress
from scnym.feed.batches import Batch, Layout
from scnym.feed.plan import digest, draws_per_class
from scnym.feed.stream import StreamDataset, in_order_stream, training_stream
from scnym.model.device import layout_on
from scnym.model.inference import of_each_batch
from scnym.model.losses import Objective, probabilities_of
from scnym.model.network import CellTypeNetwork
from scnym.model.snapshot import Card, CardSource, Snapshot, save_weights
from scnym.model.trainer import (
    Course,
    EpochRecord,
    TrainingResult,
    fit_input_scale,
    gene_variances,
    most_variable,
    refit,
    train,
)
from scnym.results.metrics import measure
from scnym.results.scored_cells import Judged
from scnym.runs.checkpoints import Checkpoints, State
from scnym.runs.folds import Fold, FoldResult, Job
from scnym.runs.inputs import UNLABELLED, sources_of
from scnym.runs.output_tree import (
    BEST_WEIGHTS,
    CHECKPOINT_NAME,
    MODEL_FILE,
    drop_old_checkpoints,
    write_json,
    write_rows,
    write_table,
    write_tables,
)


def run_fold(job: Job, fold: Fold, number: int, folder: Path, checkpoints: Checkpoints, progress: Progress) -> None:
    """Train on one fold's cells, judge the result, write the fold's folder; nothing if that was done before.

    Parameters
    ----------
    job, fold
        What to learn, and from which cells.
    number
        Position of the fold, which decides its random numbers with the seed.
    folder
        Where the fold's folder is made.
    checkpoints
        What an interrupted run left, and where this one leaves its own; see `result_of`.
    progress
        Where to report cells done.
    """
    if result_of(job, fold, fold.name, checkpoints) is not None:
        return
    target, earlier = folder / fold.name, checkpoints.unfinished(fold.name)
    if earlier is None and job.processes.is_first:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
    job, variances_G = with_top_genes(job, fold)
    with _seeded(job, number):
        network = _new_network(job, fold, variances_G)
        _say_unseen_tissues(job, fold, progress)
        after_epoch = partial(_after_epoch, job, fold.name, network, target, checkpoints)
        result = _learnt(job, fold, network, f"train {fold.name}", after_epoch, earlier, progress)
    if job.processes.is_first:
        _write_fold(job, result, network, target)
    checkpoints.finish(fold.name, result.state_dict())


def run_baseline(job: Job, fold: Fold, number: int, checkpoints: Checkpoints, progress: Progress) -> None:
    """Train a logistic regression on the cells of a fold and judge it on those held out; no file is written."""
    name = baseline_name(fold)
    if result_of(job, fold, name, checkpoints) is not None:
        return
    job, variances_G = with_top_genes(_baseline_of(job), fold)
    with _seeded(job, number):
        network = _new_network(job, fold, variances_G)
        after_epoch, earlier = partial(_keep, name, checkpoints), checkpoints.unfinished(name)
        result = _learnt(job, fold, network, f"baseline {fold.name}", after_epoch, earlier, progress)
    checkpoints.finish(name, result.state_dict())


def baseline_name(fold: Fold) -> str:
    """Return what logistic regression on a fold is called among the checkpoints."""
    return f"{fold.name}.baseline"


def result_of(job: Job, fold: Fold, name: str, checkpoints: Checkpoints) -> FoldResult | None:
    """Return what a fold gave, or what logistic regression gave on it, by the name among the checkpoints.

    None if it is not finished.

    Raises
    ------
    FormatError
        If what is there is not the state of this fold.
    """
    state = checkpoints.finished(name)
    if state is None:
        return None
    try:
        log = [EpochRecord(**record) for record in state["log"]]
        training = TrainingResult(best_epoch=state["best_epoch"], temperature=state["temperature"], log=log)
        judged = Judged(**{kind: values_C.numpy() for kind, values_C in state["judged"].items()})
        is_of_fold = state["cells"] == digest(fold.judged_rows)
        n_genes = state["n_genes"]
    except (KeyError, TypeError, AttributeError) as fault:
        raise checkpoints.damaged(name) from fault
    if not is_of_fold:
        raise checkpoints.damaged(name)
    return _measured(job, fold, n_genes, training, judged)


def _learnt(
    job: Job,
    fold: Fold,
    network: CellTypeNetwork,
    title: str,
    after_epoch: Callable[[Course], None],
    earlier: State | None,
    progress: Progress,
) -> FoldResult:
    """Train a network in place, and judge it; selection cells judge before they are learnt from."""
    trained = _train_fold(job, fold, network, title, after_epoch, earlier, progress)
    if not len(fold.held_out):
        result = _judged(job, fold, network, trained)
        _refit_fold(job, fold, network, trained, title, progress)
        return result
    _refit_fold(job, fold, network, trained, title, progress)
    return _judged(job, fold, network, trained)


def _baseline_of(job: Job) -> Job:
    """Return the job of a logistic regression with an L2 penalty, on the same cells in the same batches."""
    settings = job.settings
    network = replace(settings.network, n_hidden=0, shortcut=True)
    training = replace(settings.training, optimizer="mixed", mixup_alpha=0.0, logit_adjustment=0.0)
    return replace(job, settings=replace(settings, network=network, training=training))


@contextmanager
def _seeded(job: Job, number: int) -> Iterator[None]:
    """Draw the random numbers of a fold while the block runs; the caller's are untouched."""
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([job.settings.training.seed, number]).generate_state(1)[0]))
        yield


def _new_network(job: Job, fold: Fold, variances_G: np.ndarray) -> CellTypeNetwork:
    network = CellTypeNetwork(len(job.genes), len(job.labels.classes), job.settings.network, len(job.tissues))
    network.deafen_to(_unseen_tissues(job, fold))
    if job.settings.network.scale_input:
        fit_input_scale(network, variances_G)
    return network


def _unseen_tissues(job: Job, fold: Fold) -> list[int]:
    """Return the numbers of the tissues that no training cell of a fold has."""
    if job.conditions_C is None:
        return []
    return np.setdiff1d(np.arange(len(job.tissues)), job.conditions_C[fold.train]).tolist()


def _say_unseen_tissues(job: Job, fold: Fold, progress: Progress) -> None:
    unseen = [job.tissues[number] for number in _unseen_tissues(job, fold)]
    if unseen:
        progress.say(f"{fold.name}: no training cell is of {examples(unseen)}; cells from there are judged without it")


def _judged(job: Job, fold: Fold, network: CellTypeNetwork, trained: TrainingResult) -> FoldResult:
    def judge(batch: Batch, logits_BK: torch.Tensor) -> Judged:
        calibrated_BK, uncalibrated_BK = (probabilities_of(logits_BK, t) for t in (trained.temperature, 1.0))
        return Judged.of(batch.labels.numpy(), calibrated_BK, uncalibrated_BK)

    found = of_each_batch(network, _in_order(job, fold.judged_rows), job.device, judge, job.processes)
    return _measured(job, fold, len(job.genes), trained, Judged.joined(list(found)))


def _measured(job: Job, fold: Fold, n_genes: int, trained: TrainingResult, judged: Judged) -> FoldResult:
    truth_C = job.labels.codes_C[fold.judged_rows]
    metrics = measure(truth_C, judged, job.labels.classes, not_judged=fold.not_judged)
    return FoldResult(fold, n_genes, trained, metrics, judged)


def with_top_genes(job: Job, fold: Fold) -> tuple[Job, np.ndarray]:
    """Return the job on the genes that this fold's network reads, and their variances, shape (G,).

    One pass over the fold's training cells and no others; none where nothing asks for it, the variances being empty.
    """
    n_genes = job.settings.n_top_genes
    if n_genes is None and not job.settings.network.scale_input:
        return job, np.empty(0)
    variances_G = gene_variances(_in_order(job, fold.train, layout="csr"), job.processes)
    if n_genes is None:
        return job, variances_G
    chosen = most_variable(variances_G, n_genes)
    return replace(job, genes=[job.genes[position] for position in chosen]), variances_G[chosen]


def _train_fold(
    job: Job,
    fold: Fold,
    network: CellTypeNetwork,
    title: str,
    after_epoch: Callable[[Course], None],
    earlier: State | None,
    progress: Progress,
) -> TrainingResult:
    """Train in place; no row outside `fold.train` is drawn or counted for balance."""
    settings = job.settings.training
    training = balanced_stream(job, fold)
    n_draws = settings.epochs_for(training.plan.n_batches) * training.plan.n_draws
    with progress.task(title, total=n_draws, unit="cells") as task:
        return train(
            network,
            training,
            _in_order(job, fold.selection),
            settings,
            objective=_objective(job, fold.train),
            device=job.device,
            task=task,
            after_epoch=after_epoch,
            earlier=earlier,
            processes=job.processes,
        )


def _refit_fold(
    job: Job, fold: Fold, network: CellTypeNetwork, trained: TrainingResult, title: str, progress: Progress
) -> None:
    """Let the network learn from its selection cells as well, if cells are few; held-out cells stay unseen."""
    rows, settings = fold.learnt, job.settings.training
    if len(rows) > settings.refit_cells:
        return
    stream = _balanced_rows(job, rows)
    n_epochs = settings.refit_epochs_after(len(trained.log))
    with progress.task(
        f"{title} on its selection cells too", total=n_epochs * stream.plan.n_draws, unit="cells"
    ) as task:
        refit(
            network,
            stream,
            settings,
            objective=_objective(job, rows),
            n_epochs=n_epochs,
            device=job.device,
            task=task,
            processes=job.processes,
        )


def _objective(job: Job, rows: np.ndarray) -> Objective:
    """Return what is minimised over some cells, which knows how often their classes are drawn."""
    stream = job.settings.stream
    draws_K = np.bincount(job.labels.codes_C[rows], minlength=len(job.labels.classes))
    is_drawn_K = draws_K > 0
    draws_K[is_drawn_K] = draws_per_class(draws_K[is_drawn_K], stream.class_balance, stream.max_repeat)
    return Objective(job.settings.training, draws_K, job.device, job.processes)


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
        conditions_C=job.conditions_C,
        normalize_to=job.settings.network.normalize_to,
        layout=layout_on(job.device, job.store),
    )


def _in_order(job: Job, rows: np.ndarray, layout: Layout | None = None) -> StreamDataset:
    return in_order_stream(
        job.store,
        rows,
        job.genes,
        job.settings.stream,
        job.labels.codes_C,
        conditions_C=job.conditions_C,
        normalize_to=job.settings.network.normalize_to,
        layout=layout or layout_on(job.device, job.store),
    )


def _after_epoch(
    job: Job, name: str, network: CellTypeNetwork, folder: Path, checkpoints: Checkpoints, course: Course
) -> None:
    """Write periodic weights, and what an interrupted run goes on from."""
    every = job.settings.training.checkpoint_every
    if job.processes.is_first and every and course.epoch % every == 0:
        save_weights(folder / CHECKPOINT_NAME.format(course.epoch), network)
        drop_old_checkpoints(folder)
    _keep(name, checkpoints, course)


def _keep(name: str, checkpoints: Checkpoints, course: Course) -> None:
    checkpoints.keep(name, course.state_dict)


def _write_fold(job: Job, result: FoldResult, network: CellTypeNetwork, folder: Path) -> None:
    fold, training = result.fold, result.training
    cell_ids = job.store.cell_ids
    for name, rows in (("train", fold.train), ("test", fold.selection), ("val", fold.held_out)):
        write_rows(folder / f"{name}_idx.csv", cell_ids, rows)
    write_tables(folder / "predictions.csv", result.tables(cell_ids, job.labels.classes))
    write_tables(folder / "labels.csv", job.true_tables(cell_ids, result.judged_rows))
    write_table(folder / f"{fold.name}_log.csv", pd.DataFrame([asdict(record) for record in training.log]))
    write_json(folder / f"{fold.name}_parameters.json", _parameters(job, result))
    save_weights(folder / BEST_WEIGHTS, network)
    (folder / MODEL_FILE).write_bytes(Snapshot(_card(job, result), network).to_bytes())


def _card(job: Job, result: FoldResult) -> Card:
    return Card(
        genes=tuple(job.genes),
        classes=job.labels.classes,
        label_column=job.settings.label_column,
        tissues=job.tissues,
        tissue_column=None if job.family == "independent" else job.settings.tissue_column,
        network=job.settings.network,
        training=job.settings.training,
        stream=job.settings.stream,
        temperature=result.training.temperature,
        best_epoch=result.training.best_epoch,
        data_hash=job.store.content_hash,
        metrics={name: float(value) for name, value in result.metrics.summary().items()},
        cells_per_class=tuple(job.labels.cells_per_class.tolist()),
        sources=tuple(CardSource(**source) for source in sources_of(job.store)),
    )


def _parameters(job: Job, result: FoldResult) -> dict[str, Any]:
    fold = result.fold
    return {
        "settings": job.settings.of_result(),
        "cells": fold.sizes,
        "split": {
            "held_out_by": "cell" if job.settings.split.group_column is None else "group",
            "selection_by": fold.selection_by,
        },
        "n_genes": len(job.genes),
        "family": job.family,
        "tissue": job.tissue,
        "best_epoch": result.training.best_epoch,
        "temperature": result.training.temperature,
        "data_hash": job.store.content_hash,
        "sources": sources_of(job.store),
        "device": str(job.device),
        "threads": torch.get_num_threads(),
        "processes": job.processes.count,
        "versions": {name: version(name) for name in ("scnym", "torch", "numpy", "zarr")},
    }
