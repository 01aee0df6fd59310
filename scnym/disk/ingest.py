"""The converter: raw files are read once in bounded blocks, checked, set aside in parts, and written as a store.

The store is built beside its target and renamed when it is whole, so a target that exists is a store that is
finished. Everything on the way there stands in files that are whole or not there, so a run that was killed goes on
where it was.

C cells, N stored values.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import zarr

from scnym.base.errors import SettingsError
from scnym.base.progress import SILENT, Progress
from scnym.base.schema import dataset_name
from scnym.base.settings import ConvertSettings
from scnym.base.workers import ClusterSettings, Outcome, crew, results_of
from scnym.disk.aside import RESULT, clear_finished, require_replaceable, resumable
from scnym.disk.bucket import ObjectPath, location
from scnym.disk.dataset_job import ENTRY, NOT_ANNOTATED, DatasetJob
from scnym.disk.doubled_cells import remarks_on_doubled
from scnym.disk.formats.sniff import is_store
from scnym.disk.gather import Given, Input, gather
from scnym.disk.handover import convert_and_send, require_store_name
from scnym.disk.headers import check_source, check_sources, remarks_on_table, require_annotated
from scnym.disk.imprint import seal


def convert(
    inputs: Sequence[Given],
    target: str | os.PathLike[str],
    settings: ConvertSettings | None = None,
    *,
    cluster: ClusterSettings | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Convert raw files into one store; each becomes a dataset with its own genes.

    A run that was killed is completed by the same call, which does only what is missing. An input that fails does not
    keep the others from being finished.

    Parameters
    ----------
    inputs
        Files (h5ad, loom, CSV or TSV, also gzipped; 10x h5), folders (10x matrices, Zarr, stores, or folders of all
        these), patterns such as ``data/*.h5ad``, manifests (see `scnym.disk.gather.gather`), or AnnData in memory.
    target
        The store to write, ending in ``.zarr``; in object storage, ``s3://BUCKET/NAME.zarr``, it is built in the
        current folder and sent from there.
    settings
        Memory cap, layer and the like.
    cluster
        Processes that inputs are shared out among, each within the memory cap; None for this one alone. The store is
        the same, byte for byte.
    progress
        Where to report cells done.

    Returns
    -------
    Path
        The finished store; one in object storage as scnym takes it in place of the URL.

    Raises
    ------
    OutputExistsError
        If the target exists and may not be replaced.
    MissingInputError, FormatError, DataError
        If an input is not there, cannot be read, or holds values that make no sense. The target is untouched.
    """
    settings = settings or ConvertSettings()
    place = location(target)
    if isinstance(place, ObjectPath):
        return convert_and_send(place, inputs, settings, partial(convert, cluster=cluster), progress)
    target = place
    _check_target(target, inputs, settings)
    gathered = _gathered(inputs, target, progress)
    for line in remarks_on_table(settings.training_metadata):
        progress.say(line)
    if cluster is not None and any(one.adata is not None for one in gathered):
        raise SettingsError("cells in memory stay in this process", where="cluster", way_out="leave it out")
    is_checked_here = cluster is None or settings.training_metadata is not None  # one table is of all inputs
    if is_checked_here:
        check_sources(gathered, settings, progress)
    work = _entry if is_checked_here else _checked_entry
    with (
        crew(cluster) as workers,
        resumable(
            target,
            overwrite=settings.overwrite,
            is_replaceable=is_store,
            worth_keeping=partial(_holds_finished, progress=progress),
        ) as folder,
    ):
        root = zarr.open_group(folder / RESULT, mode="a", zarr_format=3, use_consolidated=False)
        jobs = [
            DatasetJob(one.located(), root, dataset_name(number), folder, settings.located(), len(gathered) == 1)
            for number, one in enumerate(gathered)
        ]
        outcomes = dict[int, Outcome[dict[str, Any]]]()
        for number, outcome in workers.do(work, jobs, name="convert", unit="inputs", progress=progress):
            outcomes[number] = outcome
            if outcome.fault is not None and len(jobs) > 1:
                progress.say(f"failed: {jobs[number].input.sample}: {outcome.fault}")
        entries = results_of([outcomes[number] for number in range(len(jobs))], "inputs")
        require_annotated([entry.pop(NOT_ANNOTATED) for entry in entries], settings)
        samples = [entry["sample"] for entry in entries]
        for line in remarks_on_doubled(samples, [job.cell_marks() for job in jobs]):
            progress.say(line)
        seal(root, folder / RESULT, entries, [job.cell_hashes() for job in jobs], settings)
    return target


def _check_target(target: Path, inputs: Sequence[Given], settings: ConvertSettings) -> None:
    if not inputs:
        raise SettingsError("there is no input", where="--input_counts", way_out="name at least one file")
    require_store_name(target)
    clear_finished(target.resolve())
    require_replaceable(target, overwrite=settings.overwrite, is_replaceable=is_store)
    for path in (one for one in inputs if isinstance(one, str | Path)):
        if target.resolve() in (Path(path).resolve(), *Path(path).resolve().parents):
            raise SettingsError(
                "an input lies inside the store to be written", where=path, way_out="choose another name"
            )


def _gathered(inputs: Sequence[Given], target: Path, progress: Progress) -> tuple[Input, ...]:
    """Find all inputs; the store that is to be replaced is none, though it may lie in a folder of them."""
    gathered = gather(inputs)
    for line in gathered.lines():
        progress.say(line)
    others = tuple(one for one in gathered.inputs if one.adata is not None or one.path.resolve() != target.resolve())
    if len(others) < len(gathered.inputs):
        progress.say(f"left out, the store that is written: {target.name}")
    if not others:
        raise SettingsError("there is no other input", where=target, way_out="choose another name for the store")
    return others


def _holds_finished(folder: Path, progress: Progress) -> bool:
    """Whether a source is finished, so that a next run need not read it again; the user is told."""
    n_finished = len(list(folder.glob(f"*/{ENTRY}")))
    if n_finished:
        progress.say(f"{n_finished:,} finished inputs are kept in {folder}; the same command goes on from there")
    return n_finished > 0


def _entry(job: DatasetJob, progress: Progress) -> dict[str, Any]:
    return replace(job, progress=progress).entry()


def _checked_entry(job: DatasetJob, progress: Progress) -> dict[str, Any]:
    """As `_entry`, where nobody has looked at the input before."""
    check_source(job.input, job.settings, progress, is_only=job.is_only)
    return _entry(job, progress)
