"""Hashes of a store's files: written when it is finished, compared when it is verified."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from scnym.base.documents import parse_json
from scnym.base.errors import FormatError, examples
from scnym.base.schema import HASHES_FILE
from scnym.disk.bucket import Location, ObjectPath

WAY_OUT = "copy the store again, from where it was made"
SMALL_BYTES = 2**20
"""Files up to this size are hashed sooner than threads agree on who is next."""


def write_hashes(store: Path) -> None:
    """Write the SHA-256 of every file of a store, and one of the list itself."""
    files = file_hashes(store, stored_files(store))
    (store / HASHES_FILE).write_text(json.dumps({"files": files, "sha256": _of_list(files)}, indent=0))


def read_hashes(store: Location) -> dict[str, str]:
    """Read what every file of a store should be: path below the store to SHA-256.

    Raises
    ------
    FormatError
        If the list is not there or damaged.
    """
    if isinstance(store, Path):
        require_contained(store)
    path = store / HASHES_FILE
    try:
        content = parse_json(path.read_bytes())
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        damaged = content["sha256"] != _of_list(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise FormatError("the list of hashes cannot be read", where=path, way_out="copy the store again") from fault
    if damaged:
        raise FormatError("the list of hashes is damaged", where=path, way_out="copy the store again")
    outside = [name for name in files if _leads_out(name)]
    if outside:
        raise FormatError(f"it names files outside of the store: {examples(outside)}", where=path, way_out=WAY_OUT)
    return files


def require_contained(store: Path) -> None:
    """Refuse a folder with links in it that lead out of it: what they name belongs to someone else.

    Pipes and devices are refused too: whoever reads one waits for ever.

    Raises
    ------
    FormatError
        Names the link, or the pipe.
    """
    root, waiting = store.resolve(), [str(store)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_symlink() and not Path(entry).resolve().is_relative_to(root):
                    raise FormatError("a link leads out of the store", where=entry.path, way_out=WAY_OUT)
                elif not entry.is_symlink() and not entry.is_file():
                    raise FormatError("it is neither file nor folder", where=entry.path, way_out=WAY_OUT)


def _leads_out(name: str) -> bool:
    return "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def stored_files(store: Path) -> Iterator[str]:
    """Give the files of a store that have a hash, below it, sorted."""
    found = (path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    yield from sorted(name for name in found if name != HASHES_FILE)


def file_hashes(store: Location, names: Iterator[str] | list[str]) -> dict[str, str]:
    """Hash files; those that take long several at a time."""
    names = list(names)
    with ThreadPoolExecutor() as pool:
        waiting = {name: pool.submit(_of_file, store / name) for name in names if _takes_long(store / name)}
        return {name: waiting[name].result() if name in waiting else _of_file(store / name) for name in names}


def _takes_long(path: Location) -> bool:
    return isinstance(path, ObjectPath) or path.stat().st_size > SMALL_BYTES


def _of_file(path: Location) -> str:
    if isinstance(path, ObjectPath):
        content = hashlib.sha256()
        for piece in path.pieces():
            content.update(piece)
        return content.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_list(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
