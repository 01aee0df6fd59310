"""A model for each tissue: which tissues can have one, their training one after the other, and the table of all.

What is finished stays finished: a run that was interrupted goes on in the middle of a tissue's fold, and does nothing
again for the tissues before it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.base.errors import MAX_EXAMPLES, DataError, UserError
from scnym.base.progress import Progress
from scnym.disk.atomic import RESULT
from scnym.runs.checkpoints import STATES, Checkpoints, attempt
from scnym.runs.cross_validation import identity_of, run_all
from scnym.runs.folds import Fold, Job
from scnym.runs.inputs import Context
from scnym.runs.output_tree import (
    METRICS_FILE,
    REPORT_FILE,
    SKIPPED,
    SUMMARY_FILE,
    TISSUES_FILE,
    TRAINED,
    folder_names,
    without_nan,
    write_json,
    write_table,
)
from scnym.runs.reports.training import write_tissues_page

COLUMNS = (
    *("tissue", "folder", "n_cells", "n_classes", "status", "reason"),
    *("accuracy", "accuracy_sd", "macro_f1", "macro_f1_sd", "n_not_judged"),
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
    deviation over folds of accuracy and macro-F1 on held-out cells; how many classes have none to judge by."""

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
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
            way_out="train one model for all with scnym train_tissue_independent; or take fewer folds with --n_folds, "
            "or another column",
            mend={"train_tissue_specific": "train_tissue_independent"},
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


def train_tissues(job: Job, plans: Sequence[TissuePlan], target: Path, progress: Progress) -> TissueModels:
    """Train the models, or those that an interrupted run has not finished, and write the table of all.

    Parameters
    ----------
    job
        The labels of all cells.
    plans
        What is to be done about each tissue.
    target
        Folder of the family.
    progress
        Where to report cells done.

    Raises
    ------
    OutputExistsError, SettingsError
        As in `attempt`.
    """
    settings, to_train = job.settings, [plan for plan in plans if not plan.reason]
    how: Any = {"resume": settings.resume, "overwrite": settings.overwrite, "processes": job.processes}
    with attempt(target, _identity(job, to_train), **how) as folder:
        for number, plan in enumerate(to_train, start=1):
            progress.say(f"{_in_words(plan)}, {number} of {len(to_train)}")
            own, states = folder / RESULT / plan.folder, Checkpoints(folder / STATES / plan.folder, job.processes)
            run_all(plan.job, plan.folds, own, target / plan.folder, states, progress)
        return job.processes.from_first(partial(_write_index, plans, folder / RESULT, target, settings.tissue_column))


def _write_index(plans: Sequence[TissuePlan], folder: Path, target: Path, tissue_column: str) -> TissueModels:
    """Write the table of all tissues, and the page that leads to theirs."""
    table = pd.DataFrame([_row(plan, folder / plan.folder) for plan in plans], columns=list(COLUMNS))
    models = TissueModels(target, table)
    write_table(folder / TISSUES_FILE, table)
    write_json(folder / SUMMARY_FILE, {**models.to_json(), "tissue_column": tissue_column})
    write_tissues_page(folder, folder / REPORT_FILE)
    return models


def _identity(job: Job, plans: Sequence[TissuePlan]) -> dict[str, Any]:
    """Return all that decides the result; the folds of each tissue tell its cells."""
    folds = [fold for plan in plans for fold in plan.folds]
    return {**identity_of(job, folds), "family": "specific", "tissues": [plan.tissue for plan in plans]}


def _in_words(plan: TissuePlan) -> str:
    column, labels = plan.job.settings.tissue_column, plan.job.labels
    return f"{column} {plan.tissue!r}: {int((labels.codes_C >= 0).sum()):,} cells of {len(labels.classes):,} classes"


def _row(plan: TissuePlan, folder: Path) -> dict[str, Any]:
    codes_C, classes = plan.job.labels.codes_C, plan.job.labels.classes
    row = {"tissue": plan.tissue, "n_cells": int((codes_C >= 0).sum()), "n_classes": len(classes)}
    if plan.reason:
        return {**row, "status": SKIPPED, "reason": plan.reason}
    metrics = json.loads((folder / METRICS_FILE).read_bytes())
    spread = metrics["spread"]
    figures = {f"{name}{end}": spread[name][part] for name in ("accuracy", "macro_f1") if spread
               for end, part in (("", "mean"), ("_sd", "sd"))}  # fmt: skip
    return {
        **row,
        "folder": plan.folder,
        "status": TRAINED,
        "reason": "",
        **figures,
        "n_not_judged": len(metrics["not_judged"]),
    }
