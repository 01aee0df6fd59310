"""The folder in which a run is made, beside its target, and its checkpoints: an interrupted run resumes from them."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from scnym.base.errors import FormatError, OutputExistsError, SettingsError
from scnym.base.text import parse_json
from scnym.disk.atomic import RESULT, clear_finished, require_replaceable, resumable, work_folder
from scnym.model.distributed import ALONE, Processes
from scnym.model.snapshot import LOADING_FAULTS
from scnym.runs.output_tree import flat, is_run, write_json

STATES = "states"
"""Subfolder with the states of folds."""
BEGUN_FILE = "begun.json"
"""What was begun: all that decides the result."""
ROUNDING_ONLY = ("processes", "threads")
"""What a run that goes on may have other numbers of: both, or neither."""

WAY_ON = "make room; the same command with --resume, and without --overwrite, then goes on"


@contextmanager
def attempt(
    target: Path, identity: Mapping[str, Any], *, resume: bool, overwrite: bool, processes: Processes = ALONE
) -> Iterator[Path]:
    """Yield the folder of a run: what is in its subfolder `RESULT` becomes `target`; `STATES` is for checkpoints.

    Parameters
    ----------
    target
        What the result becomes.
    identity
        All that decides the result, as plain values; an attempt goes on only if it is the same.
    resume
        Go on with what was interrupted, if anything was.
    overwrite
        Start anew, and replace a target that exists.
    processes
        Who trains together: the first makes the folder, and gives the result its name; the others write nothing.

    Raises
    ------
    OutputExistsError, SettingsError
        As in `require_startable`; or if what was begun was another run, naming what differs.
    """
    target = target.resolve()
    if not processes.is_first:
        yield work_folder(target)
        return
    require_startable(target, resume=resume, overwrite=overwrite)
    begun = _begun(target) if resume else None
    overwrite = overwrite or _may_overwrite(begun)
    how: Any = {"is_replaceable": is_run, "worth_keeping": _is_worth_keeping, "way_on": WAY_ON}
    with resumable(target, overwrite=overwrite, **how) as folder:
        if begun is None:
            _empty(folder)
            write_json(folder / BEGUN_FILE, {"identity": identity, "overwrite": overwrite})
        else:
            _require_same(begun["identity"], identity, target)
        for name in (RESULT, STATES):
            (folder / name).mkdir(exist_ok=True)
        yield folder


def require_startable(target: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse what stands in the way of a run, before any work.

    Raises
    ------
    OutputExistsError
        If an unfinished run is there and it is not said what to do with it; if the run is finished, and nothing says
        to replace it.
    """
    target = target.resolve()
    clear_finished(target)
    begun = None if overwrite else _begun(target)
    if begun is not None and not resume:
        raise OutputExistsError(
            "an unfinished run is in the way",
            where=target,
            way_out="give --resume to go on, or --overwrite to start anew",
            mend={"--resume": True},
        )
    if resume and begun is None and is_run(target):
        raise OutputExistsError(
            "the run is finished, nothing is left to do",
            where=target,
            way_out="give --overwrite to train again",
            mend=ANEW,
        )
    require_replaceable(target, overwrite=overwrite or _may_overwrite(begun), is_replaceable=is_run)


def _begun(target: Path) -> dict[str, Any] | None:
    """Read what was begun; None if nothing was, or nothing of it was kept that is worth going on with.

    Raises
    ------
    FormatError
        If the record of it is damaged.
    """
    folder = work_folder(target)
    file = folder / BEGUN_FILE
    if not file.is_file() or not _is_worth_keeping(folder):
        return None
    try:
        begun = parse_json(file.read_bytes())
        return {"identity": dict(begun["identity"]), "overwrite": bool(begun["overwrite"])}
    except (ValueError, LookupError, TypeError) as fault:
        raise FormatError(
            "a damaged record of an unfinished run",
            where=file,
            way_out="give --overwrite to start anew",
            mend=ANEW,
        ) from fault


