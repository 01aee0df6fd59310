"""What every benchmark shares: a process per figure, medians of interleaved rounds, tables with bars.

Needs the standard library only, because rivals run it in environments of their own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""As the command line sets it: threads that spin while they wait hold up the others."""


@dataclass(frozen=True)
class Figure:
    """What one process measured."""

    cells: float
    """Cells, or whatever a step counts."""
    seconds: float
    """Without starting, loading libraries and warming up."""
    peak_bytes: float
    """Most memory that the whole process held."""

    @property
    def rate(self) -> float:
        """Cells per second."""
        return self.cells / self.seconds


@dataclass(frozen=True)
class Rounds:
    """The same figure, taken in every round."""

    figures: tuple[Figure, ...]

    @property
    def rate(self) -> float:
        """Median of the cells per second."""
        return statistics.median(figure.rate for figure in self.figures)

    @property
    def peak_bytes(self) -> float:
        """Median of the peak memory."""
        return statistics.median(figure.peak_bytes for figure in self.figures)

    def times(self, other: "Rounds") -> float:
        """How many times the rate of another this one is: the median of the ratios inside a round."""
        return statistics.median(a.rate / b.rate for a, b in zip(self.figures, other.figures, strict=True))

    def __str__(self) -> str:
        return f"{self.rate:,.0f} cells/s, {self.peak_bytes / 1e6:,.0f} MB"


@dataclass(frozen=True)
class Line:
    """One line of a table: what, which bar, what came out, and whether that is enough (None: no bar)."""

    what: str
    bar: str
    figure: str
    passed: bool | None


Step = Callable[[Sequence[str]], tuple[float, float]]
"""Does one thing, given its arguments; gives what it counted, and seconds."""


def peak_bytes() -> int:
    """Return the high-water mark of this process alone: getrusage would count the parent's memory before the start."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def run_step(steps: Mapping[str, Step], arguments: Sequence[str]) -> None:
    """Run one step in this process, and print its figure for the parent."""
    cells, seconds = steps[arguments[0]](arguments[1:])
    print(json.dumps(asdict(Figure(cells, seconds, peak_bytes()))))


def measured(script: Path, step: str, *arguments: object, python: Path | str = sys.executable) -> Figure:
    """Run one step of a script in a process of its own."""
    command = [str(python), str(script), step, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **PASSIVE})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Figure(**json.loads(done.stdout.splitlines()[-1]))


def put_out_of_memory(*paths: Path) -> None:
    """Have whoever reads some files and folders next go to the disk, where large ones would have to go anyway."""
    for path in (file for top in paths for file in (top.rglob("*") if top.is_dir() else [top])):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def take_turns(plan: Mapping[str, Callable[[], Figure]], n_rounds: int) -> dict[str, Rounds]:
    """Take every measurement once a round, one after the other, so that the machine's moods meet all alike."""
    figures: dict[str, list[Figure]] = {name: [] for name in plan}
    for number in range(n_rounds):
        for name, measure in plan.items():
            figure = measure()
            figures[name].append(figure)
            note = f"round {number + 1}, {name}: {figure.rate:,.0f}/s, {figure.peak_bytes / 1e6:,.0f} MB"
            print(note, file=sys.stderr, flush=True)
    return {name: Rounds(tuple(measured)) for name, measured in figures.items()}


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Do something; give what it gives, and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def passes_timed(one_pass: Callable[[], int], n_passes: int) -> tuple[int, float]:
    """Make a pass that warms up, then more that count; give the cells and seconds of these."""
    one_pass()
    return timed(lambda: sum(one_pass() for _ in range(n_passes)))


def ratio_line(what: str, wanted: float, ours: Rounds, rivals: Mapping[str, Rounds]) -> Line:
    """Make a line that passes when our rate is `wanted` times that of the fastest of some others."""
    name, theirs = max(rivals.items(), key=lambda rival: rival[1].rate)
    ratio = ours.times(theirs)
    return Line(what, f"{wanted:g} x {name}: {theirs}", f"{ratio:.2f} x: {ours}", ratio >= wanted)


def growth_lines(what: str, small: Rounds, large: Rounds) -> list[Line]:
    """Make lines that pass when memory and time per cell are the same, to a tenth, for more cells."""
    memory, cost = large.peak_bytes / small.peak_bytes, small.times(large)
    peaks = f"{small.peak_bytes / 1e6:,.0f} MB", f"{large.peak_bytes / 1e6:,.0f} MB"
    times = f"{1e6 / small.rate:.1f} us", f"{1e6 / large.rate:.1f} us"
    return [
        Line(f"{what}: peak memory", f"at most 1.1 x {peaks[0]}", f"{memory:.2f} x: {peaks[1]}", memory <= 1.1),
        Line(f"{what}: time per cell", f"at most 1.1 x {times[0]}", f"{cost:.2f} x: {times[1]}", cost <= 1.1),
    ]


def table(lines: Sequence[Line]) -> str:
    """Format lines as a Markdown table."""
    words = {True: "pass", False: "**fail**", None: ""}
    body = [f"| {line.what} | {line.bar} | {line.figure} | {words[line.passed]} |" for line in lines]
    return "\n".join(["| what | bar | figure | |", "|---|---|---|---|", *body])


def machine() -> str:
    """Name what the figures were taken on."""
    model = next((line.partition(":")[2].strip() for line in _cpu_info() if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def write_results(name: str, text: str, lines: Sequence[Line], figures: Mapping[str, Rounds]) -> None:
    """Write ``results/NAME.md`` and the same in JSON; print the text."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    record = {
        "machine": machine(),
        "lines": [asdict(line) for line in lines],
        "figures": {key: asdict(rounds)["figures"] for key, rounds in figures.items()},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(text)


def work_options(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, help="folder for generated files, reused when given (default: temporary)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds, of which medians are given")
    return parser


@contextmanager
def work_folder(given: Path | None) -> Iterator[Path]:
    """Yield the folder for generated files; a temporary one is removed afterwards."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
