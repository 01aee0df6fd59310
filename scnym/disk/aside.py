"""Work set aside: a folder beside its target that takes the target's name only when everything in it is whole."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scnym.base.errors import OutputExistsError


@contextmanager
def aside(target: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give an empty folder to fill; it becomes `target` when the block ends without an error.

    It is ``.NAME.partial`` beside the target, locked while the block runs, and removed if the block fails. What a
    killed run left there is removed first.

    Parameters
    ----------
    target
        What the folder becomes.
    overwrite
        Whether a target that exists may be replaced.
    is_replaceable
        Says whether what exists is of the kind that is written here; nothing else is ever replaced.

    Raises
    ------
    OutputExistsError
        If the target exists and may not be replaced, or another process is writing it.
    """
    require_replaceable(target, overwrite=overwrite, is_replaceable=is_replaceable)
    partial = target.with_name(f".{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial, target):
        _empty(partial)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _publish(partial, target)


def require_replaceable(target: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    """Refuse a target that exists, unless it may be overwritten and is of the right kind.

    Raises
    ------
    OutputExistsError
        With the way out.
    """
    if not target.exists():
        return
    if not is_replaceable(target):
        raise OutputExistsError(
            "something else stands there, which is not overwritten", where=target, way_out="choose another place"
        )
    if not overwrite:
        raise OutputExistsError(
            "the output exists already", where=target, way_out="choose another place, or give --overwrite"
        )


@contextmanager
def _locked(partial: Path, target: Path) -> Iterator[None]:
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(handle)
        raise OutputExistsError(
            "another process is writing it", where=target, way_out="wait for it, or choose another place"
        ) from fault
    try:
        yield
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _publish(partial: Path, target: Path) -> None:
    """Give the finished folder its name; what stood there goes away only then."""
    replaced = target.with_name(f".{target.name}.replaced")
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    partial.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
