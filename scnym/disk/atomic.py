"""Work set aside: a folder beside its target that takes the target's name only when everything in it is whole."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from scnym.base.errors import BusyError, NoRoomError, OutputExistsError, ScnymError, UserError
from scnym.disk.location import Location

RESULT = "result"
"""Subfolder of a resumable job's folder that becomes its target."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_IN_WORDS = tuple(os.strerror(number) for number in FULL)
"""What libraries quote of the system: Rust and HDF5."""


@contextmanager
def room_for(target: Path, *, way_out: str = "make room, then give the same command again") -> Iterator[None]:
    """Name what could not be written, where the disk is full: the system's error names no file, others no error.

    Raises
    ------
    NoRoomError
        In place of whatever error comes of a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as fault:
        if isinstance(fault, ScnymError) or not _comes_of_a_full_disk(fault):
            raise
        raise NoRoomError("no space left on device", where=target, way_out=way_out) from fault


def _comes_of_a_full_disk(fault: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room."""
    if (isinstance(fault, OSError) and fault.errno in FULL) or any(words in str(fault) for words in FULL_IN_WORDS):
        return True
    earlier = fault.__cause__ or fault.__context__
    return earlier is not None and _comes_of_a_full_disk(earlier)


@contextmanager
def aside(target: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `target` when the block ends without an error.

    It is `work_folder`, locked while the block runs, and removed if the block fails. What a
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
        If the target exists and may not be replaced.
    BusyError
        If another process is writing it.
    NoRoomError
        If the disk is full.
    """
    target = target.resolve()  # a link keeps pointing where it did
    check = partial(require_replaceable, target, overwrite=overwrite, is_replaceable=is_replaceable)
    check()
    folder = work_folder(target)
    with room_for(target), locked(folder, target):
        _empty(folder)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            check()
        except OutputExistsError as fault:
            raise OutputExistsError(
                "something was put there meanwhile", where=target, way_out=f"the finished work is in {folder}: move it"
            ) from fault
        _publish(folder, target)


@contextmanager
def resumable(
    target: Path,
    *,
    overwrite: bool,
    is_replaceable: Callable[[Path], bool],
    worth_keeping: Callable[[Path], bool],
    way_on: str = "make room; the same command then goes on with what is finished",
) -> Iterator[Path]:
    """Yield a folder to work in; its subfolder `RESULT` becomes `target` when the block ends without an error.

    As `aside`, but what a killed or interrupted run left is still there, for the block to go on with.

    Parameters
    ----------
    target, overwrite, is_replaceable
        As in `aside`.
    worth_keeping
        Asked about the folder when the block fails by the user's mistake: whether something finished is in it that
        a next run will not have to do again. After other failures, a full disk or Ctrl-C, it is always kept.
    way_on
        What to do when the disk was full.

    Raises
    ------
    OutputExistsError, BusyError, NoRoomError
        As in `aside`.
    """
    target = target.resolve()
    check = partial(require_replaceable, target, overwrite=overwrite, is_replaceable=is_replaceable)
    folder = work_folder(target)
    clear_finished(target)
    check()
    with room_for(target, way_out=way_on), locked(folder, target):
        try:
            yield folder
        except UserError:
            if not worth_keeping(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        check()
        _publish(folder / RESULT, target)
        shutil.rmtree(folder)


def work_folder(target: Path) -> Path:
    """Return the folder in which a target is made, ``.NAME.partial`` beside it."""
    return target.with_name(f".{target.name}.partial")


def clear_finished(target: Path) -> None:
    """Remove what is left of a run that was killed between the last two steps, its work being finished."""
    folder = work_folder(target)
    if target.exists() and folder.exists() and not (folder / RESULT).exists():
        with suppress(OutputExistsError), locked(folder, folder):
            shutil.rmtree(folder)


def require_replaceable(target: Path, *, overwrite: bool, is_replaceable: Callable[[Path], bool]) -> None:
    """Refuse a target that exists, unless it may be overwritten and is of the right kind.

    Raises
    ------
    OutputExistsError
        With the way out.
    """
    if target.exists():
        refuse_existing(target, overwrite=overwrite, is_replaceable=is_replaceable(target))


def refuse_existing(target: Location, *, overwrite: bool, is_replaceable: bool) -> None:
    """Refuse what exists, on disk or in object storage, unless it may be overwritten and is of the right kind.

    Raises
    ------
    OutputExistsError
        With the way out.
    """
    if not is_replaceable:
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


@contextmanager
def locked(folder: Path, target: Path) -> Iterator[None]:
    """Make a folder and hold it alone, to write a target; it must still be the one of that name once it is locked.

    Raises
    ------
    BusyError
        If another process holds it.
    OutputExistsError
        If there are links in it: what they lead to is not ours to write.
    """
    while True:
        if folder.is_symlink():
            _refuse_link(folder)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(handle)
            raise BusyError(
                "another process is writing it", where=target, way_out="wait for it, or choose another place"
            ) from fault
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            break
        os.close(handle)
    try:
        _require_no_links(folder)
        yield
    finally:
        os.close(handle)


def nothing_at(unfinished: Path) -> Path:
    """Return the name of a file that is about to be written, free; a link of that name would lead elsewhere."""
    unfinished.unlink(missing_ok=True)
    return unfinished


def _require_no_links(folder: Path) -> None:
    """Refuse what an earlier run left if there are links in it, which no run makes: they may lead anywhere.

    Raises
    ------
    OutputExistsError
        Names the link.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                _refuse_link(path)


def _refuse_link(path: Path) -> NoReturn:
    raise OutputExistsError("a link stands where the work is set aside", where=path, way_out="remove the link")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _publish(folder: Path, target: Path) -> None:
    """Rename the finished folder; what was there before is removed only then."""
    replaced = target.with_name(f".{target.name}.replaced")
    if target.exists():
        if replaced.is_symlink():
            replaced.unlink()
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    folder.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
