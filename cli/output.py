"""Tables, lists and JSON on the terminal."""

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText

from scnym.base.text import displayed

from .results import FetchedDataSet, ListedData

if TYPE_CHECKING:
    from pydantic import BaseModel

    from scnym import DataFile, DataSet, FetchedData

GAP = 2
"""Columns of the terminal between those of a table."""
UNBOUNDED = 100_000
"""Columns of what is no terminal, where a program may read: nothing is cut or wrapped."""


def _console() -> Console:
    """Return the console of results: as wide as the terminal, and without any escapes where NO_COLOR says so."""
    is_bounded = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if is_bounded else UNBOUNDED
    return Console(highlight=False, width=width, color_system=None if os.environ.get("NO_COLOR") else "auto")


STDOUT = _console()


def text(content: str) -> RichText:
    """Return text that is shown as it is: without markup, and without what steers a terminal."""
    return RichText(displayed(content))


def table_of(first: str, *others: str, words: tuple[str, ...] = ()) -> Table:
    """Return a table without rows.

    Parameters
    ----------
    first
        Name of a first column, of words.
    others
        Names of other columns, of figures.
    words
        Those of the others that hold words, too.
    """
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="left" if name in words else "right", no_wrap=name not in words)
    return table


def show(table: Table) -> None:
    """Print a table; where the terminal is too narrow for it, each row as a list, so that nothing is cut."""
    if _least_width(table) <= STDOUT.width:
        STDOUT.print(table)
        return
    for line in _as_lists(table):
        STDOUT.print(line, overflow="fold")


def _least_width(table: Table) -> int:
    """Return the columns that a table needs if figures stay whole, and words are broken between words."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    parts = [
        cells if column.no_wrap else [word for cell in cells for word in cell.split()]
        for column, cells in zip(table.columns, columns, strict=True)
    ]
    return sum(max(map(cell_len, found), default=0) for found in parts) + GAP * (len(parts) - 1)


def _as_lists(table: Table) -> Iterator[RichText]:
    first, *others = ([str(cell) for cell in column.cells] for column in table.columns)
    names = [str(column.header) for column in table.columns][1:]
    widest = max(map(len, names), default=0)
    for number, title in enumerate(first):
        if title:
            yield RichText(title, style="bold")
        for name, cells in zip(names, others, strict=True):
            if cells[number] not in {"", "·"}:
                yield RichText(_wrapped(cells[number], f"  {name:<{widest}}  ", " " * (widest + 4)))


def say(line: str) -> None:
    """Print a line; on a narrow terminal it is broken between words, never within one, such as a path."""
    broken = (_wrapped(part, "", "  ") for part in displayed(line).split("\n"))
    STDOUT.print("\n".join(broken), markup=False, soft_wrap=True)


def _wrapped(content: str, before: str, below: str) -> str:
    """Break a line between words, with what stands in front of it, and in front of its other lines."""
    indents: dict[str, Any] = {"initial_indent": before, "subsequent_indent": below}
    return textwrap.fill(content, STDOUT.width, **indents, break_long_words=False, break_on_hyphens=False)


def print_json(result: "BaseModel") -> None:
    """Print a result for machines; in ASCII, whatever the terminal's encoding, and null for what is no number."""
    STDOUT.file.write(json.dumps(json.loads(result.model_dump_json()), indent=2) + "\n")


def print_data_sets(listed: Mapping[str, "DataSet"], *, as_json: bool) -> None:
    """Print what data sets there are."""
    if as_json:
        print_json(ListedData.model_validate({name: asdict(one) for name, one in listed.items()}))
        return
    table = table_of("name", "files", "checksum", "what", words=("checksum", "what"))
    for name, one in listed.items():
        table.add_row(text(name), str(len(one.files)), _checksums(one.files), text(one.title))
    show(table)


def print_fetched(fetched: "FetchedData", *, as_json: bool) -> None:
    """Print where a data set is."""
    if as_json:
        print_json(FetchedDataSet.model_validate(asdict(fetched)))
        return
    for path in (*(fetched.folder / name for name in fetched.files), *fetched.unpacked):
        say(str(path))
    say(f"licence: {fetched.data_set.licence} ({fetched.data_set.page})")
    say(f"cite: {fetched.data_set.citation}")


def _checksums(files: "tuple[DataFile, ...]") -> str:
    """Name the weakest kind of checksum among some files."""
    if any(file.known_hash is None for file in files):
        return "at first"
    return "sha256" if all(file.sha256 for file in files) else "md5"
