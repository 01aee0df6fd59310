"""What the user sees while work is under way: bars on a terminal, one plain line per finished task elsewhere."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as RichTask
from rich.text import Text

from scnym.base.cost import peak_memory_bytes
from scnym.base.display import displayed
from scnym.base.launch import Launch
from scnym.base.progress import SILENT, Progress, Task

from .loudness import Loudness


class MemoryColumn(ProgressColumn):
    """The most memory that this process has taken so far."""

    def render(self, task: RichTask) -> Text:
        """Show it in MB or GB."""
        del task
        return Text(_peak_memory(), style="progress.download")


class RateColumn(ProgressColumn):
    """Units per second."""

    def render(self, task: RichTask) -> Text:
        """Show the rate once it is known."""
        rate = task.finished_speed or task.speed
        unit = str(task.fields.get("unit", ""))
        return Text(f"{rate:,.0f} {unit}/s" if rate else f"- {unit}/s", style="progress.data.speed")


@dataclass
class _BarTask:
    bars: Bars
    task_id: TaskID

    def advance(self, amount: int, note: str = "") -> None:
        self.bars.advance(self.task_id, amount)
        if note:
            self.bars.update(self.task_id, note=escape(displayed(note)))


@dataclass
class _CountingTask:
    done: int = field(default=0)
    note: str = field(default="")

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note


class TerminalProgress:
    """Rich bars with rate and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Bars | None = None

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Show a bar while the block runs; tasks inside tasks share one display."""
        outermost = self._bars is None
        bars = self._bars or self._display()
        if outermost:
            self._bars = bars
            bars.start()
        task_id = bars.add_task(escape(displayed(name)), total=total, unit=unit, note="")
        try:
            yield _BarTask(bars, task_id)
        finally:
            if outermost:
                bars.stop()
                self._bars = None
            else:
                bars.remove_task(task_id)

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._console.print(displayed(line), markup=False, highlight=False)

    def _display(self) -> Bars:
        return Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            MemoryColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self._console,
        )


class PlainProgress:
    """One line on stderr per finished task, for logs; if asked for, with the memory that was taken."""

    def __init__(self, console: Console, *, with_memory: bool = False) -> None:
        self._console, self._with_memory = console, with_memory

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Print a line when the block ends without an error."""
        del total
        started, task = time.monotonic(), _CountingTask()
        yield task
        seconds = max(time.monotonic() - started, 1e-9)
        note = f", {task.note}" if task.note else ""
        note += f", peak memory {_peak_memory()}" if self._with_memory else ""
        self.say(f"{name}: {task.done:,} {unit} in {seconds:.1f} s ({task.done / seconds:,.0f} {unit}/s{note})")

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(displayed(line), markup=False, highlight=False, soft_wrap=True)


def _peak_memory() -> str:
    peak = peak_memory_bytes()
    return "unknown" if peak is None else decimal(peak)


def speaks() -> bool:
    """Whether this process talks to the user: of several that train together only the first does."""
    return Launch.of(os.environ).is_first


def make_progress() -> Progress:
    """Bars if stderr is a terminal, plain lines otherwise or with --verbose, nothing with --quiet."""
    console, loudness = Console(stderr=True), Loudness.asked_for()
    if loudness is Loudness.QUIET:
        return SILENT
    if loudness is Loudness.VERBOSE:
        return PlainProgress(console, with_memory=True)
    return TerminalProgress(console) if console.is_terminal else PlainProgress(console)
