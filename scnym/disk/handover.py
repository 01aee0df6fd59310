"""A store delivered to object storage: built on disk first, then sent, with the object that makes it a store last.

Object storage cannot rename. A store is one once its root metadata is there; until then an object of its own marks what
lies there as the beginning of a delivery, which the same command completes.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from scnym.base.errors import OutputExistsError, SettingsError, UserError
from scnym.base.progress import Progress
from scnym.base.schema import STORE_SUFFIX
from scnym.base.settings import ConvertSettings
from scnym.disk.aside import locked
from scnym.disk.bucket import Location, ObjectPath
from scnym.disk.formats.sniff import is_store
from scnym.disk.gather import Given, conversion_key

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
    """Convert raw files into a store in object storage; see `scnym.disk.ingest.convert`, which is given."""
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
    if not is_store(target):
        raise OutputExistsError(
            "something else stands there, which is not overwritten", where=target, way_out="choose another place"
        )
    if not overwrite:
        raise OutputExistsError(
            "the output exists already",
            where=target,
            way_out="choose another place, or give --overwrite",
            mend={"--overwrite": True},
        )


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
    """Give the folder in which a store is built before it is sent, in the current one."""
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
