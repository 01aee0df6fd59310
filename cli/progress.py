"""Progress on the terminal: bars, or a plain line per finished task where nobody watches."""

import enum
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.progress import TaskID
from rich.text import Text

from scnym.base.progress import SILENT, Progress, Task, peak_memory_bytes
from scnym.base.text import displayed
from scnym.base.workers import Launch

from .click_names import get_current_context


class Loudness(enum.Enum):
    """How much is told while work is under way."""

    QUIET = "quiet"
    USUAL = "usual"
    VERBOSE = "verbose"

    @classmethod
    def asked_for(cls) -> "Loudness":
        """Return what the command line that is being carried out asks for."""
        context = get_current_context(silent=True)
        return cls.USUAL if context is None else context.find_root().obj


BAR_WIDTH, GAP = 24, "  "
DROPPED_FIRST = ("bar", "elapsed", "done")
"""What is left out where the terminal is narrow: never rate, time left or memory."""

STYLES = {
    "bar": "bar.complete",
    "done": "progress.download",
    "rate": "progress.data.speed",
    "elapsed": "progress.elapsed",
    "left": "progress.remaining",
    "memory": "progress.filesize",
    "note": "dim",
}


class Bars(RichProgress):
    """Bars that fit the terminal: a line for each task, or two where one is too narrow."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Show the tasks under way."""
        for task in self.tasks:
            yield from self._lines(task, self.console.width)

    def _lines(self, task: RichTask, width: int) -> Iterator[Text]:
        name, note, figures = task.description, str(task.fields["note"]), self._figures(task)
        in_one = _joined({"name": name, **figures, "note": note})
        if in_one.cell_len < width:
            yield in_one
            return
        for dropped in DROPPED_FIRST:
            if _joined(figures).cell_len + len(GAP) >= width:
                figures.pop(dropped, None)
        head = _joined({"name": name, "note": note})
        head.truncate(width - 1, overflow="ellipsis")
        yield head
        yield Text(GAP).append_text(_joined(figures))

    def _figures(self, task: RichTask) -> dict[str, str]:
        """Return what is known of a task, in the order in which it is shown."""
        unit, rate, left = str(task.fields["unit"]), task.finished_speed or task.speed, task.time_remaining
        shares = {} if task.total is None else {"bar": self._bar(task.percentage / 100)}
        total = "" if task.total is None else f"/{task.total:,.0f}"
        return {
            **shares,
            "done": f"{task.completed:,.0f}{total}",
            "rate": f"{rate:,.0f} {unit}/s" if rate else f"- {unit}/s",
            "elapsed": _clock(task.elapsed),
            **({} if task.total is None else {"left": f"{_clock(left)} left"}),
            "memory": _in_words(task.fields["peak_bytes"] or peak_memory_bytes()),
        }

    def _bar(self, share: float) -> str:
        """Draw a bar that can be read without colours."""
        full, rest = "#-" if self.console.options.ascii_only else "━─"
        done = round(BAR_WIDTH * min(max(share, 0), 1))
        return full * done + rest * (BAR_WIDTH - done)


def _joined(parts: dict[str, str]) -> Text:
    return Text(GAP).join(Text(part, style=STYLES.get(name, "")) for name, part in parts.items() if part)


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))


@dataclass
class _BarTask:
    bars: Bars
    task_id: TaskID

    def advance(self, amount: int, note: str = "") -> None:
        self.bars.advance(self.task_id, amount)
        if note:
            self.bars.update(self.task_id, note=displayed(note))

    def took(self, seconds: float, peak_bytes: int | None) -> None:
        del seconds  # a bar shows for how long it has stood there
        self.bars.update(self.task_id, peak_bytes=peak_bytes)


@dataclass
class _CountingTask:
    done: int = 0
    note: str = ""
    peak_bytes: int | None = None
    began: float = field(default_factory=time.monotonic)
    seconds_elsewhere: float | None = None

    def advance(self, amount: int, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note

    def took(self, seconds: float, peak_bytes: int | None) -> None:
        self.seconds_elsewhere, self.peak_bytes = seconds, peak_bytes

    @property
    def seconds(self) -> float:
        """How long the task took, where it was done."""
        here = time.monotonic() - self.began
        return max(here if self.seconds_elsewhere is None else self.seconds_elsewhere, 1e-9)


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
        task_id = bars.add_task(_on_one_line(name), total=total, unit=unit, note="", peak_bytes=None)
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
        self._console.print(displayed(line), markup=False, highlight=False, soft_wrap=True)

    def _display(self) -> Bars:
        return Bars(console=self._console)


class PlainProgress:
    """One line on stderr per finished task, for logs; if asked for, with the memory that was taken."""

    def __init__(self, console: Console, *, with_memory: bool = False) -> None:
        self._console, self._with_memory = console, with_memory

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Task]:
        """Print a line when the block ends without an error."""
        del total
        task = _CountingTask()
        yield task
        seconds = task.seconds
        note = f", {task.note}" if task.note else ""
        note += f", peak memory {_in_words(task.peak_bytes or peak_memory_bytes())}" if self._with_memory else ""
        rate = f"{task.done / seconds:,.0f} {unit}/s"
        self.say(f"{_on_one_line(name)}: {task.done:,} {unit} in {seconds:.1f} s ({rate}{note})")

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(displayed(line), markup=False, highlight=False, soft_wrap=True)


def _on_one_line(name: str) -> str:
    return displayed(" ".join(name.split()))


def _in_words(peak_bytes: int | None) -> str:
    return "unknown" if peak_bytes is None else decimal(peak_bytes)


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
    is_screen = console.is_terminal and not console.is_dumb_terminal
    return TerminalProgress(console) if is_screen else PlainProgress(console)
