"""What an interrupted run goes on from: what finished folds gave, and the last kept epoch of an unfinished one."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from scnym.base.errors import FormatError
from scnym.model.bare_weights import LOADING_FAULTS
from scnym.model.collectives import ALONE, Processes

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
        """Give what a finished fold gave; None if it is not finished."""
        return self._processes.from_first(lambda: _read(self._folder / (name + FINISHED)))

    def damaged(self, name: str) -> FormatError:
        """Give the error about a finished fold whose state makes no sense."""
        return _damaged(self._folder / (name + FINISHED))

    def unfinished(self, name: str) -> State | None:
        """Give the last state that was kept of an unfinished fold; None if there is none."""
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
