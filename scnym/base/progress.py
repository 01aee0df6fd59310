"""How long work tells the caller how far it is. Silent unless a `Progress` is passed in."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: int, note: str = "") -> None:
        """Say that `amount` more units are done, with a few words to show beside the bar."""
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
