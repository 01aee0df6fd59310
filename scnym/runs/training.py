"""Training runs, one for each family: cells in, cross-validated and final models out, in one folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anndata import AnnData

from scnym.base.errors import DataError, examples
from scnym.base.progress import SILENT, Progress
from scnym.base.settings import RunSettings
from scnym.disk.atomic import RESULT
from scnym.disk.features import read_genes
from scnym.disk.location import Location, require_folder
from scnym.disk.store import Store
from scnym.feed.checks import mismatch_advice
from scnym.feed.genes import gene_list
from scnym.feed.stream import StreamDataset
from scnym.model.device import choose_device
from scnym.model.distributed import Processes, joined
from scnym.runs.checkpoints import STATES, Checkpoints, attempt, require_startable
from scnym.runs.cross_validation import RunSummary, identity_of, run_all
from scnym.runs.fold_training import balanced_stream
from scnym.runs.folds import Fold, Job, classes_of_one_group, make_folds, remarks_on_folds
from scnym.runs.inputs import (
    UNLABELLED,
    CellLabels,
    Context,
    annotated,
    context_of,
    groups_of,
    labels_of,
    name_of,
    open_input,
    remarks_on_names,
    require_context,
    require_grouped,
)
from scnym.runs.output_tree import FOLDERS
from scnym.runs.tissue_models import TissueModels, plan_tissues, train_tissues

HIGH_AMPLIFICATION = 3.0
"""Values decoded per value used, above which the user is told how to bring the classes together."""


def train_tissue_independent(
    input_counts: str | Path | AnnData,
    out_path: str | Path,
    settings: RunSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> RunSummary:
    """Cross-validate, then train the final model on all cells; write ``OUT/tissue_independent/``.

    Parameters
    ----------
    input_counts
        A store; or counts in a raw file or an AnnData, which are converted into ``OUT/cache`` once.
    out_path
        Folder in which ``tissue_independent/`` is made.
    settings
        Labels, split, stream, network, training.
    progress
        Where to report cells done.

    Raises
    ------
    UserError
        If input, labels or settings make no sense, before any training; if the output exists, finished or not, and
        nothing says what to do with it.
    """
    target = require_folder(out_path) / FOLDERS["independent"]
    with _prepared(input_counts, target, settings or RunSettings(), progress) as (job, listener):
        return _train_into(target, job, split(job, name_of(input_counts), listener), listener)


def train_tissue_dependent(
    input_counts: str | Path | AnnData,
    out_path: str | Path,
    settings: RunSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> RunSummary:
    """Train as `train_tissue_independent`, with the tissue read beside the genes; write ``OUT/tissue_dependent/``.

    Cells without a tissue are left out. The model file knows the tissues, and so does ``tissue_categories.csv``.

    Parameters
    ----------
    input_counts, out_path, settings, progress
        As in `train_tissue_independent`.

    Raises
    ------
    UserError
        As there; and if there are no tissues, or only one.
    """
    target = require_folder(out_path) / FOLDERS["dependent"]
    with _prepared(input_counts, target, settings or RunSettings(), progress) as (job, listener):
        reading = _reading_tissues(job, name_of(input_counts), listener)
        return _train_into(target, reading, split(reading, name_of(input_counts), listener), listener)


def _reading_tissues(job: Job, input_counts: Location, progress: Progress) -> Job:
    """Return the job of the dependent family: cells of a known tissue only."""
    context = _of_known_tissue(job, input_counts, progress)
    labels = job.labels.within(context.codes_C >= 0, min_cells=job.settings.split.min_cells_per_class)
    context = context.within(labels.codes_C >= 0)
    if len(context.levels) < 2:
        raise DataError(
            f"one {context.column} only ({examples(context.levels)})",
            where="--upper_group",
            way_out="train without it, with scnym train_tissue_independent, or name another column",
            mend={"train_tissue_dependent": "train_tissue_independent"},
        )
    return replace(job, labels=labels, context=context, family="dependent")


def train_tissue_specific(
    input_counts: str | Path | AnnData,
    out_path: str | Path,
    settings: RunSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> TissueModels:
    """Train one model for each tissue, with classes and folds of its own; write ``OUT/tissues/``.

    A tissue whose cells are all of one class, or each of another, is skipped, and said. Tissues that an
    interrupted run of the same settings has finished are not trained again.

    Parameters
    ----------
    input_counts, out_path, settings, progress
        As in `train_tissue_independent`.

    Raises
    ------
    UserError
        As there; and if there are no tissues, or none that can have a model.
    """
    target, where = require_folder(out_path) / FOLDERS["specific"], name_of(input_counts)
    with _prepared(input_counts, target, settings or RunSettings(), progress) as (job, listener):
        context = _of_known_tissue(job, where, listener)
        if job.groups is not None:  # what is wrong with the groups is wrong for every tissue
            of_known_C = np.where(context.codes_C >= 0, job.labels.codes_C, UNLABELLED)
            require_grouped(job.groups, of_known_C, job.store, where)
        plans = plan_tissues(job, context, partial(split, where=where, progress=listener), listener)
        return train_tissues(job, plans, target, listener)


@contextmanager
def _prepared(
    input_counts: str | Path | AnnData, target: Path, settings: RunSettings, progress: Progress
) -> Iterator[tuple[Job, Progress]]:
    """Check everything that can be wrong before work starts; return what is to be done, and the progress.

    Of several processes that train together, the first prepares what takes files, and is the only one to be heard.
    """
    device = choose_device(settings.device)
    with joined(device) as processes:
        progress = progress if processes.is_first else SILENT
        if processes.is_first:
            require_startable(target, resume=settings.resume, overwrite=settings.overwrite)
        given = input_counts, target.parent, settings.convert, progress, _needed_columns(settings)
        store = _opened(partial(open_input, *given), processes)
        job = _job(store, name_of(input_counts), settings, device, progress)
        yield replace(job, processes=processes), progress


def _needed_columns(settings: RunSettings) -> dict[str, str]:
    """Return the columns that the input itself must have, by option; none where a table of annotations is given."""
    if settings.training_metadata:
        return {}
    named = {"--lower_group": settings.label_column, "--cv_group": settings.split.group_column}
    return {option: column for option, column in named.items() if column is not None}


def _opened(open_input: Callable[[], Store], processes: Processes) -> Store:
    """Open the input, which the first process may have to convert; then the others open what it gave."""
    if not processes.is_first:
        return Store(processes.from_first(Path))
    store = open_input()
    processes.from_first(lambda: store.path)
    return store


def _job(store: Store, input_counts: Location, settings: RunSettings, device: torch.device, progress: Progress) -> Job:
    metadata = settings.training_metadata and Path(settings.training_metadata)
    obs = annotated(store, metadata or None, progress)
    labels = labels_of(
        obs, settings.label_column, metadata or input_counts, min_cells=settings.split.min_cells_per_class
    )
    genes = _model_genes(store, settings.genes_to_use, progress)
    left_out = {"without a label": labels.n_unlabelled, "of classes that are too small": labels.n_rare}
    for reason, count in left_out.items():
        if count:
            progress.say(f"{count:,} of {store.n_cells:,} cells {reason} are left out")
    column = settings.split.group_column
    groups = None if column is None else groups_of(obs, column, input_counts)
    _say_odd_names("classes", settings.label_column, labels.classes, progress)
    if groups is not None:
        _say_odd_names("groups", groups.column, groups.levels, progress)
    return Job(
        store,
        labels,
        genes,
        settings,
        device,
        columns=list(obs.columns),
        context=context_of(obs, settings.tissue_column),
        groups=groups,
    )


def _say_odd_names(what: str, column: str, names: Sequence[str], progress: Progress) -> None:
    for line in remarks_on_names(names, f"{what} of column {column!r}"):
        progress.say(line)


def _of_known_tissue(job: Job, input_counts: Location, progress: Progress) -> Context:
    """Return the tissues, which this family needs, and report how many labelled cells have none."""
    where = job.settings.training_metadata or input_counts
    context = require_context(job.context, job.columns, job.settings.tissue_column, where)
    n_lost = int(((context.codes_C < 0) & (job.labels.codes_C >= 0)).sum())
    if n_lost:
        progress.say(f"{n_lost:,} of {job.store.n_cells:,} cells without a {context.column} are left out")
    _say_odd_names("levels", context.column, context.levels, progress)
    return context


def _train_into(target: Path, job: Job, folds: Sequence[Fold], progress: Progress) -> RunSummary:
    """Cross-validate and train the final model of one job; the folder appears when all of it is finished."""
    settings = job.settings
    _say_what_clustering_gains(balanced_stream(job, folds[0]), job.labels, settings.label_column, progress)
    how: Any = {"resume": settings.resume, "overwrite": settings.overwrite, "processes": job.processes}
    with attempt(target, identity_of(job, folds), **how) as folder:
        return run_all(job, folds, folder / RESULT, target, Checkpoints(folder / STATES, job.processes), progress)


def split(job: Job, where: Location, progress: Progress) -> list[Fold]:
    """Make the folds, and say what rare classes and whole groups mean for them."""
    labels, settings, groups = job.labels, job.settings.split, job.groups
    if groups is not None:
        require_grouped(groups, labels.codes_C, job.store, where)
    folds = make_folds(labels.codes_C, labels.classes, settings, None if groups is None else groups.codes_C)
    lines = [*remarks_on_folds(folds, labels.codes_C, labels.classes, settings)]
    if groups is not None:
        lines += _remarks_on_groups(folds, labels, groups)
    place = "" if job.tissue is None else f"{job.settings.tissue_column} {job.tissue!r}: "
    for line in lines:
        progress.say(f"{place}{line}")
    return folds


def _remarks_on_groups(folds: Sequence[Fold], labels: CellLabels, groups: Context) -> Iterator[str]:
    """Yield what it means that no group is both held out and learnt from."""
    codes_C, classes = labels.codes_C, labels.classes
    unlearnt = [np.setdiff1d(codes_C[fold.held_out], codes_C[fold.learnt]) for fold in folds]
    unknown = {classes[code] for codes in unlearnt for code in codes}
    lonely = [name for name in classes_of_one_group(codes_C, classes, groups.codes_C) if name in unknown]
    others = sorted(unknown - set(lonely))
    if lonely:
        words = f"live in one {groups.column} only, and are unknown where that is held out"
        yield f"classes that {words}: {examples(lonely)}"
    if others:
        yield f"classes that are unknown where every {groups.column} that has them is held out: {examples(others)}"
    n_groups = len(np.unique(groups.codes_C[codes_C != UNLABELLED]))
    yield f"{n_groups:,} groups ({groups.column}) are kept whole; {_how_selected(folds)}"


def _how_selected(folds: Sequence[Fold]) -> str:
    by_cell = [fold.name for fold in folds if fold.selection_by == "cell"]
    if not by_cell:
        return "selection cells are set aside by whole groups"
    where = "" if len(by_cell) == len(folds) else f" in {', '.join(by_cell)}"
    return f"selection cells are set aside by cell{where}, where whole groups would be too few"


def _say_what_clustering_gains(training: StreamDataset, labels: CellLabels, column: str, progress: Progress) -> None:
    """Report once if much is decoded in vain."""
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
    """Return the genes that all sources have, or those of them that stand in a list."""
    in_order = gene_list(store.datasets, "inner")
    shared = set(in_order)
    if not shared:
        names = [source.sample for source in store.sources]
        advice = mismatch_advice(*(one.genes for one in store.datasets[:2]), source=names[0], model=names[1])
        raise DataError("the sources share no gene", where=store.path, way_out=f"convert them apart; {advice}")
    if genes_to_use is None:
        return in_order
    path = Path(genes_to_use)
    wanted = set(read_genes(path, "--genes_to_use"))
    if not wanted & shared:
        advice = mismatch_advice(sorted(wanted), in_order, source="the list", model="the data")
        raise DataError("none of these genes is in the counts", where=path, way_out=advice)
    if wanted - shared:
        progress.say(f"{len(wanted - shared):,} of the {len(wanted):,} genes to use are not in the counts")
    return [gene for gene in in_order if gene in wanted]
