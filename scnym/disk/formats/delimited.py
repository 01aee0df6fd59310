"""Text tables (CSV, TSV, also gzipped): cells x genes or genes x cells, read in bounded chunks of lines.

The numbers of a chunk are parsed as one long column. Only a chunk in which something is unusual is read again, field by
field: either its numbers are sound after all (quoted, say), or the first fault is named by line and column.

C cells, G genes, R lines, N stored values.
"""

import csv
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, SettingsError
from scnym.base.settings import Orientation
from scnym.disk.annotations import SEPARATORS, require_usual_separator, separator_of
from scnym.disk.features import read_genes
from scnym.disk.formats.axes import genes_by_cells_reason
from scnym.disk.formats.block import CellBlock, ScatteredSource, SeenNames, Slab, Source, require_unique, smallest
from scnym.disk.formats.byte_lines import chunks, numbers_in, opened

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
HEADER_CHUNK = 2**16
SAMPLE_CHUNK = 2**20
SAMPLE_CHUNKS = 8
SAMPLE_NAMES = 2000
COPY_AGAIN = "copy or write it again"
QUOTED = re.compile(rb'"(?:[^"]|"")*("|$)')


def open_delimited(
    path: Path, *, genes_path: str | None = None, orientation: Orientation = "auto"
) -> Source | ScatteredSource:
    """Open a text table, whichever way round it lies.

    Parameters
    ----------
    path
        The table: a header, then one line per cell (or gene) that begins with its id. The header may begin with a name
        for the ids' column or, as R writes it, not. With `genes_path` the table has neither header nor ids.
    genes_path
        Text file with one gene name a line, for a table of numbers alone.
    orientation
        Whether lines are cells or genes; auto: found out from the names, and cells if these do not tell.

    Raises
    ------
    FormatError
        If the file is damaged, its header makes no sense, or a line has too many or too few fields.
    DataError
        If a value is not a finite, non-negative number, or names stand twice.
    """
    table = TextTable(path, genes_path)
    if orientation == "genes_by_cells":
        return GenesByCellsTable(table)
    header = table.columns[:: 1 + len(table.columns) // SAMPLE_NAMES]
    reason = genes_by_cells_reason(header, table.sample_ids()) if orientation == "auto" else None
    return CellsByGenesTable(table) if reason is None else GenesByCellsTable(table, reason)


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
    """The lines behind their ids."""

    def since(self, row: int) -> "Lines":
        """Give those from `row` on."""
        skipped = max(0, row - self.first)
        return Lines(self.first + skipped, self.ids[skipped:], self.texts[skipped:], self.numbers[skipped:])


class TextTable:
    """Lines of numbers, each behind an id, under a header; or numbers alone. What the lines are, it does not know."""

    def __init__(self, path: Path, genes_path: str | None = None) -> None:
        self.path = path
        self.has_names = genes_path is None
        first, second = self._first_lines()
        self._separator = _separator_in(first, path)
        self.columns = self._read_header(first, second) if genes_path is None else _listed_genes(genes_path)
        """What stands over the numbers."""
        below = second if self.has_names else first
        if below is not None:
            self._check_width(self._fields(below, 0), 0)

    def batches(self, max_bytes: int) -> Iterator[Lines]:
        """Yield the lines below the header, `max_bytes` at a time at most, one line at least; blank ones do not count.

        The same lines come together whenever they are read.
        """
        with opened(self.path) as file:
            n_above, first = int(self.has_names), 0
            for chunk in chunks(file, max_bytes):
                texts = chunk.removesuffix(b"\n").split(b"\n")
                if not all(texts) or any(map(bytes.isspace, texts)):
                    texts = [line for line in texts if line and not line.isspace()]
                n_above, texts = max(0, n_above - len(texts)), texts[n_above:]
                if texts:
                    yield self._cut(texts, first)
                    first += len(texts)

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

    def place(self, row: int) -> str:
        """Say where in the file a line below the header is."""
        left = row + int(self.has_names)
        with opened(self.path) as file:
            every_line = (
                line for chunk in chunks(file, SAMPLE_CHUNK) for line in chunk.removesuffix(b"\n").split(b"\n")
            )
            for number, line in enumerate(every_line, start=1):
                left -= bool(line) and not line.isspace()
                if left < 0:
                    return f"{self.path}, line {number}"
        return str(self.path)

    def _cut(self, texts: list[bytes], first: int) -> Lines:
        if not self.has_names:
            return Lines(first, [f"cell_{first + k}" for k in range(len(texts))], texts, texts)
        ends = list(map(bytes.find, texts, itertools.repeat(self._separator)))
        joined = b"\n".join([text[:end] for text, end in zip(texts, ends, strict=True)])
        is_quoted = b'"' in joined
        if is_quoted or min(ends) < 0:
            ends = [self._end_of_id(text) for text in texts]
            joined = b"\n".join([text[:end] for text, end in zip(texts, ends, strict=True)])
        if b"\0" in joined:
            at = next(k for k, text in enumerate(texts) if b"\0" in text)
            raise DataError("a NUL byte in the line's id", where=self.place(first + at), way_out="name it without")
        ids = joined.decode().split("\n")  # all at once: tables of few genes spend their time on the ids
        numbers = [text[end + 1 :] for text, end in zip(texts, ends, strict=True)]
        if is_quoted:
            ids = [id_[1:-1].replace('""', '"') if id_.startswith('"') else id_ for id_ in ids]
        if not all(ids) or any(map(str.isspace, ids)):
            blank = next(k for k, id_ in enumerate(ids) if not id_ or id_.isspace())
            raise DataError("the line has no id in front", where=self.place(first + blank), way_out="give it one")
        return Lines(first, ids, texts, numbers)

    def _end_of_id(self, line: bytes) -> int:
        """Find the separator behind an id; where there is none, the line's end, so that it lacks numbers."""
        quoted = QUOTED.match(line)
        end = quoted.end() if quoted else line.find(self._separator)
        return end if line[end : end + 1] == self._separator else len(line)

    def _fields(self, line: bytes, row: int) -> list[str]:
        try:
            return next(csv.reader([line.decode()], delimiter=self._separator.decode()), [])
        except (csv.Error, UnicodeDecodeError) as fault:
            raise FormatError(
                f"the line has no fields that could be read ({fault})", where=self.place(row), way_out=SEPARATORS
            ) from fault

    def _first_lines(self) -> tuple[bytes, bytes | None]:
        with opened(self.path) as file:
            pieces = (line for chunk in chunks(file, HEADER_CHUNK) for line in chunk.split(b"\n") if line.strip())
            first, second = next(pieces, b""), next(pieces, None)
            header = first.decode()
            (second or b"").decode()  # what is no text is found here
        if not header:
            raise FormatError("the file is empty", where=self.path, way_out=COPY_AGAIN)
        if second is None or b";" in second:  # else the semicolon is a part of a gene's name
            require_usual_separator(header, self.path)
        return first, second

    def _read_header(self, first: bytes, second: bytes | None) -> list[str]:
        header = self._fields(first, -1)
        is_one_short = second is not None and len(self._fields(second, 0)) == len(header) + 1
        columns = [name.strip() for name in (header if is_one_short else header[1:])]
        if not any(columns):
            raise FormatError(
                "the first line names nothing but a column of ids",
                where=f"{self.path}, line 1",
                way_out=f"the first line holds an id column's name, then the gene names; {SEPARATORS}; "
                "give --input_genes if the table has no header",
            )
        if not any(map(_fault_of, columns)) and not all(name.isdecimal() and int(name) > 0 for name in columns):
            raise FormatError(
                "the first line holds numbers where gene names belong",
                where=f"{self.path}, line 1",
                way_out="give --input_genes if the table has no header",
            )
        return columns

    def _field_by_field(self, line: bytes, row: int) -> np.ndarray:
        fields = self._fields(line, row)
        self._check_width(fields, row)
        numbers = fields[int(self.has_names) :]
        for column, text in zip(self.columns, numbers, strict=True):
            fault = _fault_of(text)
            if fault:
                raise DataError(
                    f"{text!r} in column {column} {fault}",
                    where=self.place(row),
                    way_out="counts are numbers from 0 up; mend or leave out this line",
                )
        return np.array([float(text) for text in numbers])

    def _check_width(self, fields: Sequence[str], row: int) -> None:
        wanted = len(self.columns) + int(self.has_names)
        if len(fields) != wanted:
            raise FormatError(
                f"{len(fields)} fields where {wanted} were expected",
                where=self.place(row),
                way_out="give every line an id, and one number per name in the header"
                if self.has_names
                else "give every line one number per gene of --input_genes",
            )


class CellsByGenesTable:
    """A text table with one line per cell, read in bounded blocks."""

    n_cells = None
    obs = None
    remark = None

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self.path = table.path
        self.has_cell_ids = table.has_names
        self.var = pd.DataFrame(index=pd.Index(table.columns))

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` numbers at a time, one at least."""
        seen = SeenNames()
        for lines in self._table.batches(max_elements):  # a number takes two bytes at least
            self._require_new(lines, seen)
            lines = lines.since(first_cell)  # noqa: PLW2901 - the rest was read before
            if lines.ids:
                yield self._block(lines)

    def _block(self, lines: Lines) -> CellBlock:
        shape = (len(lines.ids), len(self.var))
        values = self._table.values(lines)
        kept = np.flatnonzero(values)
        cells_N, genes_N = np.divmod(kept, shape[1])
        indptr = np.concatenate([np.zeros(1, np.int64), np.bincount(cells_N, minlength=shape[0]).cumsum()])
        counts_CG = sparse.csr_matrix((values[kept], genes_N.astype(np.int32), indptr), shape=shape)
        return CellBlock(counts_CG, pd.Index(lines.ids, dtype=object))

    def _require_new(self, lines: Lines, seen: SeenNames) -> None:
        at = seen.first_repeated(lines.ids) if self.has_cell_ids else None
        if at is not None:
            raise DataError(
                f"duplicate cell names {lines.ids[at]!r}",
                where=self._table.place(lines.first + at),
                way_out="give every cell an id of its own",
            )


class GenesByCellsTable:
    """A text table with one line per gene, read in slabs of lines."""

    has_cell_ids = True

    def __init__(self, table: TextTable, remark: str | None = None) -> None:
        if not table.has_names:
            raise SettingsError(
                "a table without names is read as cells x genes",
                where=table.path,
                way_out="leave out the orientation, or give the table a header and ids",
                mend={"--csv_orientation": None},
            )
        self._table = table
        self.path = table.path
        self.remark = remark
        """Why the table was taken for genes x cells, to be said to the user; None if that was given."""
        require_unique(table.columns, "cell", self.path, "give every column a name of its own")
        genes = [gene.strip() for lines in table.batches(SAMPLE_CHUNK) for gene in lines.ids]
        self.obs = pd.DataFrame(index=pd.Index(table.columns))
        self.var = pd.DataFrame(index=pd.Index(genes))

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values but zeros, those of a line at least; slabs before `first_slab` are not parsed again."""
        for lines in itertools.islice(self._table.batches(max_elements), first_slab, None):
            values = self._table.values(lines)
            kept = np.flatnonzero(values)
            genes_N, cells_N = np.divmod(kept, len(self.obs))
            yield Slab(cells_N, genes_N + lines.first, smallest(values[kept]))


def _listed_genes(genes_path: str) -> list[str]:
    return list(read_genes(Path(genes_path), "--input_genes"))


def _separator_in(header: bytes, path: Path) -> bytes:
    """Give what stands between fields: as the file's name says, unless only the other one is there."""
    usual = separator_of(path).encode()
    other = b"," if usual == b"\t" else b"\t"
    return other if usual not in header and other in header else usual


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
