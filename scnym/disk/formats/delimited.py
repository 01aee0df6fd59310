"""Text tables (CSV, TSV, also gzipped): one line per cell, one column per gene.

pandas parses. Only when it stumbles is the file read again, line by line, to say where and why.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, ScnymError
from scnym.disk.annotations import separator_of
from scnym.disk.features import read_genes
from scnym.disk.formats.block import CellBlock, require_unique

if TYPE_CHECKING:
    from pandas.io.parsers import TextFileReader

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
ID_COLUMN = "__cell_id__"
SURPLUS_COLUMN = "__surplus__"
"""Catches the field after the last gene: pandas drops it silently where it opens a chunk."""
ENCODING = "utf-8-sig"
TEXT_FAULTS = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)
"""What reading a text table raises when it is no text, or cut off."""
PARSER_COPIES = 4
"""Times a block stands in memory while pandas parses it: bytes, tokens, columns, matrix."""


class DelimitedSource:
    """A text table of cells x genes, read in bounded blocks.

    Parameters
    ----------
    path
        The table: a header with gene names, then one line per cell that begins with the cell's id. With
        `genes_path` it has neither header nor ids.
    genes_path
        Text file with one gene name a line, for a table of numbers alone.

    Raises
    ------
    FormatError
        If a line has too many or too few fields.
    DataError
        If a value is not a finite, non-negative number, or names stand twice.
    """

    n_cells = None
    obs = None

    def __init__(self, path: Path, genes_path: str | None = None) -> None:
        self.path = path
        self._separator = separator_of(path)
        self._has_names = self.has_cell_ids = genes_path is None
        try:
            genes = self._header_genes() if genes_path is None else read_genes(Path(genes_path), "--input_genes")
            require_unique(genes, "gene", path, "give every column a name of its own")
            self.var = pd.DataFrame(index=pd.Index(genes))
            self._check_first_line()
        except TEXT_FAULTS as damage:
            if isinstance(damage, ScnymError):
                raise
            self._refuse_damage(damage)

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` numbers at a time, one at least."""
        rows = max(1, max_elements // (PARSER_COPIES * max(1, len(self.var))))
        seen: set[str] = set()
        try:
            with self._frames(rows, first_cell) as frames:
                for frame in frames:
                    block = self._block(frame)
                    self._require_new_ids(block.obs.index, seen)
                    yield block
        except (ValueError, pd.errors.ParserError, *TEXT_FAULTS) as fault:
            if isinstance(fault, ScnymError):
                raise
            self._explain(fault)

    def _frames(self, rows: int, first_cell: int) -> "TextFileReader":
        genes = list(self.var.index)
        names = [*([ID_COLUMN] if self._has_names else []), *genes, SURPLUS_COLUMN]
        return pd.read_csv(
            self.path,
            sep=self._separator,
            header=None,
            skiprows=int(self._has_names) + first_cell,
            names=names,
            index_col=False,
            dtype={ID_COLUMN: str, **dict.fromkeys(genes, np.float64), SURPLUS_COLUMN: str},
            keep_default_na=False,
            na_values=[""],
            chunksize=rows,
            encoding=ENCODING,
        )

    def _block(self, frame: pd.DataFrame) -> CellBlock:
        ids = frame.pop(ID_COLUMN) if self._has_names else pd.Series([f"cell_{i}" for i in frame.index])
        surplus = frame.pop(SURPLUS_COLUMN)
        values_CG = frame.to_numpy()
        well_named = ids.notna().all() and (ids.str.strip() != "").all()
        if surplus.notna().any() or not well_named or not (np.isfinite(values_CG) & (values_CG >= 0)).all():
            raise ValueError("a line with a fault")
        return CellBlock(sparse.csr_matrix(values_CG), pd.DataFrame(index=pd.Index(ids, dtype=object, name=None)))

    def _header_genes(self) -> list[str]:
        with self._lines() as text:
            header = next(csv.reader(text, delimiter=self._separator), [])
        if len(header) < 2:
            raise FormatError(
                "the first line does not name any genes",
                where=f"{self.path}, line 1",
                way_out="the first line holds an id column's name, then the gene names; "
                "give --input_genes if the table has no header",
            )
        genes = [name.strip() for name in header[1:]]
        if not any(map(_fault_of, genes)) and not all(name.isdecimal() and int(name) > 0 for name in genes):
            raise FormatError(
                "the first line holds numbers where gene names belong",
                where=f"{self.path}, line 1",
                way_out="give --input_genes if the table has no header",
            )
        return genes

    def _check_first_line(self) -> None:
        """Find a header that is one field short before pandas takes it for something else."""
        with self._lines() as text:
            reader = csv.reader(text, delimiter=self._separator)
            for line, fields in zip(range(1, 3), reader, strict=False):
                if line == 2 or not self._has_names:
                    self._check_width(fields, line)

    def _check_width(self, fields: list[str], line: int) -> None:
        wanted = len(self.var) + int(self._has_names)
        if len(fields) != wanted:
            raise FormatError(
                f"{len(fields)} fields where {wanted} were expected",
                where=f"{self.path}, line {line}",
                way_out="give every line one field per column of the header, which begins with the ids' column"
                if self._has_names
                else "give every line one number per gene of --input_genes",
            )

    def _require_new_ids(self, ids: pd.Index, seen: set[str]) -> None:
        require_unique(ids, "cell", self.path, "give every cell an id of its own")
        again = seen.intersection(ids)
        if again:
            require_unique([*again, *again], "cell", self.path, "give every cell an id of its own")
        seen.update(ids)

    def _explain(self, fault: Exception) -> None:
        """Raise the error that names line, column and value of the first fault in the file."""
        try:
            self._explain_lines()
        except TEXT_FAULTS as damage:
            if isinstance(damage, ScnymError):
                raise
            self._refuse_damage(damage)
        raise FormatError(
            f"the table cannot be read ({fault})", where=self.path, way_out="check that it is plain text"
        ) from fault

    def _refuse_damage(self, damage: Exception) -> NoReturn:
        raise FormatError(
            f"the file is damaged, or not text in UTF-8 ({damage})", where=self.path, way_out="copy or write it again"
        ) from damage

    def _explain_lines(self) -> None:
        with self._lines() as text:
            reader = csv.reader(text, delimiter=self._separator)
            for fields in reader:
                if reader.line_num == 1 and self._has_names:
                    continue
                if fields:
                    self._check_width(fields, reader.line_num)
                    self._check_id(fields[0], reader.line_num)
                    self._check_values(fields[int(self._has_names) :], reader.line_num)

    def _check_id(self, cell: str, line: int) -> None:
        if self._has_names and not cell.strip():
            raise DataError("the cell has no id", where=f"{self.path}, line {line}", way_out="give it one")

    def _check_values(self, fields: list[str], line: int) -> None:
        for gene, text in zip(self.var.index, fields, strict=True):
            fault = _fault_of(text)
            if fault:
                raise DataError(
                    f"{text!r} in column {gene} {fault}",
                    where=f"{self.path}, line {line}",
                    way_out="counts are numbers from 0 up; mend or leave out this cell",
                )

    def _lines(self) -> TextIO:
        if self.path.name.lower().endswith(".gz"):
            return gzip.open(self.path, "rt", newline="", encoding=ENCODING)
        return self.path.open(newline="", encoding=ENCODING)


def _fault_of(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return "is not a number"
    if math.isnan(value):
        return "is not a number"
    if math.isinf(value):
        return "is infinite"
    return "is negative" if value < 0 else ""
