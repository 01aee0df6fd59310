"""Every error that scnym raises on purpose.

::

    ScnymError                      exit code 1: ours
    └── UserError                   exit code 2: something the user can mend
        ├── MissingInputError       a file or folder that is not there (also FileNotFoundError)
        ├── OutputExistsError       a target that would be overwritten (also FileExistsError)
        │   └── BusyError           a target that another process is writing
        ├── NoRoomError             a disk that is full (also OSError)
        ├── NetworkError            a server that is out of reach, or refuses (also ConnectionError)
        ├── FormatError             a file that cannot be read as what it should be (also ValueError)
        ├── DataError               a readable file with values that make no sense (also ValueError)
        └── SettingsError           an option or a config key (also ValueError)

A message has three parts: where, what, and the way out. An error keeps them on its way between processes.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from scnym.base.text import displayed, shortened

MAX_EXAMPLES = 3
PARTS_NOTE = "parts of the error: "
"""Begins the note from which the error of a DataLoader's worker is put together again, in JSON."""


class ScnymError(Exception):
    """Root of scnym's errors.

    Parameters
    ----------
    what
        The fault, with the value that is wrong.
    where
        File, row, column or option in which it was found.
    way_out
        What the user can do about it.
    mend
        What to change in the command so that it works, where that is known: by option, such as ``--layer`` (True for a
        switch, None to leave it out), or by another of its words.
    message
        In place of all others: how torch reports the error of a DataLoader's worker, from which it makes a new one
        (`torch._utils.ExceptionWrapper.reraise`). The worker's traceback becomes the cause.
    """

    exit_code = 1

    def __init__(
        self,
        what: str = "",
        *,
        where: str | os.PathLike[str] | None = None,
        way_out: str = "",
        mend: Mapping[str, object] | None = None,
        message: str | None = None,
    ) -> None:
        if message is not None:
            what, where, way_out, mend = _parts_of(message, type(self).__name__)
            self.__cause__ = RuntimeError(_without_parts(message))
        self.what = what
        self.where = None if where is None else os.fspath(where)
        self.way_out = way_out
        self.mend = dict(mend or {})
        super().__init__(self.message)
        if _is_in_data_loader_worker():
            self.add_note(PARTS_NOTE + json.dumps([self.what, self.where, self.way_out, self.mend], default=str))

    @property
    def message(self) -> str:
        """The whole error on one line."""
        place = f"{self.where}: " if self.where else ""
        way_out = f"; {self.way_out}" if self.way_out else ""
        return displayed(" ".join(f"{place}{shortened(self.what)}{way_out}".split()))

    def __str__(self) -> str:
        return self.message


class UserError(ScnymError):
    """Something the user can mend."""

    exit_code = 2


class MissingInputError(UserError, FileNotFoundError):
    """A file or folder that is not there."""


class OutputExistsError(UserError, FileExistsError):
    """A target that would be overwritten."""


class BusyError(OutputExistsError):
    """A target that another process is writing at this moment."""


class NoRoomError(UserError, OSError):
    """A disk that is full, or a quota that is used up."""


class NetworkError(UserError, ConnectionError):
    """A server that is out of reach, or refuses."""


class FormatError(UserError, ValueError):
    """A file that cannot be read as what it should be."""


class DataError(UserError, ValueError):
    """A readable file with values that make no sense."""


class SettingsError(UserError, ValueError):
    """An option or a config key with a value that makes no sense."""


def examples(values: Iterable[object]) -> str:
    """Name the first few of `values` for an error message, and how many more there are."""
    items = [str(v) for v in values]
    shown = ", ".join(shortened(repr(v)) for v in items[:MAX_EXAMPLES])
    more = len(items) - MAX_EXAMPLES
    return f"{shown} and {more:,} more" if more > 0 else shown


def meant(option: str, given: object, known: Iterable[object]) -> dict[str, object]:
    """Return what mends an option whose value is none of those known: the one that is most like it, or the only one."""
    names = {str(name).casefold(): str(name) for name in known}
    close = [*names] if len(names) == 1 else get_close_matches(str(given).casefold(), names, n=1, cutoff=0.6)
    return {option: names[close[0]]} if close else {}


def command(*words: object) -> str:
    """Return a command of scnym as it can be pasted into a shell, whatever characters its paths hold."""
    return shlex.join(["scnym", *(str(word) for word in words)])


def _is_in_data_loader_worker() -> bool:
    """Whether this process is a worker of a DataLoader, of whose errors torch passes on the type and a text."""
    ask = getattr(sys.modules.get("torch.utils.data"), "get_worker_info", None)
    return ask is not None and ask() is not None


def _parts_of(report: str, name: str) -> tuple[str, str | None, str, dict[str, Any]]:
    """Return what, where, way out and mend of an error of this name, from the text of its traceback."""
    last = report.rstrip().rpartition("\n")[2]
    if last.startswith(PARTS_NOTE):
        what, where, way_out, mend = json.loads(last.removeprefix(PARTS_NOTE))
        return what, where, way_out, mend
    said = re.match(rf"(\w+\.)*{name}: (?P<message>.+)", last)
    return said["message"] if said else report, None, "", {}


def _without_parts(report: str) -> str:
    """Return the text of a traceback without what only `_parts_of` reads."""
    return "\n".join(line for line in report.splitlines() if not line.startswith(PARTS_NOTE))
