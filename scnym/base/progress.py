"""How long work tells the caller how far it is. Silent unless a `Progress` is passed in."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int, note: str = "") -> None:
        """Say that `amount` more units are done, with a few words to show beside the bar."""
        ...


@runtime_checkable
class RemoteTask(Protocol):
    """A task that can be told what its work takes in another process; tasks need not be of this kind."""

    def took(self, seconds: float, peak_bytes: int | None) -> None:
        """Say what has been taken there so far: time, and the most memory of that process."""
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
        """Tell the user one thing worth knowing."""
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
        """Say nothing."""
        del line


SILENT: Progress = SilentProgress()
