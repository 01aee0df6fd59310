"""A text table, read in bounded chunks of lines; whether its lines are cells or genes, it does not know.

The numbers of a chunk are parsed as one long column. Only a chunk in which something is unusual is read again, field by
field: either its numbers are sound after all (quoted, say), or the first fault is named by line and column.

R lines.
"""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, FormatError
from scnym.base.text_columns import as_numbers
from scnym.disk.annotations import MISSING
from scnym.disk.features import read_genes
from scnym.disk.formats.csv_head import head_of_numbers, read_head
from scnym.disk.formats.csv_lines import BLANK, SEPARATORS, chunks, fields_of, numbers_in, opened

SAMPLE_CHUNK = 2**20
SAMPLE_CHUNKS = 8
SAMPLE_NAMES, SAMPLE_LINES = 1000, 20
MAX_LABELS = 10_000
"""So many different annotations are kept once each; beyond, there is little to be gained."""
QUOTED = re.compile(rb'"(?:[^"]|"")*("|$)')
BLANKS = re.compile(rb'("[^"]*")|[ \t]+')


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines of a table. R lines."""

    first: int
    """Place of the first one, from 0, below the header and without blank lines."""
    ids: list[str]
    """What they are called, R in number."""
    texts: list[bytes]
    """The lines."""
    numbers: list[bytes]
    """Their counts, as text."""
    beside: list[list[str]] = field(default_factory=list)
    """Their annotations, if the table has any."""

    def since(self, row: int) -> "Lines":
        """Return those from `row` on."""
        skipped = max(0, row - self.first)
        ids, texts, numbers, beside = (self.ids[skipped:], self.texts[skipped:], self.numbers[skipped:], self.beside)
        return Lines(self.first + skipped, ids, texts, numbers, beside[skipped:])


class TextTable:
    """Lines of numbers, each behind an id, under a header; or numbers alone. What the lines are, it does not know."""

    def __init__(self, path: Path, genes_path: str | None = None) -> None:
        self.path = path
        self.has_names = genes_path is None
        self.head = read_head(path) if genes_path is None else head_of_numbers(path, _listed_genes(genes_path))
        """What its first lines say."""
        self.columns = list(self.head.columns)
        """What stands over the counts."""
        self._separator = self.head.separator
        first = next((lines for lines in self.batches(1)), None)
        if first is not None:
            self._check_width(self._fields(first.texts[0], 0), 0)

    def batches(self, max_bytes: int) -> Iterator[Lines]:
        """Yield the lines below the header, `max_bytes` at a time at most, one line at least; blank ones do not count.

        The same lines come together whenever they are read.
        """
        with opened(self.path) as file:
            n_above, first = self.head.n_above, 0
            for chunk in chunks(file, max_bytes):
                texts = chunk.removesuffix(b"\n").split(b"\n")
                if not all(texts) or any(map(bytes.isspace, texts)):
                    texts = [line for line in texts if line and not line.isspace()]
                n_above, texts = max(0, n_above - len(texts)), texts[n_above:]
                if texts:
                    lines = self._cut(self._trimmed(texts), first)
                    first += len(lines.ids)
                    if lines.ids:
                        yield lines

    def annotations(self) -> tuple[list[str], pd.DataFrame]:
        """Read the ids of all lines, and what stands beside their counts; numbers where a column holds nothing else."""
        ids: list[str] = []
        columns: list[list[str]] = [[] for _ in self.head.beside]
        few: dict[str, str] = {}
        for lines in self.batches(SAMPLE_CHUNK):
            ids += lines.ids
            for column, values in zip(columns, zip(*lines.beside, strict=True), strict=False):
                column.extend([few.setdefault(text, text) for text in values] if len(few) < MAX_LABELS else values)
        named = zip(self.head.beside, map(_annotation, columns), strict=True)
        return ids, pd.DataFrame(dict(named), index=pd.RangeIndex(len(ids)))

    def values(self, lines: Lines) -> np.ndarray:
        """Parse the numbers of some lines.

        Returns
        -------
        np.ndarray
            Shape (R * number of columns,), int64 or float64.

        Raises
        ------
        FormatError, DataError
            Names the line and, where it is one field, the column of the first fault.
        """
        text = b"\n".join([*lines.numbers, b""])
        form = self._separator * (len(self.columns) - 1) + b"\n"
        values = numbers_in(text, form, len(lines.ids))
        if values is not None and values.min() >= 0 and np.isfinite(values.max()):
            return values
        return np.concatenate([self._field_by_field(line, lines.first + k) for k, line in enumerate(lines.texts)])

    def sample_ids(self) -> list[str]:
        """Ids of the first lines; none where they are made up."""
        ids: list[str] = []
        for lines in itertools.islice(self.batches(SAMPLE_CHUNK), SAMPLE_CHUNKS):
            ids += lines.ids
            if len(ids) >= SAMPLE_NAMES:
                break
        return ids[:SAMPLE_NAMES] if self.has_names else []

    def sample(self) -> np.ndarray:
        """Return the counts of the first lines, shape (R, number of columns); of some columns where there are many."""
        step = 1 + len(self.columns) // SAMPLE_NAMES
        found, n_lines = [], 0
        for lines in itertools.islice(self.batches(SAMPLE_CHUNK), SAMPLE_CHUNKS):
            found.append(self.values(lines).reshape(len(lines.ids), -1)[:, ::step])
            n_lines += len(lines.ids)
            if n_lines >= SAMPLE_LINES:
                break
        return np.concatenate(found)[:SAMPLE_NAMES]

    def place(self, row: int) -> str:
        """Return where in the file a line below the header is."""
        n_above, left = self.head.n_above, row
        with opened(self.path) as file:
            every_line = (
                line for chunk in chunks(file, SAMPLE_CHUNK) for line in chunk.removesuffix(b"\n").split(b"\n")
            )
            for number, line in enumerate(every_line, start=1):
                if n_above:
                    n_above -= bool(line) and not line.isspace()
                    continue
                left -= bool(self._trimmed([line])[0]) and not self._is_blank(line)
                if left < 0:
                    return f"{self.path}, line {number}"
        return str(self.path)

    def _trimmed(self, texts: list[bytes]) -> list[bytes]:
        """Take away what stands at the ends of lines and means nothing."""
        if self._separator == BLANK.encode():
            return [_with_single_blanks(text.strip()) for text in texts]
        if self.head.n_blank:
            end = self._separator * self.head.n_blank
            return [text.removesuffix(end) for text in texts]
        return texts

    def _is_blank(self, line: bytes) -> bool:
        """Return whether a line holds nothing but separators, as spreadsheets write empty ones."""
        return not line.strip(self._separator + b" \t\r")

    def _cut(self, texts: list[bytes], first: int) -> Lines:
        if not self.has_names:
            return Lines(first, [f"cell_{first + k}" for k in range(len(texts))], texts, texts)
        has_others = self.head.n_fields > 1 + len(self.columns)
        try:
            lines = self._cut_with_annotations(texts, first) if has_others else self._cut_behind_ids(texts, first)
        except UnicodeDecodeError:
            for k, text in enumerate(texts):
                self._fields(text, first + k)  # refuses the line that cannot be decoded
            raise
        if not all(lines.ids) or any(map(str.isspace, lines.ids)):
            return self._cut_without_blank(lines)
        return lines

    def _cut_without_blank(self, lines: Lines) -> Lines:
        kept = [text for text in lines.texts if not self._is_blank(text)]
        if len(kept) < len(lines.texts):
            return self._cut(kept, lines.first) if kept else Lines(lines.first, [], [], [])
        blank = next(k for k, id_ in enumerate(lines.ids) if not id_ or id_.isspace())
        raise DataError(
            "the line has no id in front",
            where=self.place(lines.first + blank),
            way_out="give it one, or take the line out if it is a second header",
        )

    def _cut_behind_ids(self, texts: list[bytes], first: int) -> Lines:
        ends = list(map(bytes.find, texts, itertools.repeat(self._separator)))
        joined = b"\n".join([text[:end] for text, end in zip(texts, ends, strict=True)])
        is_quoted = b'"' in joined
        if is_quoted or min(ends) < 0:
            ends = [self._end_of_id(text) for text in texts]
            joined = b"\n".join([text[:end] for text, end in zip(texts, ends, strict=True)])
        if b"\0" in joined:
            for k, text in enumerate(texts):
                self._refuse_nul(text, first + k)
        ids = joined.decode().split("\n")  # all at once: tables of few genes spend their time on the ids
        numbers = [text[end + 1 :] for text, end in zip(texts, ends, strict=True)]
        if is_quoted:
            ids = [id_[1:-1].replace('""', '"') if id_.startswith('"') else id_ for id_ in ids]
        return Lines(first, ids, texts, numbers)

    def _cut_with_annotations(self, texts: list[bytes], first: int) -> Lines:
        rows = [self._apart(text, first + k) for k, text in enumerate(texts)]
        ids = [names[self.head.id_at] for names, _ in rows]
        others = [at for at in range(len(rows[0][0])) if at not in {0, self.head.id_at}]
        return Lines(
            first, ids, texts, [numbers for _, numbers in rows], [[row[0][at] for at in others] for row in rows]
        )

    def _apart(self, text: bytes, row: int) -> tuple[list[str], bytes]:
        """Return the fields of a line that hold no counts, and its counts; none of these if fields are lacking."""
        self._refuse_nul(text, row)
        n_before, n_behind = 1 + len(self.head.before), len(self.head.behind)
        if b'"' in text:
            fields = self._fields(text, row)
            stop = len(fields) - n_behind
            names = fields[:n_before] + fields[max(n_before, stop) :]
            numbers = self._separator.join(field.encode() for field in fields[n_before:stop])
        else:
            before = text.split(self._separator, n_before)
            numbers, *behind = before.pop().rsplit(self._separator, n_behind) if len(before) > n_before else [b""]
            names = [field.decode() for field in (*before, *behind)]
        if len(names) == n_before + n_behind:
            return names, numbers
        return ([*names, *[""] * (n_before + n_behind)])[: n_before + n_behind], b""

    def _refuse_nul(self, text: bytes, row: int) -> None:
        if b"\0" in text:
            raise DataError("a NUL byte in the line's id", where=self.place(row), way_out="name it without")

    def _end_of_id(self, line: bytes) -> int:
        """Find the separator behind an id; where there is none, the line's end, so that it lacks numbers."""
        quoted = QUOTED.match(line)
        end = quoted.end() if quoted else line.find(self._separator)
        return end if line[end : end + 1] == self._separator else len(line)

    def _fields(self, line: bytes, row: int) -> list[str]:
        try:
            return fields_of(line.decode(), self._separator.decode())
        except UnicodeDecodeError as fault:
            raise FormatError(
                f"it is not text in UTF-8 ({fault})",
                where=self.place(row),
                way_out="save it as UTF-8; if it is damaged, copy it again",
            ) from fault
        except csv.Error as fault:
            raise FormatError(
                f"the line has no fields that could be read ({fault})", where=self.place(row), way_out=SEPARATORS
            ) from fault

    def _field_by_field(self, line: bytes, row: int) -> np.ndarray:
        fields = self._fields(line, row)
        self._check_width(fields, row)
        first = self.head.n_fields - len(self.columns) - len(self.head.behind) if self.has_names else 0
        numbers = fields[first : first + len(self.columns)]
        for column, text in zip(self.columns, numbers, strict=True):
            fault = _fault_of(text)
            if fault:
                raise DataError(
                    f"{text!r} in column {column} {fault}",
                    where=self.place(row),
                    way_out="counts are numbers from 0 up, with a point before decimals; mend or leave out this line, "
                    "or the column if it holds no counts",
                )
        return np.array([float(text) for text in numbers])

    def _check_width(self, fields: Sequence[str], row: int) -> None:
        wanted = self.head.n_fields if self.has_names else len(self.columns)
        if len(fields) != wanted:
            raise FormatError(
                f"{len(fields)} fields where {wanted} were expected",
                where=self.place(row),
                way_out="give every line an id, and one number per name in the header"
                if self.has_names
                else "give every line one number per gene of --input_genes",
            )


def _with_single_blanks(text: bytes) -> bytes:
    if b"  " not in text and b"\t" not in text:
        return text
    return BLANKS.sub(lambda found: found[1] or b" ", text)


def _listed_genes(genes_path: str) -> list[str]:
    return list(read_genes(Path(genes_path), "--input_genes"))


def _annotation(values: Sequence[str]) -> pd.Series:
    """Return a column of annotations: numbers if it holds nothing else, and none that begins with a needless zero."""
    column = pd.Series(values, dtype=object)
    column = column.mask(column.isin(MISSING))
    if column.str.fullmatch(r"0\d+", na=False).any():
        return column
    try:
        return as_numbers(column, errors="raise")
    except (ValueError, TypeError):
        return column


def _fault_of(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return "is not a number"
    if math.isnan(value) or "_" in text:
        return "is not a number"
    if math.isinf(value):
        return "is infinite"
    return "is negative" if value < 0 else ""
