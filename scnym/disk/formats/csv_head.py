"""The head of a text table: what parts its fields, what stands above its counts, and what beside them.

The first lines tell. A column in which none of them holds a number is no column of counts. Nor are these, where they
stand before all counts or behind them: one by the name of a well-known annotation; one that is not named as all others
are, by barcodes or ids; and one that holds anything but numbers, or nothing at all. All these are kept as annotations.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from scnym.base.errors import DataError, FormatError, examples
from scnym.disk.annotations import MISSING
from scnym.disk.feature_kinds import plain
from scnym.disk.formats.csv_lines import (
    MARKS,
    SEPARATORS,
    chunks,
    fields_of,
    is_marked_header,
    opened,
    separator_among,
    usual_width,
)
from scnym.disk.formats.csv_orientation import CELL, GENE, LONE_MEASURES, SYMBOL, kind_of_word, named_beside, names_ids

LOOKED_AT_LINES, LOOKED_AT_BYTES, LEAST_LINES = 100, 2**17, 5
PEEK_BYTES = 2**16
SAID_OF_LINE = 60
"""Characters of a line that is passed over."""
LEAST_NUMBERED, NUMBERS = 5, re.compile(r"(?:num|number|index|idx|no|nr|order|row|rank|id)\W*$", re.IGNORECASE)
"""So many values that go up by one number the lines, if the column is called so."""
MOST_MEASURES = 8
"""Columns of numbers that a list of one count a line may have."""
MAX_TITLES = 20
"""Lines without a mark that may stand above the header, such as the size in a GCT file."""
INFINITE = frozenset({"inf", "infinity"})
NUMBER = re.compile(r"\s*[+-]?[\d.][\d.,]*([eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class TableHead:
    """What is known of a text table before its counts are read."""

    separator: bytes
    """What parts the fields; a blank stands for any number of blanks and tabs."""
    n_above: int
    """Lines above the first counts, without blank ones: the header, and what stands above it."""
    passed_over: tuple[str, ...]
    """The lines above the header."""
    corner: str
    """What the header says of the ids; nothing where it says nothing."""
    columns: tuple[str, ...]
    """What stands over the counts."""
    before: tuple[str, ...] = ()
    """Columns between the first field and the counts; they are annotations."""
    behind: tuple[str, ...] = ()
    """Columns behind the counts; they are annotations."""
    id_at: int = 0
    """Field that holds the ids: 0, or one of the columns before the counts where the first only numbers the lines."""
    n_blank: int = 0
    """Separators at the end of every line that have nothing behind them."""

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the annotations, those before the counts first."""
        kept = [name for at, name in enumerate(self.before, start=1) if at != self.id_at]
        return (*kept, *self.behind)

    @property
    def n_fields(self) -> int:
        """Fields of a line, the id's among them."""
        return 1 + len(self.before) + len(self.columns) + len(self.behind)

    def remarks(self) -> list[str]:
        """Return how the table was understood, where the user should know; not which way round it lies."""
        said = []
        if self.passed_over:
            noun = "a line above the header is" if len(self.passed_over) == 1 else "lines above the header are"
            said.append(f"{noun} passed over: {examples(line.strip()[:SAID_OF_LINE] for line in self.passed_over)}")
        if self.id_at:
            said.append(f"the lines are named by their column {self.before[self.id_at - 1]!r}")
        if self.beside:
            noun = "a column is kept as an annotation, since it holds no counts"
            several = "columns are kept as annotations, since they hold no counts"
            said.append(f"{noun if len(self.beside) == 1 else several}: {examples(self.beside)}")
        return said


