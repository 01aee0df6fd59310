"""A model for each tissue: which tissues can have one, their training one after the other, and the table of all.

What is finished stays finished: each tissue's folder is written aside and renamed by itself, and a run that was
interrupted goes on with the tissues that are missing.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.base.errors import MAX_EXAMPLES, DataError, SettingsError, UserError, examples
from scnym.base.progress import Progress
from scnym.disk.aside import RESULT, aside, resumable
from scnym.feed.plan import digest
from scnym.runs.families import REPORT_FILE, SKIPPED, TISSUES_FILE, TRAINED, folder_names
from scnym.runs.folder import METRICS_FILE, flat, is_run, without_nan, write_json, write_table
from scnym.runs.folds import Fold
from scnym.runs.intake import Context
from scnym.runs.learning import Job
from scnym.runs.report import write_index
from scnym.runs.single_run import run_all

IDENTITY_FILE = "identity.json"
"""Beside unfinished work: what decides its result."""
NOT_COMPARED = ("overwrite", "convert")
"""Settings that do not change what is learnt from a store."""
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


def is_tissues_run(path: Path) -> bool:
    """Whether a path is a folder that a finished run of the specific family has written."""
    return (path / TISSUES_FILE).is_file()


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
    SettingsError
        If unfinished work of other settings or other data is there.
    """
    job = plans[0].job
    with resumable(
        target, overwrite=job.settings.overwrite, is_replaceable=is_tissues_run, worth_keeping=_has_models
    ) as work:
        _take_up(work, _identity(plans), target, overwrite=job.settings.overwrite)
        folder = work / RESULT
        to_train = [plan for plan in plans if not plan.reason]
        for number, plan in enumerate(to_train, start=1):
            _train(plan, folder, target, f"{number} of {len(to_train)}", progress)
        table = pd.DataFrame([_row(plan, folder / plan.folder) for plan in plans], columns=list(COLUMNS))
        write_table(folder / TISSUES_FILE, table)
        write_index(folder / REPORT_FILE, without_nan(table), job.settings.tissue_column)
    return TissueModels(target, table)


def _train(plan: TissuePlan, folder: Path, target: Path, count: str, progress: Progress) -> None:
    labels = plan.job.labels
    head = f"{plan.job.settings.tissue_column} {plan.tissue!r} ({count})"
    if is_run(folder / plan.folder):
        progress.say(f"{head}: finished before")
        return
    progress.say(f"{head}: {int((labels.codes_C >= 0).sum()):,} cells, {len(labels.classes):,} classes")
    with aside(folder / plan.folder, overwrite=False, is_replaceable=is_run) as own:
        run_all(plan.job, plan.folds, own, target / plan.folder, progress)


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


def _has_models(work: Path) -> bool:
    return any(is_run(folder) for folder in (work / RESULT).glob("*"))


def _identity(plans: Sequence[TissuePlan]) -> dict[str, Any]:
    """Give all that decides what the models become, as plain values."""
    job = plans[0].job
    settings = {name: value for name, value in asdict(job.settings).items() if name not in NOT_COMPARED}
    return {
        **flat(settings),
        "counts": job.store.content_hash,
        "genes": list(job.genes),
        "tissues": [plan.tissue for plan in plans],
        "classes": [list(plan.job.labels.classes) for plan in plans],
        "labels": [digest(plan.job.labels.codes_C) for plan in plans],
    }


def _take_up(work: Path, identity: dict[str, Any], target: Path, *, overwrite: bool) -> None:
    """Keep what an interrupted run of the same identity left; refuse to mix it with another, or remove it."""
    path = work / IDENTITY_FILE
    theirs = json.loads(path.read_bytes()) if path.is_file() else identity
    different = [name for name in {**identity, **theirs} if identity.get(name) != theirs.get(name)]
    if different and _has_models(work) and not overwrite:
        raise SettingsError(
            f"an unfinished run is there, with other {examples(different)}",
            where=target,
            way_out="give what it was given, to go on with it, or --overwrite, to begin anew",
        )
    if different:
        shutil.rmtree(work / RESULT, ignore_errors=True)
    (work / RESULT).mkdir(exist_ok=True)
    write_json(path, identity)
