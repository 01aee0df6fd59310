"""Progress of long-running work. Silent unless a `Progress` is passed in.

A job in another process sends messages of plain values: a dictionary with `call` (who asked for the job), `job` (its
number), `attempt` (at this job) and `task` (of this attempt); `name`, `total` and `unit` when the task begins;
`amount`, `note`, `seconds` and `peak_bytes` while it runs; `end` (whether it was done) when it is over.

`Stopwatch` measures what work costs: time and memory.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

COST_FILE = "cost.json"
"""In the folder of a run: what it cost."""


class Stopwatch:
    """Measures what has been spent since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def cost(self, n_cells: int) -> dict[str, Any]:
        """Return seconds, peak memory of this process in bytes (None if unknown), and cells per second."""
        seconds = time.monotonic() - self._began
        return {
            "seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            "n_cells": n_cells,
            "cells_per_second": round(n_cells / max(seconds, 1e-9), 1),
        }


def peak_memory_bytes() -> int | None:
    """Return the most memory that this process has held so far; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int, note: str = "") -> None:
        """Report that `amount` more units are done, with a few words to show beside the bar."""
        ...


@runtime_checkable
class RemoteTask(Protocol):
    """A task that can be told what its work takes in another process; tasks need not be of this kind."""

    def took(self, seconds: float, peak_bytes: int | None) -> None:
        """Report what has been taken there so far: time, and the most memory of that process."""
        ...


class Progress(Protocol):
    """Where a job reports to.

    Of jobs in other processes a thread of its own tells: tasks may be opened, advanced and ended there while lines are
    said here, and those of different jobs overlap.
    """

    def task(self, name: str, *, total: int | None, unit: str) -> AbstractContextManager[Task]:
        """Open a task of `total` units (None: not known beforehand)."""
        ...

    def say(self, line: str) -> None:
        """Print one thing worth knowing."""
        ...


class _SilentTask:
    def advance(self, amount: int, note: str = "") -> None:
        del amount, note


class SilentProgress:
    """Reports nothing."""

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Open a task that nobody watches."""
        del name, total, unit
        yield _SilentTask()

    def say(self, line: str) -> None:
        """Print nothing."""
        del line


SILENT: Progress = SilentProgress()


SECONDS_BETWEEN_MESSAGES = 0.5
"""Least time between two messages of a task."""
Message = dict[str, Any]
_Key = tuple[int, str, int]
"""Job, attempt, task."""


@dataclass
class Sender:
    """A progress whose tasks are told of at once, and whose lines wait until the job is done."""

    call: str
    """Who asked for the job."""
    job: int
    """Number of the job."""
    send: Callable[[Message], Any]
    lines: list[str] = field(default_factory=list)
    attempt: str = field(default_factory=lambda: uuid4().hex)
    n_tasks: int = 0

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Open a task of `total` units."""
        self.n_tasks += 1
        head = {"call": self.call, "job": self.job, "attempt": self.attempt, "task": self.n_tasks}
        task = _SentTask(head, self.send)
        task.tell(name=str(name), total=None if total is None else int(total), unit=unit)
        is_done = False
        try:
            yield task
            is_done = True
        finally:
            task.flush()
            task.tell(end=is_done)

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)


@dataclass
class _SentTask:
    head: Message
    send: Callable[[Message], Any]
    amount: int = 0
    note: str = ""
    began: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def advance(self, amount: int, note: str = "") -> None:
        self.amount += int(amount)  # NumPy's numbers cannot be sent
        self.note = str(note or self.note)
        if time.monotonic() - self.last >= SECONDS_BETWEEN_MESSAGES:
            self.flush()

    def flush(self) -> None:
        """Send how much was done since the last time."""
        now = time.monotonic()
        self.tell(amount=self.amount, note=self.note, seconds=now - self.began, peak_bytes=peak_memory_bytes())
        self.amount, self.note, self.last = 0, "", now

    def tell(self, **values: Any) -> None:
        self.send({**self.head, **values})


class _CutOffError(Exception):
    """A task that will not be finished."""


class Receiver:
    """Shows the tasks of jobs elsewhere, in whatever thread their messages come; once it is closed, none.

    Parameters
    ----------
    progress
        Where to show them.
    call
        Who asked for the jobs; messages about those of others are passed over.
    """

    def __init__(self, progress: Progress, call: str) -> None:
        self._progress, self._call = progress, call
        self._attempts: dict[int, str] = {}
        """The last attempt at each job."""
        self._past: set[int | str] = set()
        """Jobs that are over, and attempts whose process was lost."""
        self._open: dict[_Key, tuple[AbstractContextManager[Task], Task]] = {}
        self._lock, self._is_closed = Lock(), False

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closed = True
            self._cut_off([*self._open])

    def take(self, message: Mapping[str, Any]) -> None:
        """Take in a message. A new attempt at a job says that the process of the one before was lost."""
        key = job, attempt, _ = message["job"], message["attempt"], message["task"]
        with self._lock:
            if self._is_closed or message["call"] != self._call or {job, attempt} & self._past:
                return
            if self._attempts.setdefault(job, attempt) != attempt:
                self._past.add(self._attempts[job])
                self._attempts[job] = attempt
                self._cut_off([other for other in self._open if other[0] == job])
            if "name" in message:
                shown = self._progress.task(message["name"], total=message["total"], unit=message["unit"])
                self._open[key] = shown, shown.__enter__()
            elif key in self._open and "end" in message:
                self._end(key, is_done=message["end"])
            elif key in self._open:
                _, task = self._open[key]
                if isinstance(task, RemoteTask):
                    task.took(message["seconds"], message["peak_bytes"])
                task.advance(message["amount"], message["note"])

    def drop(self, job: int) -> None:
        """Show nothing more of a job."""
        with self._lock:
            self._past.add(job)
            self._cut_off([key for key in self._open if key[0] == job])

    def _cut_off(self, keys: Sequence[_Key]) -> None:
        for key in keys:
            self._end(key, is_done=False)

    def _end(self, key: _Key, *, is_done: bool) -> None:
        shown, _ = self._open.pop(key)
        if is_done:
            shown.__exit__(None, None, None)
            return
        fault = _CutOffError()
        with suppress(_CutOffError):
            shown.__exit__(_CutOffError, fault, None)