@dataclass(frozen=True, slots=True)
class _FirstLines:
    """The first lines of a file, without blank ones."""

    marked: list[str]
    """Those that are marked as no part of the table: the first few, and the last."""
    n_marked: int
    texts: list[str]
    """Those below; one of them may be the header."""
    numbers: list[int]
    """Where they are in the file, from 1."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """A header, and some lines below it; of these only such as have the usual number of fields."""

    corner: str
    names: tuple[str, ...]
    """Names of all fields behind the first."""
    rows: Sequence[Sequence[str]]
    n_blank: int
    is_short: bool
    """Whether the header has one field less than the lines."""


def head_of_numbers(path: Path, columns: Sequence[str]) -> TableHead:
    """Return the head of a table that has no header, nor ids; its columns are named elsewhere."""
    first = _first_lines(path)
    separator = separator_among(first.texts, path).encode()
    return TableHead(separator, first.n_marked, tuple(first.marked), "", tuple(columns))


def read_head(path: Path) -> TableHead:
    """Find out what the first lines of a table say.

    Raises
    ------
    FormatError
        If it is empty, damaged, or has no header; if it lists the genes of one sample, or one count a line.
    DataError
        If there is text among the counts.
    """
    first = _first_lines(path)
    separator = separator_among(first.texts, path)
    rows = [_fields(line, separator) for line in first.texts]
    passed_over, n_above = list(first.marked), first.n_marked
    if first.marked and _is_data(rows[0]) and is_marked_header(first.marked[-1], first.texts[0], separator):
        header, place = passed_over.pop().lstrip("".join(MARKS)), f"{path}, line {first.n_marked}"
    else:
        n_titles = _n_titles(rows)
        passed_over += first.texts[:n_titles]
        header, place = first.texts[n_titles], f"{path}, line {first.numbers[n_titles]}"
        rows, n_above = rows[n_titles + 1 :], n_above + n_titles + 1
    try:
        sample = _sample(fields_of(header, separator), rows)
    except csv.Error as fault:
        raise FormatError(
            f"the line has no fields that could be read ({fault})", where=place, way_out=SEPARATORS
        ) from fault
    n_before, n_behind = _n_beside(sample, place)
    stop = len(sample.names) - n_behind
    head = TableHead(
        separator.encode(),
        n_above,
        tuple(passed_over),
        sample.corner,
        sample.names[n_before:stop],
        tuple(name or f"column_{at}" for at, name in enumerate(sample.names[:n_before], start=2)),
        tuple(name or f"column_{at}" for at, name in enumerate(sample.names[stop:], start=2 + stop)),
        _id_at(sample, n_before),
        sample.n_blank,
    )
    _require_names(head, sample, place)
    return head


def _first_lines(path: Path) -> _FirstLines:
    """Read as many lines as it takes to know a table.

    Raises
    ------
    FormatError
        If there is none, or one of the first two is no text.
    """
    found = _FirstLines([], 0, [], [])
    n_bytes, marks = 0, tuple(mark.encode() for mark in MARKS)
    with opened(path) as file:
        lines = (line for chunk in chunks(file, PEEK_BYTES) for line in chunk.removesuffix(b"\n").split(b"\n"))
        for number, line in enumerate(lines, start=1):
            if not line or line.isspace():
                continue
            if not found.texts and line.startswith(marks):
                marked = [*found.marked[:3], line.decode(errors="replace")]
                found = replace(found, marked=marked, n_marked=found.n_marked + 1)
                continue
            strictly = "strict" if len(found.texts) < 2 else "replace"  # whoever reads the others names the line
            found.texts.append(line.decode(errors=strictly))
            found.numbers.append(number)
            n_bytes += len(line)
            if len(found.texts) >= LOOKED_AT_LINES or (n_bytes > LOOKED_AT_BYTES and len(found.texts) >= LEAST_LINES):
                break
    if not found.texts:
        raise FormatError("the file is empty", where=path, way_out="copy or write it again")
    return found


def _fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line, none where they make no sense: whoever reads it for its counts says so."""
    try:
        return fields_of(line, separator)
    except csv.Error:
        return []


def _n_titles(rows: Sequence[list[str]]) -> int:
    """Return how many lines stand above the header without a mark: they have fewer fields, and it holds no numbers."""
    widths = [len(_stripped(row)) for row in rows]
    usual = usual_width(widths[1:])
    for at, row in enumerate(rows[:MAX_TITLES]):
        is_title = len(rows) > at + 2 and (
            widths[at] < usual - 1
            or (widths[at] == 1 < widths[at + 1] and not _is_data(rows[at + 1]) and _is_data(rows[at + 2]))
        )
        if not is_title:
            return 0 if _is_data(row) else at
    return 0


def _stripped(row: Sequence[str]) -> Sequence[str]:
    """Return a row without the empty fields at its end."""
    n_blank = sum(1 for _ in takewhile(lambda field: not field.strip(), reversed(row)))
    return row[: len(row) - n_blank]


def _is_data(row: Sequence[str]) -> bool:
    """Return whether most fields behind the first are numbers."""
    return 2 * sum(map(_is_number, row[1:])) > len(row) - 1 > 0


