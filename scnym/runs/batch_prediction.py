"""Many samples, one model: each sample is a prediction of its own, and a table over all says what each gave."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.base.errors import OutputExistsError, UserError, examples
from scnym.base.progress import SILENT, Progress
from scnym.base.settings import ConvertSettings, PredictSettings
from scnym.base.text import distinct_names, parse_json
from scnym.base.text_columns import as_numbers
from scnym.base.workers import ClusterSettings, Outcome, crew, results_of
from scnym.disk.atomic import locked, nothing_at, room_for
from scnym.disk.inputs import Input, gather, path_state
from scnym.disk.location import require_folder
from scnym.model.device import choose_device
from scnym.runs.inputs import open_input
from scnym.runs.models import find_models
from scnym.runs.output_tree import REPORT_FILE, SUMMARY_FILE, write_table
from scnym.runs.prediction import FOLDER, label_store
from scnym.runs.predictor import PREDICTIONS_FILE, Pass
from scnym.runs.reports.prediction import COUNT_PREFIX, TABLE_FILE, write_samples_page

TAKEN = {TABLE_FILE, SUMMARY_FILE, PREDICTIONS_FILE, REPORT_FILE}
"""File names that no sample's folder may have."""
LABELLED, FAILED, NOT_DONE = "labelled", "failed", "not done"
"""What became of a sample: column `status`."""


@dataclass(frozen=True)
class SamplePredictions:
    """What the predictions of many samples gave."""

    folder: Path
    """Holds a folder for each sample."""
    rows: tuple[dict[str, Any], ...]
    """What the table says of each sample."""
    outcomes: tuple[Outcome[Any], ...]

    @property
    def table(self) -> Path:
        """The table of all samples."""
        return self.folder / TABLE_FILE

    def require_all(self) -> None:
        """Raise what went wrong, if anything did.

        Raises
        ------
        UserError
            If any sample failed; the others are finished.
        """
        results_of(self.outcomes, "samples")


@dataclass(frozen=True, kw_only=True)
class _SampleJob:
    """One sample to be labelled."""

    input: Input
    out: Path
    """Where its counts are converted."""
    target: Path
    model_path: Path
    training_gene_names: Path | None
    settings: PredictSettings
    convert_settings: ConvertSettings

    def key(self) -> str:
        """Name everything that the result depends on."""
        models = find_models(self.model_path, self.training_gene_names)
        lists = (self.convert_settings.input_genes, self.convert_settings.training_metadata, self.training_gene_names)
        files = [*models.paths.values(), *(Path(name) for name in lists if name)]
        states = [path_state(file) for file in files]
        known = (self.input.fingerprint(), states, asdict(self.settings), asdict(self.convert_settings))
        return hashlib.sha256(repr((known, version("scnym"))).encode()).hexdigest()

    def finished(self) -> dict[str, Any] | None:
        """Return the summary of the sample's prediction, if it has one."""
        with suppress(OSError, ValueError):
            return parse_json((self.target / SUMMARY_FILE).read_bytes())
        return None


