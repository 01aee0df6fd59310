"""A model for each tissue: which tissues can have one, their training one after the other, and the table of all.

What is finished stays finished: a run that was interrupted goes on with the tissues that are missing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.base.errors import MAX_EXAMPLES, DataError, UserError
from scnym.base.progress import Progress
from scnym.disk.aside import RESULT
from scnym.runs.checkpoints import Checkpoints
from scnym.runs.families import REPORT_FILE, SKIPPED, TISSUES_FILE, TRAINED, folder_names
from scnym.runs.folder import METRICS_FILE, without_nan, write_table
from scnym.runs.folds import Fold
from scnym.runs.intake import Context
from scnym.runs.learning import Job
from scnym.runs.report import write_index
from scnym.runs.resumption import STATES, attempt
from scnym.runs.single_run import identity_of, run_all

OF_A_TISSUE = ("classes", "labels", "split")
"""What decides the result of a run and is another thing for each tissue."""
COLUMNS = (
    *("tissue", "folder", "n_cells", "n_classes", "status", "reason"),
    *("accuracy", "accuracy_sd", "macro_f1", "macro_f1_sd"),
)


@dataclass(frozen=True)
class TissuePlan:
    """What is to be done about one tissue."""

    tissue: str
    folder: str
    """Its name below the run's folder."""
    job: Job
    """The run's, with the labels of this tissue's cells only, and their classes."""
    folds: Sequence[Fold]
    reason: str
    """Why it gets no model; empty if it gets one."""


@dataclass(frozen=True)
class TissueModels:
    """What the training of a model for each tissue gave."""

    folder: Path
    table: pd.DataFrame
    """A row per tissue: tissue, folder, n_cells, n_classes, status (trained or skipped), reason; mean and standard
    deviation over folds of accuracy and macro-F1 on held-out cells."""

    def to_json(self) -> dict[str, Any]:
        """Give the table as plain values."""
        return {"family": "specific", "tissues": without_nan(self.table)}


def plan_tissues(
    job: Job, context: Context, split: Callable[[Job], Sequence[Fold]], progress: Progress
) -> list[TissuePlan]:
    """Find out which tissues can have a model; say why others cannot.

    Parameters
    ----------
    job
        The labels of all cells.
    context
        The tissues of all cells.
    split
        Makes the folds of a job, or raises a `UserError` if its cells are too few.
    progress
        Told of what is skipped or left out.

    Raises
    ------
    DataError
        If no tissue can have a model.
    """
    folders = folder_names(context.levels)
    plans = [_plan(job, context, code, folder, split, progress) for code, folder in enumerate(folders)]
    for plan in plans:
        if plan.reason:
            progress.say(f"{context.column} {plan.tissue!r} is skipped: {plan.reason}")
    if all(plan.reason for plan in plans):
        raise DataError(
            f"no {context.column} can have a model of its own: {_reasons(plans)}",
            where="--upper_group",
            way_out="leave small classes out with --min_cells_per_class, take fewer folds with --n_folds, or train one "
            "model for all with scnym train_tissue_independent",
        )
    return plans


def _reasons(plans: Sequence[TissuePlan]) -> str:
    more = f"; and {len(plans) - MAX_EXAMPLES:,} more" if len(plans) > MAX_EXAMPLES else ""
    return "; ".join(f"{plan.tissue}: {plan.reason}" for plan in plans[:MAX_EXAMPLES]) + more


def _plan(
    job: Job,
    context: Context,
    code: int,
    folder: str,
    split: Callable[[Job], Sequence[Fold]],
    progress: Progress,
) -> TissuePlan:
    tissue, min_cells = context.levels[code], job.settings.split.min_cells_per_class
    labels = job.labels.within(context.codes_C == code, min_cells=min_cells)
    own = replace(job, labels=labels, context=context, family="specific", tissue=tissue)
    if not labels.classes:
        reason = f"no class has {min_cells:,} cells" if labels.n_rare else "no cell has a label"
        return TissuePlan(tissue, folder, own, [], reason)
    try:
        folds = split(own)
    except UserError as fault:
        return TissuePlan(tissue, folder, own, [], fault.what)
    if labels.n_rare:
        progress.say(f"{context.column} {tissue!r}: {labels.n_rare:,} cells of classes that are too small are left out")
    return TissuePlan(tissue, folder, own, folds, "")


def train_tissues(plans: Sequence[TissuePlan], target: Path, progress: Progress) -> TissueModels:
    """Train the models that are not finished yet, and write the table of all.

    Raises
    ------
    OutputExistsError, SettingsError
        As in `scnym.runs.resumption.attempt`.
    """
    settings = plans[0].job.settings
    to_train = [plan for plan in plans if not plan.reason]
    with attempt(target, _identity(to_train), resume=settings.resume, overwrite=settings.overwrite) as work:
        folder = work / RESULT
        for number, plan in enumerate(to_train, start=1):
            _train(plan, work, target, f"{number} of {len(to_train)}", progress)
        table = pd.DataFrame([_row(plan, folder / plan.folder) for plan in plans], columns=list(COLUMNS))
        write_index(folder / REPORT_FILE, without_nan(table), settings.tissue_column)
        write_table(folder / TISSUES_FILE, table)
    return TissueModels(target, table)


def _train(plan: TissuePlan, work: Path, target: Path, count: str, progress: Progress) -> None:
    labels, done = plan.job.labels, Checkpoints(work / STATES)
    head = f"{plan.job.settings.tissue_column} {plan.tissue!r} ({count})"
    if done.finished(plan.folder) is not None:
        progress.say(f"{head}: finished before")
        return
    progress.say(f"{head}: {int((labels.codes_C >= 0).sum()):,} cells, {len(labels.classes):,} classes")
    folder = work / RESULT / plan.folder
    folder.mkdir(exist_ok=True)
    run_all(plan.job, plan.folds, folder, target / plan.folder, Checkpoints(work / STATES / plan.folder), progress)
    done.finish(plan.folder, {})


def _row(plan: TissuePlan, folder: Path) -> dict[str, Any]:
    """Give a tissue's row of the table; its figures are read, because an earlier run may have made them."""
    codes_C, classes = plan.job.labels.codes_C, plan.job.labels.classes
    row = {"tissue": plan.tissue, "n_cells": int((codes_C >= 0).sum()), "n_classes": len(classes)}
    if plan.reason:
        return {**row, "status": SKIPPED, "reason": plan.reason}
    spread = json.loads((folder / METRICS_FILE).read_bytes())["spread"]
    figures = {f"{name}{end}": spread[name][part] for name in ("accuracy", "macro_f1") if spread
               for end, part in (("", "mean"), ("_sd", "sd"))}  # fmt: skip
    return {**row, "folder": plan.folder, "status": TRAINED, "reason": "", **figures}


def _identity(plans: Sequence[TissuePlan]) -> dict[str, Any]:
    """Give all that decides what the models become, as plain values."""
    of_tissues = {plan.tissue: identity_of(plan.job, plan.folds) for plan in plans}
    shared = next(iter(of_tissues.values()))
    return {
        **{name: value for name, value in shared.items() if name not in OF_A_TISSUE},
        "of": {tissue: {name: own[name] for name in OF_A_TISSUE} for tissue, own in of_tissues.items()},
    }