def _is_number(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None


def _sample(header: Sequence[str], rows: Sequence[Sequence[str]]) -> _Sample:
    """Set the names of a header over the fields of lines: it may lack the first, and lines may end in separators."""
    width = usual_width([len(row) for row in rows]) or len(header)
    rows = [row for row in rows if len(row) == width]
    short = _stripped(header)
    n_blank = max(0, min([*(len(row) - len(_stripped(row)) for row in rows), width - len(short)])) if rows else 0
    if len(short) == width:
        header = short
    if n_blank:
        header, width, rows = short, width - n_blank, [row[: width - n_blank] for row in rows]
    is_short = width == len(header) + 1
    corner, names = ("", header) if is_short else ("".join(header[:1]).strip(), header[1:])
    fitting = rows if width == 1 + len(names) else []  # whoever reads the others for their counts refuses them
    return _Sample(corner, tuple(name.strip() for name in names), fitting, n_blank, is_short)


def _n_beside(sample: _Sample, place: str) -> tuple[int, int]:
    """Return how many columns before the counts, and how many behind them, are annotations.

    Raises
    ------
    FormatError, DataError
        If there are no others, or some stand among the counts.
    """
    names, texts = sample.names, _text_columns(sample)
    is_beside = named_beside(names)

    def is_annotation(at: int) -> bool:
        return at in texts or is_beside(names[at]) or _holds_no_counts(sample, at)

    n_before = sum(1 for _ in takewhile(is_annotation, range(len(names))))
    if names and n_before == len(names):
        raise FormatError(
            f"there are no counts in it, but annotations: {examples(names)}",
            where=place,
            way_out="give a table of counts; one of annotations goes to --training_metadata",
        )
    rest = range(len(names) - 1, n_before, -1)
    n_behind = sum(1 for _ in takewhile(is_annotation, rest))
    among = [at for at in sorted(texts) if n_before <= at < len(names) - n_behind]
    if among:
        value = next(row[1 + among[0]] for row in sample.rows if row[1 + among[0]].strip())
        raise DataError(
            f"column {names[among[0]]!r} holds text among the counts, such as {value!r}",
            where=place,
            way_out="take it out, or put the columns that hold no counts right behind the ids",
        )
    return n_before, n_behind


def _holds_no_counts(sample: _Sample, at: int) -> bool:
    """Return whether a column that is not named as cells and genes are holds anything but counts, as a sample tells.

    A stray word in a column of counts is a fault that its reader names, so one by the name of a gene or a cell stays.
    """
    if len(sample.rows) < 2 or any(kind.fullmatch(sample.names[at]) for kind in (CELL, GENE, SYMBOL)):
        return False
    values = [row[1 + at].strip() for row in sample.rows]
    known = [value for value in values if value not in MISSING]
    if NUMBERS.search(sample.names[at]) and _number_lines(values):
        return True
    return not all(_is_number(value) or value.lower().strip("+-") in INFINITE for value in known) or (
        not known and any(map(_has_counts, sample.rows))
    )


def _number_lines(values: Sequence[str]) -> bool:
    """Return whether values go up by one from line to line, from 0 or 1 on."""
    numbers = [list(map(str, range(first, first + len(values)))) for first in (0, 1)]
    return len(values) >= LEAST_NUMBERED and list(values) in numbers


def _has_counts(row: Sequence[str]) -> bool:
    return any(map(_is_number, row[1:]))


def _text_columns(sample: _Sample) -> set[int]:
    """Return the columns in which no line has a number, but some have something else."""
    if len(sample.rows) < 2 or any(all(row) and "".join(row[1:]).isdecimal() for row in sample.rows):
        return set()
    return {at for at in range(len(sample.names)) if _is_text([row[1 + at].strip() for row in sample.rows])}


def _is_text(values: Sequence[str]) -> bool:
    return any(value not in MISSING for value in values) and not any(map(_is_number, values))


def _id_at(sample: _Sample, n_before: int) -> int:
    """Return which field holds the ids: that of a column with names where the first only numbers the lines."""
    ids = [row[0].strip() for row in sample.rows]
    if len(ids) < 2 or not any(ids == [str(first + k) for k in range(len(ids))] for first in (0, 1)):
        return 0
    for at, name in enumerate(sample.names[:n_before], start=1):
        is_named = names_ids(name) and len({row[at] for row in sample.rows}) == len(ids)
        if is_named and _is_text([row[at].strip() for row in sample.rows]):
            return at
    return 0


def _require_names(head: TableHead, sample: _Sample, place: str) -> None:
    """Refuse a table whose columns are not named, or are not genes or cells.

    Raises
    ------
    FormatError
        With the way out.
    """
    if not any(head.columns):
        raise FormatError(
            "the first line names nothing but a column of ids",
            where=place,
            way_out=f"the first line holds an id column's name, then the gene names; {SEPARATORS}; "
            "give --input_genes if the table has no header",
        )
    if all(_is_number(name) or name in MISSING for name in head.columns):
        _require_header(head, sample, place)
    is_long = {"cells", "genes"} <= {kind_of_word(name) for name in (head.corner, *head.before)}
    are_measures = len(head.columns) <= len(LONE_MEASURES) and {plain(name) for name in head.columns} <= LONE_MEASURES
    if are_measures or (is_long and len(head.columns) <= MOST_MEASURES):
        raise FormatError(
            f"its columns of numbers, {examples(head.columns)}, name no cells: it "
            + ("lists one count a line" if is_long else "holds the genes of one sample"),
            where=place,
            way_out="give one table of all cells, with a line per gene and a column per cell",
        )


def _require_header(head: TableHead, sample: _Sample, place: str) -> None:
    """Refuse numbers where names belong, unless they number the columns."""
    is_header = sample.is_short or names_ids(head.corner)
    if is_header and all(map(str.isdecimal, head.columns)) and len(set(head.columns)) == len(head.columns):
        return
    if is_header or _is_number(head.corner):
        raise FormatError(
            "the first line holds numbers where gene names belong",
            where=place,
            way_out="give --input_genes if the table has no header",
        )
    raise FormatError(
        f"the first line, {examples([head.corner, *head.columns][:3])}, holds counts: the table has no header",
        where=place,
        way_out="put a line above it that names the columns, such as gene,CELL_1,CELL_2; make one table of files with "
        "one cell each, as HTSeq and STAR write them; if it is the header, begin it with gene or cell",
    )
