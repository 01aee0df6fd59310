"""What commands print on a terminal: nothing is cut, however narrow it is, and nothing coloured that must not be."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import sysconfig
import termios
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from every_command import LINES, prepare, run
from rich.console import Console
from rich.text import Text

import cli.output
from cli.output import show, table_of
from cli.progress import PlainProgress, TerminalProgress
from scnym.base.progress import RemoteTask

NARROW = 40


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command prints on a narrow terminal."""
    folder = tmp_path_factory.mktemp("printed")
    prepare(folder)
    before, cli.output.STDOUT.width = cli.output.STDOUT.width, NARROW
    with contextlib.chdir(folder):
        found = {name: run(line).stdout for name, line in LINES.items()}
        for words in (stdout.split() for stdout in found.values()):
            for word, page in pairwise(words):
                assert word != "report:" or Path(page).is_file(), page
    cli.output.STDOUT.width = before
    return found


@pytest.mark.parametrize("name", LINES)
def test_whoever_writes_a_page_says_where_it_is(name: str, printed: dict[str, str]):
    writes_a_page = name.startswith(("train", "predict", "find", "report"))
    assert ("report:" in printed[name].split()) == writes_a_page


@pytest.mark.parametrize("name", LINES)
def test_on_a_narrow_terminal_nothing_is_cut_and_words_stay_whole(name: str, printed: dict[str, str]):
    assert "…" not in printed[name]
    for line in printed[name].splitlines():
        assert len(line) <= NARROW or len(line.split()) <= 2, line  # a path is longer than the terminal is wide


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal of 40 columns."""
    screen = StringIO()
    monkeypatch.setattr(cli.output, "STDOUT", Console(file=screen, width=NARROW, color_system=None))
    return screen


def test_a_table_that_is_too_wide_is_a_list_with_every_figure(screen: StringIO):
    table = table_of("true \\ predicted", *map(str, range(1, 13)))
    table.add_row("Kupffer cell", *(f"{number:,}" if number else "·" for number in range(0, 12_000, 1_000)))
    show(table)
    told = screen.getvalue().splitlines()
    assert told[0] == "Kupffer cell"
    assert told[1].split() == ["2", "1,000"]
    assert told[-1].split() == ["12", "11,000"]


def test_a_table_that_fits_is_one(screen: StringIO):
    table = table_of("cell type", "cells")
    table.add_row(Text("a type with a name that is longer than the line"), "1,234,567")
    show(table)
    told = screen.getvalue().splitlines()
    assert told[0].split() == ["cell", "type", "cells"]
    assert sum("1,234,567" in line for line in told) == 1
    assert max(map(len, told)) <= NARROW


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_bars_show_rate_time_left_and_memory_and_fit(width: int, encoding: str):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    progress = TerminalProgress(Console(file=screen, force_terminal=True, width=width, color_system=None))
    with progress.task("train fold00 on its selection cells too", total=200_000, unit="cells") as task:
        task.advance(100_000, note="epoch 12 of 150, selection loss 0.123")
    screen.seek(0)
    shown = Text.from_ansi(screen.read()).plain
    for words in ("cells/s", " left", r"\d [MG]B"):
        assert re.search(words, shown)
    assert max(map(len, shown.splitlines())) < width
    assert encoding != "ascii" or shown.isascii()


def test_work_in_another_process_shows_the_memory_and_time_that_it_took_there():
    screen, log = io.StringIO(), io.StringIO()
    shown = TerminalProgress(Console(file=screen, force_terminal=True, width=120, color_system=None))
    for progress in (shown, PlainProgress(Console(file=log), with_memory=True)):
        with progress.task("convert a\nb", total=300, unit="cells") as task:
            assert isinstance(task, RemoteTask)
            task.took(2.0, 987 * 10**12)
            task.advance(300)
    assert "987.0 TB" in Text.from_ansi(screen.getvalue()).plain
    assert log.getvalue() == "convert a b: 300 cells in 2.0 s (150 cells/s, peak memory 987.0 TB)\n"


def on_a_terminal(*words: str, columns: int = 100, **environment: str) -> str:
    """Run scnym where stdout is a terminal; give what it writes there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "FORCE_COLOR"}}
    program = Path(sysconfig.get_path("scripts")) / "scnym"
    child = subprocess.Popen(
        [sys.executable, program, *words], stdout=theirs, stdin=theirs, env={**kept, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # at its end
        while content := os.read(ours, 65_536):
            written += content
    os.close(ours)
    assert child.wait() == 0
    return written.decode()


@pytest.mark.parametrize("words", [("data", "list"), ("--help",), ("convert", "--help")])
def test_no_color_means_no_escapes(words: tuple[str, ...]):
    assert "\x1b" in on_a_terminal(*words)
    assert "\x1b" not in on_a_terminal(*words, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(*words, TERM="dumb")


def test_the_help_of_a_narrow_terminal_cuts_no_name():
    told = on_a_terminal("find_cell_type_markers", "--help", columns=NARROW)
    assert "…" not in told
    for option in ("--min_gene_coverage", "--training_gene_names", "--csv_orientation"):
        assert option in told


def test_what_is_read_by_a_program_is_not_wrapped():
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "scnym", "data", "list"],
        capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 7
    assert "with cell types" in done.stdout.splitlines()[1]
