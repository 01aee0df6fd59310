"""Lists of features and of cells beside a matrix: one line each, with or without a header, quotes and other columns."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, FormatError, examples
from scnym.disk.annotations import require_bounded
from scnym.disk.feature_kinds import plain
from scnym.disk.formats.csv_lines import opened
from scnym.disk.formats.csv_orientation import CELL

GENE_IDS, GENE_SYMBOLS, FEATURE_TYPES, GENOME = "gene_ids", "gene_symbols", "feature_types", "genome"
KNOWN_TYPES = frozenset(
    (
        *("Gene Expression", "Antibody Capture", "CRISPR Guide Capture", "Multiplexing Capture", "Custom", "Peaks"),
        *("Antigen Capture", "VDJ", "VDJ-T", "VDJ-B", "Protein Expression", "Negative Control Probe"),
        *("Negative Control Codeword", "Unassigned Codeword", "Deprecated Codeword", "Blank Codeword"),
        *("Genomic Control", "Genotype", "Hashtag", "Motifs"),
    )
)
"""What 10x calls the types of features."""
_KNOWN_TYPES = frozenset(map(plain, KNOWN_TYPES))
ID_WORDS, SYMBOL_WORDS = frozenset({"id", "ids", "geneid", "ensembl", "accession"}), frozenset({"symbol", "symbols"})
NAME_WORDS = frozenset({"name", "names", "genename"})
OTHER_WORDS = frozenset(
    (
        *("chr", "chrom", "chromosome", "start", "end", "strand", "length", "biotype", "type", "types", "description"),
        *("genome", "species", "version", "seqname", "source", "organism", "class"),
    )
)
COLUMN_WORDS = """
gene genes feature features barcode barcodes cell cells cellid bc wells well index idx x row rows rownames rowname col
column obs var sample unnamed hgnc mgi external short primary of cluster library orig ident entrez value count counts
n umi umis total v1 v2 v3 v4 v5 v6 v7 v8 v9
"""
HEADER_WORDS = ID_WORDS | SYMBOL_WORDS | NAME_WORDS | OTHER_WORDS | frozenset(COLUMN_WORDS.split())
SAMPLED = 100
QUOTED = re.compile(r'"[^"]*" +("|\\S+$)')
ENSEMBL = re.compile(r"ENS[A-Z]*\d{6,}.*|FBgn\d+|WBGene\d+")


class NameList:
    """A text file with a line for each feature or each cell.

    Raises
    ------
    FormatError
        If it is damaged, or no text in UTF-8.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        require_bounded(path)
        with opened(path) as file:
            text = file.read().decode()
        self._has_quotes = '"' in text
        self._lines = [line for line in text.splitlines() if line and not line.isspace()]
        self._separator = _separator_in(self._lines[:SAMPLED], path)

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def first_line(self) -> str:
        """The first line, for a message."""
        return self._lines[0] if self._lines else ""

    def names(self, n: int) -> bool:
        """Whether it names so many things, below a header or without one."""
        return len(self) == n or (len(self) == n + 1 and self._begins_with_header())

    def table(self, n: int) -> tuple[pd.DataFrame, list[str]]:
        """Return the names of `n` things, and the words of the header above them.

        Returns
        -------
        pd.DataFrame
            Text, a row each; columns from 0 on. Numbers of rows, as R and pandas write them in front, are no column.
        list of str
            Words of the header, one per column; none if there is no header.
        """
        rows = self._split(self._lines[len(self) - n :])
        header = self._fields(self._lines[0]) if len(self) == n + 1 else []
        if header and len(header) + 1 == rows.shape[1]:
            header = ["", *header]  # R does not name the column of row names
        if rows.shape[1] > 1 and self._begins_with_numbers(rows, header):
            rows, header = rows.drop(columns=0).set_axis(range(rows.shape[1] - 1), axis="columns"), header[1:]
        return rows, header

    def _split(self, lines: Sequence[str]) -> pd.DataFrame:
        if self._separator is None and not self._has_quotes:
            names = np.empty(len(lines), dtype=object)
            names[:] = list(map(str.strip, lines))
            return pd.DataFrame({0: names}, copy=False)
        fields = [self._fields(line) for line in lines]
        ((width, _),) = Counter(map(len, fields)).most_common(1) or ((0, 0),)
        filled = [line if len(line) >= width else [*line, *[""] * (width - len(line))] for line in fields]
        return pd.DataFrame({k: [line[k] for line in filled] for k in range(width)}, dtype=object)

    def _fields(self, line: str) -> list[str]:
        separator = self._separator or "\t"
        if '"' not in line:
            fields = line.split(None if separator == " " else separator)
        else:
            try:
                fields = next(csv.reader([line], delimiter=separator, skipinitialspace=separator == " "))
            except csv.Error as fault:
                raise FormatError(
                    f"a line has no fields that could be read ({fault})", where=self.path, way_out="write it again"
                ) from fault
        return [field.strip() for field in fields]

    def _begins_with_numbers(self, rows: pd.DataFrame, header: Sequence[str]) -> bool:
        """Whether the first column counts the rows, as R and pandas write them; ids may be numbers, too."""
        if not _are_numbers_of_rows(rows[0]) or (header and header[0]):
            return False
        is_by_r = self._separator == " " or '"' in self.first_line
        return bool(header) or is_by_r or any(rows[1].str.fullmatch(kind).all() for kind in (CELL, ENSEMBL))

    def _begins_with_header(self) -> bool:
        """Whether the first line is made of words for columns, or is unlike all others."""
        first, below = self._fields(self._lines[0]), list(map(self._fields, self._lines[1 : SAMPLED + 1]))
        named = [field for field in first if field]
        if named and all(_words(field) <= HEADER_WORDS for field in named[:2]):
            return True
        width = min(map(len, [first, *below]))
        return any(
            kind.fullmatch(first[k]) is None and all(kind.fullmatch(fields[k]) for fields in below)
            for kind in (CELL, ENSEMBL)
            for k in range(width if below else 0)
        )


