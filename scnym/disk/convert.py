"""The converter: raw files are read once in bounded blocks, checked, set aside in parts, and written as a store.

The store is built beside its target and renamed when it is complete. Every file on the way is complete or not there, so
an interrupted run resumes where it was. A store for object storage, which cannot rename, is built on disk and uploaded;
its root metadata comes last, and makes it a store.

C cells, N stored values.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import zarr

from scnym.base.errors import SettingsError, UserError
from scnym.base.progress import SILENT, Progress
from scnym.base.schema import STORE_SUFFIX, dataset_name
from scnym.base.settings import ConvertSettings
from scnym.base.workers import ClusterSettings, Outcome, crew, results_of
from scnym.disk.atomic import RESULT, clear_finished, locked, refuse_existing, require_replaceable, resumable
from scnym.disk.dataset import ENTRY, NOT_ANNOTATED, DatasetJob
from scnym.disk.doubled_cells import remarks_on_doubled
from scnym.disk.formats.detect import is_store
from scnym.disk.inputs import Given, Input, conversion_key, gather
from scnym.disk.location import Location, ObjectPath, location
from scnym.disk.manifest import seal
from scnym.disk.preflight import check_source, check_sources, remarks_on_table, require_annotated

ROOT = "zarr.json"
"""The root metadata, without which the rest is no store."""
MARKER = ".scnym-unfinished"
"""Object that stands among the others while they are sent."""
BUILT_FROM, SENT = "built_from", "sent.jsonl"
FILES_AT_ONCE = 4
"""Files that are sent at once, each in pieces of which two are in memory."""
DELETED_AT_ONCE = 1000

Listing = dict[str, tuple[int, str]]


def convert_and_send(
    target: ObjectPath,
    inputs: Sequence[Given],
    settings: ConvertSettings,
    convert: Callable[..., Path],
    progress: Progress,
) -> Path:
    """Convert raw files into a store in object storage; see `scnym.disk.convert.convert`, which is given."""
    require_store_name(target)
    require_deliverable(target, overwrite=settings.overwrite)
    build = partial(convert, inputs, settings=replace(settings, overwrite=False), progress=progress)
    deliver(target, conversion_key(inputs, settings), build, progress)
    return Path(target)


def require_store_name(target: Location) -> None:
    """Refuse a name that does not end as those of stores do.

    Raises
    ------
    SettingsError
        With one that does.
    """
    if target.suffix != STORE_SUFFIX:
        wanted = target.parent / f"{target.name or 'cells'}{STORE_SUFFIX}"
        raise SettingsError(
            f"a store's name ends in {STORE_SUFFIX}",
            where=target,
            way_out=f"write {wanted}",
            mend={str(target): str(wanted)},
        )


def require_deliverable(target: ObjectPath, *, overwrite: bool) -> None:
    """Refuse a target that exists; one whose delivery was interrupted does not exist yet.

    Raises
    ------
    OutputExistsError
        If something is there that may not be replaced.
    UserError
        If the bucket is not there, or the server refuses or cannot be reached.
    """
    listed = target.listed()
    if MARKER in listed or not (listed or target.is_file()):
        return
    refuse_existing(target, overwrite=overwrite, is_replaceable=is_store(target))


def deliver(target: ObjectPath, built_from: str, build: Callable[[Path], object], progress: Progress) -> None:
    """Build a store on disk, below the current folder, send it, and remove it from disk.

    Parameters
    ----------
    target
        Where it goes; see `require_deliverable`.
    built_from
        Names all that the store depends on. One that an earlier run has built from the same is only sent.
    build
        Makes the store, at a path; goes on where an earlier run was interrupted.
    progress
        Where to report files sent.

    Raises
    ------
    UserError
        If the server refuses or cannot be reached, or another delivery goes to the same place at the same time.
    """
    folder = staging_folder(target)
    with locked(folder, folder):
        store, known = folder / target.name, folder / BUILT_FROM
        if not known.exists() or known.read_text() != built_from:
            shutil.rmtree(store, ignore_errors=True)
            (folder / SENT).unlink(missing_ok=True)
            known.write_text(built_from)
        if not store.exists():
            build(store)
        _send(store, target, folder / SENT, progress)
        shutil.rmtree(folder)


def staging_folder(target: ObjectPath) -> Path:
    """Return the folder in which a store is built before it is sent, in the current one."""
    return Path(f".{target.name}-{hashlib.sha256(str(target).encode()).hexdigest()[:8]}.partial").absolute()


def _send(store: Path, target: ObjectPath, journal: Path, progress: Progress) -> None:
    """Send what is not there yet, and the root metadata when everything else is."""
    files = {path.relative_to(store).as_posix(): path for path in sorted(store.rglob("*")) if path.is_file()}
    root = files.pop(ROOT)
    (target / MARKER).write(b"scnym convert is not finished")
    before = target.listed()
    if ROOT in before:
        target.delete([ROOT])  # what stood there is no store any more before it changes
    sent = _sent(journal)
    lost = [name for name, path in files.items() if not _is_there(name, path, sent, before)]
    with progress.task(f"send {target.name}", total=len(files), unit="files") as task:
        task.advance(len(files) - len(lost))
        for name, tag in _written(target, {name: files[name] for name in lost}):
            sent[name] = tag
            with journal.open("a") as lines:
                lines.write(json.dumps([name, tag]) + "\n")
            task.advance(1)
    _remove(target, [name for name in before if name not in files and name not in {ROOT, MARKER}])
    listed = target.listed()
    if any(not _is_there(name, path, sent, listed) for name, path in files.items()):
        raise UserError(
            "something else was written there meanwhile", where=target, way_out="give the same command again"
        )
    (target / ROOT).write(root)
    _remove(target, [MARKER])


def _is_there(name: str, path: Path, sent: dict[str, str], listed: Listing) -> bool:
    """Whether an object is the one that was sent, by its size and the tag that the server gave it then."""
    return name in sent and listed.get(name) == (path.stat().st_size, sent[name])


def _sent(journal: Path) -> dict[str, str]:
    """Read which files an earlier run has sent; its last line may be cut short."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return dict(json.loads(line) for line in lines if line.endswith("]"))


def _written(target: ObjectPath, files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    def write(name: str, path: Path) -> tuple[str, str]:
        return name, (target / name).write(path)

    with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
        yield from threads.map(write, files, files.values())


def _remove(target: ObjectPath, names: list[str]) -> None:
    for start in range(0, len(names), DELETED_AT_ONCE):
        target.delete(names[start : start + DELETED_AT_ONCE])


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
        these), patterns such as ``data/*.h5ad``, manifests (see `scnym.disk.inputs.gather`), or AnnData in memory.
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