def predict_samples(
    input_counts: str | Path,
    model_path: str | Path,
    out_path: str | Path,
    settings: PredictSettings | None = None,
    *,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    cluster: ClusterSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SamplePredictions:
    """Label many samples, each by itself, into ``predictions/SAMPLE/``, with ``predictions/summary.csv`` over all.

    What a run that was killed has finished is not done again by the same call. Every process computes with one thread,
    so that the labels are the same, byte for byte, whatever the number of processes.

    Parameters
    ----------
    input_counts
        A folder, a pattern, a store, or a manifest with a column `path`; every file is a sample.
    model_path, settings, training_gene_names, convert_settings
        As in `scnym.predict`. The memory cap is that of each process.
    out_path
        Folder in which ``predictions/`` is made.
    cluster
        Processes that the samples are shared out among; None for this one alone.
    overwrite
        Whether samples are labelled again whose file, model or settings have changed since.
    progress
        Where to report samples done.

    Raises
    ------
    UserError
        If the model is missing or damaged, or something else stands in the way. What goes wrong with single samples
        is told in the result; see `SamplePredictions.require_all`.
    """
    out = require_folder(out_path).absolute()
    jobs = _jobs(
        input_counts,
        out,
        model_path=Path(model_path).absolute(),
        training_gene_names=None if training_gene_names is None else Path(training_gene_names).absolute(),
        settings=settings or PredictSettings(),
        convert_settings=(convert_settings or ConvertSettings()).located(),
    )
    missing = _missing(jobs, overwrite=overwrite)
    if len(missing) < len(jobs):
        progress.say(f"{len(jobs) - len(missing):,} of {len(jobs):,} samples are labelled already")
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    seconds = _seconds_before(folder / TABLE_FILE)
    outcomes = {number: Outcome(True) for number in range(len(jobs)) if number not in missing}
    try:
        if missing:
            _label([jobs[number] for number in missing], missing, outcomes, seconds, cluster, progress)
    finally:
        rows = [_row(job, outcomes.get(number), seconds) for number, job in enumerate(jobs)]
        table = _with_types(pd.DataFrame(rows), rows)
        _write_over(folder / TABLE_FILE, partial(write_table, table=table))
        _write_over(folder / REPORT_FILE, partial(write_samples_page, folder))
    return SamplePredictions(folder, tuple(rows), tuple(outcomes[number] for number in range(len(jobs))))


def _jobs(input_counts: str | Path, out: Path, **given: Any) -> list[_SampleJob]:
    """Find the samples, and whatever is wrong with the model before any of them is read."""
    choose_device(given["settings"].device)
    models = find_models(given["model_path"], given["training_gene_names"])
    models.load(next(iter(models.paths)))
    if (out / FOLDER / PREDICTIONS_FILE).exists():
        raise OutputExistsError(
            "a prediction of all cells together stands there", where=out / FOLDER, way_out="choose another --out_path"
        )
    inputs = [one.located() for one in gather([input_counts]).inputs]
    folders = distinct_names([one.sample for one in inputs], TAKEN)
    return [
        _SampleJob(input=one, out=out, target=out / FOLDER / name, **given)
        for one, name in zip(inputs, folders, strict=True)
    ]


def _missing(jobs: Sequence[_SampleJob], *, overwrite: bool) -> list[int]:
    """Return the numbers of the samples that are still to be labelled.

    Raises
    ------
    OutputExistsError
        If a sample was labelled from another file, by another model or with other settings.
    """
    found = [job.finished() for job in jobs]
    is_there = [job.input.path.exists() for job in jobs]  # a file that is not fails by itself, when its turn comes
    missing = [
        number
        for number, (job, before, here) in enumerate(zip(jobs, found, is_there, strict=True))
        if before is None or not here or before.get("key") != job.key()
    ]
    changed = [jobs[number].target.name for number in missing if found[number] is not None and is_there[number]]
    if changed and not overwrite:
        raise OutputExistsError(
            f"the file, the model or the settings have changed since: {examples(changed)}",
            where=jobs[0].target.parent,
            way_out="give --overwrite to label these again, or choose another --out_path",
            mend={"--overwrite": True},
        )
    return missing


def _label(
    jobs: Sequence[_SampleJob],
    numbers: Sequence[int],
    outcomes: dict[int, Outcome[Any]],
    seconds: dict[str, float],
    cluster: ClusterSettings | None,
    progress: Progress,
) -> None:
    """Label samples, and keep what becomes of each as it is known."""
    with crew(cluster) as workers:
        for k, outcome in workers.do(_labelled, jobs, name="predict", unit="samples", progress=progress):
            outcomes[numbers[k]] = outcome
            if outcome.fault is None:
                seconds[jobs[k].input.sample] = outcome.result or 0.0
            else:
                progress.say(f"failed: {jobs[k].input.sample}: {outcome.fault}")


def _labelled(job: _SampleJob, progress: Progress) -> float:
    """Label one sample, in whatever process; give the time that it took, in seconds."""
    del progress  # what it would say of every sample stands in the table
    started, key = time.monotonic(), job.key()
    with _held(job), _one_thread():
        before = job.finished()
        if before is not None and before.get("key") == key:
            return 0.0  # by a worker that was lost before it could say so
        store = open_input(job.input, job.out, job.convert_settings, SILENT)
        models = find_models(job.model_path, job.training_gene_names)
        sample = Pass(store, models, job.settings, choose_device(job.settings.device), SILENT)
        label_store(sample, job.target, {"model": str(job.model_path), "key": key}, overwrite=before is not None)
    return time.monotonic() - started


@contextmanager
def _held(job: _SampleJob) -> Iterator[None]:
    """Work on a sample alone: a worker that is lost may still do so."""
    lock = job.target.with_name(f".{job.target.name}.lock")
    with locked(lock, job.target):
        try:
            yield
        finally:
            lock.rmdir()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread: from three on, sums are taken in another order, and their last bits differ."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _row(job: _SampleJob, outcome: Outcome[Any] | None, seconds: dict[str, float]) -> dict[str, Any]:
    """Return what became of a sample."""
    found = job.finished() if outcome is not None and outcome.fault is None else None
    status = NOT_DONE if outcome is None else FAILED if found is None else LABELLED
    row: dict[str, Any] = {"sample": job.input.sample, "path": str(job.input.path), "folder": job.target.name}
    row |= {"status": status, "reason": "" if outcome is None or outcome.fault is None else _in_words(outcome.fault)}
    types = (found or {}).get("cells_by_type", {})
    for name in ("n_cells", "n_empty_cells", "n_unknown", "mean_confidence"):
        row[name] = (found or {}).get(name)
    row["gene_coverage"] = found["coverage"]["n_found"] / max(1, found["coverage"]["n_genes"]) if found else None
    row["most_frequent"] = max(types, key=types.__getitem__, default="")
    row["seconds"] = seconds.get(job.input.sample)
    row["warnings"] = " ".join((found or {}).get("warnings", ()))
    return {**row, "cells_by_type": types}


def _in_words(fault: Exception) -> str:
    return str(fault) if isinstance(fault, UserError | OSError) else f"{type(fault).__name__}: {fault}"


def _with_types(table: pd.DataFrame, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Add a column for every type, with the number of its cells in each sample; no type's name makes it another one."""
    types = sorted({name for row in rows for name in row["cells_by_type"]})
    counts = {
        f"{COUNT_PREFIX}{name}": pd.array(
            [row["cells_by_type"].get(name, 0) if row["cells_by_type"] else None for row in rows], "Int64"
        )
        for name in types
    }
    whole = {name: table[name].astype("Int64") for name in ("n_cells", "n_empty_cells", "n_unknown")}
    return table.drop(columns="cells_by_type").assign(**whole).assign(**counts)


def _write_over(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file; until it is whole the one before it stands, and another run's does not get mixed with it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with room_for(path):
        try:
            write(nothing_at(unfinished))
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _seconds_before(path: Path) -> dict[str, float]:
    """Read how long samples took that an earlier run has labelled."""
    with suppress(OSError, ValueError, KeyError):
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        return dict(zip(before["sample"], as_numbers(before["seconds"], errors="raise").astype(float), strict=True))
    return {}