def features_of(lists: NameList, n: int) -> tuple[pd.DataFrame, str | None]:
    """Read features: their ids, symbols, types and genome, as far as they are there.

    Returns
    -------
    pd.DataFrame
        Columns `gene_ids`, `gene_symbols` and, where they are known, `feature_types` and `genome`.
    str or None
        What of the file could be meant otherwise, to be said to the user.

    Raises
    ------
    DataError
        If there are none.
    """
    rows, header = lists.table(n)
    if not len(rows):
        raise DataError("it names no gene", where=lists.path, way_out="give the file that was written with the matrix")
    places = _places_by_header(header, rows.shape[1]) if header else {}
    if not places:
        places = _places_by_order(rows)
    remarks = [f"the first line of {lists.path.name}, {examples(header)}, is taken for a header"] if header else []
    if not header and rows.shape[1] > 2 and FEATURE_TYPES not in places:
        remarks.append(
            f"the third column of {lists.path.name} holds no types of features, but {examples(rows[2].unique())}: "
            "all of them are taken for genes"
        )
    table = pd.DataFrame({name: rows[at] for name, at in places.items()}, dtype=object)
    return table, "; ".join(remarks) or None


def cells_of(lists: NameList, n: int) -> pd.DataFrame:
    """Read cells: their ids become the index; the other columns stay where a header names them."""
    rows, header = lists.table(n)
    if not header or rows.shape[1] < 2:
        return pd.DataFrame(index=pd.Index(rows[0].to_numpy() if rows.shape[1] else [], dtype=object))
    names = [name or f"column_{k}" for k, name in enumerate(header[: rows.shape[1]])]
    obs = rows.set_axis(names, axis="columns")
    obs = obs.loc[:, ~obs.columns.duplicated()]
    ids = pd.Index(list(obs.iloc[:, 0]), dtype=object)
    return obs.iloc[:, 1:].apply(_as_numbers).set_axis(ids, axis="index")


def _separator_in(lines: Sequence[str], path: Path) -> str | None:
    """Return what parts the fields of a list; None if its lines are names alone."""
    if any("\t" in line for line in lines):
        return "\t"
    is_csv = path.name.lower().removesuffix(".gz").endswith(".csv")
    for separator in (",", ";"):
        if all(separator in line for line in lines) and (is_csv or any(f'"{separator}"' in line for line in lines)):
            return separator
    return " " if _are_parted_by_spaces(lines) else None


def _are_parted_by_spaces(lines: Sequence[str]) -> bool:
    """Whether fields are parted by spaces, as R writes them; names may hold spaces, too."""
    fields = [line.split() for line in lines[1:]]
    if not fields or {len(line) for line in fields} != {max(2, len(fields[0]))}:
        return False
    firsts = [line[0] for line in fields]
    first = int(firsts[0]) if firsts[0].isdecimal() else -1
    is_counted = first >= 0 and firsts == [str(first + k) for k in range(len(firsts))]
    return is_counted or all(map(ENSEMBL.fullmatch, firsts)) or all(map(QUOTED.match, lines[1:]))


def _are_numbers_of_rows(column: pd.Series) -> bool:
    """Whether a column counts its rows, from 0 or 1."""
    first = str(column.iloc[0]) if len(column) else ""
    return first in {"0", "1"} and all(value == str(number) for number, value in enumerate(column, start=int(first)))


def _words(field: str) -> set[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", field)
    return {word for word in re.split(r"[\W_]+", parted.lower()) if word}


def _places_by_header(header: Sequence[str], width: int) -> dict[str, int]:
    """Return the columns of ids, symbols, types and genome by their names; none if these do not tell."""
    places = dict[str, int]()
    for at, field in enumerate(header[:width]):
        words = _words(field)
        if words & {"type", "types"} and not words & {"gene"}:
            places.setdefault(FEATURE_TYPES, at)
        elif words == {"genome"}:
            places.setdefault(GENOME, at)
        elif words & OTHER_WORDS:
            continue
        elif words & ID_WORDS:
            places.setdefault(GENE_IDS, at)
        elif words & (SYMBOL_WORDS | NAME_WORDS):
            places.setdefault(GENE_SYMBOLS, at)
    if GENE_IDS not in places and GENE_SYMBOLS not in places:
        return {}
    places.setdefault(GENE_IDS, places.get(GENE_SYMBOLS, 0))
    places.setdefault(GENE_SYMBOLS, places[GENE_IDS])
    return places


def _places_by_order(rows: pd.DataFrame) -> dict[str, int]:
    """Return the columns of ids, symbols and types where 10x has them; a column is one of types if its values are."""
    types = next((k for k in (2, 1) if k in rows and not _KNOWN_TYPES.isdisjoint(map(plain, rows[k].unique()))), None)
    places = {GENE_IDS: 0, GENE_SYMBOLS: 1 if rows.shape[1] > 1 and types != 1 else 0}
    return places if types is None else {**places, FEATURE_TYPES: types}


def _as_numbers(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column
