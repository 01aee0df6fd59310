"""Executes every target many times in processes of their own: ``make fuzz EXECUTIONS=100000 TARGETS="csv h5ad"``.

A finding is named by its target and number; ``python tests/fuzz/run.py csv --number 17`` executes it once, by itself.
A process that crashes, hangs or takes too much memory is a finding as well, and the next one goes on behind it.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

HANG_SECONDS = 10.0
STARTING_SECONDS = 180.0
"""Until its first execution a process imports and compiles."""
MOST_SECONDS_OF_A_LOOK = 1.0
"""What took longer between two looks at a process was a pause of both."""
MEMORY_BYTES = 10**9
"""What one process may take beside what it had when it had read the file undamaged."""
EXAMPLES = 3
WARMING = 30
"""Executions until everything is imported and compiled."""
MUCH_MEMORY = 77
"""Exit code of a process that has taken more than three quarters of what it may."""
OUT = Console(markup=False, highlight=False, soft_wrap=True)
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Tally:
    """What is known of one target."""

    executions: int = 0
    seconds: float = 0.0
    read: int = 0
    """Damaged files that were read nevertheless; all others were refused."""
    peak_bytes: int = 0
    """Most memory of any of its processes beside what it began with."""
    findings: dict[str, list[int]] = field(default_factory=dict)
    """What came out that is no ScnymError, with the place, and the numbers of the executions."""
    words: dict[str, str] = field(default_factory=dict)
    """What the first of each said."""

    def found(self, what: str, number: int, words: str = "") -> None:
        """Note a finding."""
        self.findings.setdefault(what, []).append(number)
        self.words.setdefault(what, words)


def main() -> int:
    """Run targets, print a table, write findings; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="targets; all by default")
    parser.add_argument("--executions", type=int, default=None, help="executions per target; its own number by default")
    parser.add_argument("--number", type=int, default=None, help="execute only this one, and let its error out")
    parser.add_argument("--first", type=int, default=0, help="number of the first execution")
    parser.add_argument("--findings", type=Path, default=Path("fuzz_findings.json"), help="where findings are written")
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the damaged files; best in memory")
    given = parser.parse_args()
    from fuzz.targets import TARGETS, attempt

    names = given.targets or list(TARGETS)
    if given.number is not None:
        with _scratch(given.scratch) as folder:
            _limit_memory()
            OUT.print("read" if attempt(TARGETS[names[0]].prepare(folder), Random(given.number)) else "refused")
        return 0
    tallies: dict[str, Tally] = {}
    OUT.print(f"{'target':<16}{'executions':>12}{'seconds':>10}{'per second':>12}{'read':>10}{'MB':>8}{'findings':>10}")
    for name in names:
        tallies[name] = tally = _fuzz(name, given.first, given.executions or TARGETS[name].executions, given.scratch)
        OUT.print(
            f"{name:<16}{tally.executions:>12,}{tally.seconds:>10,.0f}{tally.executions / tally.seconds:>12,.0f}"
            f"{tally.read:>10,}{tally.peak_bytes / 1e6:>8,.0f}{len(tally.findings):>10}"
        )
        for what, numbers in tally.findings.items():
            some = ", ".join(map(str, numbers[:EXAMPLES]))
            OUT.print(f"    {len(numbers):,} x {what} {tally.words[what]}; number {some}")
    given.findings.write_text(json.dumps({name: tally.findings for name, tally in tallies.items()}, indent=1))
    return int(any(tally.findings for tally in tallies.values()))


def _fuzz(name: str, first: int, executions: int, scratch: Path | None) -> Tally:
    """Execute a target in processes that follow each other where one is lost."""
    tally, began, number = Tally(), time.monotonic(), first
    while number < first + executions:
        at, done, messages = SPAWN.Value("q", -1), SPAWN.Event(), SPAWN.SimpleQueue()
        given = (name, number, first + executions, scratch, at, done, messages)
        process = SPAWN.Process(target=_execute_all, args=given)
        process.start()
        end = _watched(process, at, messages, tally)
        if at.value < 0:
            raise SystemExit(f"{name}: the process did not come to its first execution ({end})")
        if done.is_set():
            break
        tally.found(end, at.value)
        number = at.value + 1
    tally.executions, tally.seconds = executions, time.monotonic() - began
    return tally


def _watched(process: Any, at: "Synchronized[int]", messages: Any, tally: Tally) -> str:
    """Wait until a process ends, or hangs and is ended; say how."""
    last, waited, seen = -1, 0.0, time.monotonic()
    while process.is_alive() or not messages.empty():
        if messages.empty():
            process.join(0.05)
        while not messages.empty():
            kind, value = messages.get()
            if kind == "read":
                tally.read += value
            elif kind == "peak":
                tally.peak_bytes = max(tally.peak_bytes, value)
            else:
                tally.found(*value)
        now = time.monotonic()
        waited, seen = waited + min(now - seen, MOST_SECONDS_OF_A_LOOK), now
        if at.value != last:
            last, waited = at.value, 0.0
        if waited > (STARTING_SECONDS if last < 0 else HANG_SECONDS):
            process.kill()
            process.join()
            return f"hangs for {HANG_SECONDS:.0f} s"
    return f"the process ended with {process.exitcode}"


def _execute_all(
    name: str, first: int, stop: int, scratch: Path | None, at: "Synchronized[int]", done: Any, messages: Any
) -> None:
    import torch
    from fuzz.targets import TARGETS, attempt

    torch.set_num_threads(1)  # two wait for each other longer than they multiply numbers so small
    with _scratch(scratch) as folder, Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        execute = TARGETS[name].prepare(folder)
        for number in range(WARMING):
            with suppress(Exception):  # counted when its turn comes
                attempt(execute, Random(number))
        before, n_read = _resident_bytes(), 0
        _limit_memory()
        for number in range(first, stop):
            at.value = number
            try:
                n_read += attempt(execute, Random(number))
            except BaseException as fault:  # noqa: BLE001 - whatever comes out is what is looked for
                messages.put(("finding", (_kind_and_place(fault), number, " ".join(str(fault).split())[:200])))
            if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before > MEMORY_BYTES * 3 // 4:
                os._exit(MUCH_MEMORY)
            if number % 1000 == 999 or number == stop - 1:
                messages.put(("read", n_read))
                messages.put(("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before))
                n_read = 0
        done.set()


def _kind_and_place(fault: BaseException) -> str:
    """Name a fault by its kind and the last place in scnym that it came through."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if "/tests/" not in frame.filename and str(ROOT) in frame.filename]
    own = [frame for frame in own if ".venv" not in frame.filename] or list(frames)
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return f"{type(fault).__name__} at {place}"


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _limit_memory() -> None:
    """Let this process map so much memory more and nothing beyond."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, mapped + MEMORY_BYTES))


@contextmanager
def _scratch(place: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


if __name__ == "__main__":
    sys.exit(main())