def _may_overwrite(begun: Mapping[str, Any] | None) -> bool:
    return begun is not None and begun["overwrite"]


def _is_worth_keeping(folder: Path) -> bool:
    return any_kept(folder / STATES)


def _empty(folder: Path) -> None:
    for name in (RESULT, STATES):
        shutil.rmtree(folder / name, ignore_errors=True)


def _require_same(begun: dict[str, Any], now: Mapping[str, Any], target: Path) -> None:
    theirs, ours = flat(begun), flat(json.loads(json.dumps(now)))
    if theirs.get("processes") != ours.get("processes"):  # then rounding differs, which is all that threads change
        theirs, ours = ({**one, **dict.fromkeys(ROUNDING_ONLY)} for one in (theirs, ours))
    different = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    if different:
        said = "; ".join(f"{name} was {theirs.get(name)!r}, is {ours.get(name)!r}" for name in different)
        raise SettingsError(
            f"what was begun is another run: {said}",
            where=target,
            way_out="give the same data and settings with the same version, or --overwrite to start anew",
        )


FINISHED, UNFINISHED = ".finished.pt", ".unfinished.pt"
SECONDS_BETWEEN = 30.0
"""Least time between two checkpoints of one fold: at most so much is done again."""
ANEW = {"--overwrite": True, "--resume": None}
"""How a command is to be given that does not go on with what is there."""

State = Mapping[str, Any]
"""Tensors and plain values only."""


class Checkpoints:
    """The states of a run's folds, in a folder; each is written aside and renamed when whole.

    Parameters
    ----------
    folder
        Where they are kept; made if it is not there.
    processes
        Who trains together: the first keeps states, and what it reads is for all. How many they are is in no state.
    """

    def __init__(self, folder: Path, processes: Processes = ALONE) -> None:
        if processes.is_first:
            folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._processes = folder, processes
        self._last_kept = time.monotonic()

    def finished(self, name: str) -> State | None:
        """Return what a finished fold gave; None if it is not finished."""
        return self._processes.from_first(lambda: _read(self._folder / (name + FINISHED)))

    def damaged(self, name: str) -> FormatError:
        """Return the error about a finished fold whose state makes no sense."""
        return _damaged(self._folder / (name + FINISHED))

    def unfinished(self, name: str) -> State | None:
        """Return the last state that was kept of an unfinished fold; None if there is none."""
        return self._processes.from_first(lambda: _read(self._folder / (name + UNFINISHED)))

    def keep(self, name: str, state: Callable[[], State]) -> None:
        """Keep the state of an unfinished fold, unless one was kept a short while ago."""
        if self._processes.is_first and time.monotonic() - self._last_kept >= SECONDS_BETWEEN:
            _write(self._folder / (name + UNFINISHED), state())
            self._last_kept = time.monotonic()

    def finish(self, name: str, result: State) -> None:
        """Keep what a fold gave, all its files being written."""
        if not self._processes.is_first:
            return
        _write(self._folder / (name + FINISHED), result)
        (self._folder / (name + UNFINISHED)).unlink(missing_ok=True)
        self._last_kept = time.monotonic()


def any_kept(folder: Path) -> bool:
    """Whether a folder, or a folder inside it, holds any state."""
    return any(folder.rglob(f"*{FINISHED}")) or any(folder.rglob(f"*{UNFINISHED}"))


def _write(path: Path, state: State) -> None:
    unfinished = path.with_name(path.name + ".partial")
    with unfinished.open("wb") as file:
        torch.save(dict(state), file)
    unfinished.rename(path)


def _read(path: Path) -> State | None:
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except LOADING_FAULTS:
        state = None
    if not isinstance(state, dict):
        raise _damaged(path)
    return state


def _damaged(path: Path) -> FormatError:
    return FormatError(
        "a damaged checkpoint; nothing in it was executed",
        where=path,
        way_out="start anew with --overwrite",
        mend=ANEW,
    )
