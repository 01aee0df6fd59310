"""Matrix Market files of Cell Ranger, STARsolo, kallisto-bustools, alevin-fry, Parse and others, with their lists.

C cells, G genes, F features of the file, N stored values.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, FormatError
from scnym.disk.formats.cellranger import Features
from scnym.disk.formats.csv_lines import chunks, numbers_in, opened
from scnym.disk.formats.csv_orientation import evidence_of_names
from scnym.disk.formats.matrix_market_files import MatrixFiles, is_matrix, matrix_files, names_of
from scnym.disk.formats.name_lists import GENE_IDS, GENE_SYMBOLS, NameList, cells_of, features_of
from scnym.disk.formats.source import Slab, require_unique, smallest

BANNER = ("%%matrixmarket", "matrix", "coordinate")
FIELDS = ("integer", "unsigned-integer", "real", "float", "double")
"""Float and double are no words of the format, but some programs write them for real."""
ENTRY_FORM = b"  \n"
LEAST_ENTRY_BYTES = 4
"""Bytes of text read per value that may be held: lines of six at least, about thirteen as a rule."""
MAX_HEADER_BYTES = 2**16
COPY_AGAIN = "copy or write it again"
UNSPLICED, AMBIGUOUS = "-U", "-A"
"""What alevin-fry puts behind a gene's name for its counts of unspliced and of ambiguous molecules."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the first lines of a Matrix Market file promise."""

    n_rows: int
    n_columns: int
    n_entries: int


class MatrixMarketSource:
    """A Matrix Market file with the lists of its features and cells, each gzipped or not.

    Parameters
    ----------
    path
        The matrix, or a folder with ``matrix.mtx``; see `matrix_files` for what is read with it.

    Raises
    ------
    MissingInputError
        If one of the files is not there.
    FormatError
        If a file is damaged, or they do not belong together.
    DataError
        If there are no genes, or names stand twice.
    """

    has_cell_ids = True

    def __init__(self, path: Path) -> None:
        self.path = path
        files = matrix_files(path)
        self._matrix = files.matrix
        with opened(self._matrix) as file:
            self._shape = self._read_header(file)
        features, cells = NameList(files.features), NameList(files.cells)
        self._cells_first, turned = self._way_round(files, features, cells)
        if turned and files.by_axis:
            features, cells = cells, features
        sizes = (self._shape.n_rows, self._shape.n_columns)
        n_features, n_cells = sizes[::-1] if self._cells_first else sizes
        table, remark = _with_symbols(*features_of(features, n_features), files)
        table, self._feature_of_F, parts = _without_parts(table)
        self._features = Features(table, features.path)
        self.var = self._features.var
        self._gene_of_F = self._features.gene_of_F[self._feature_of_F]
        self._gene_of_F[self._feature_of_F < 0] = -1
        self._are_all_genes = bool((self._gene_of_F >= 0).all())
        self.obs = cells_of(cells, n_cells)
        require_unique(self.obs.index, "cell", cells.path, "give every cell a barcode of its own")
        said = (turned, remark, parts, self._features.remark, self._not_read(path))
        self.remark = "; ".join(one for one in said if one) or None
        """How the files were understood, to be said to the user; None if there is no doubt."""

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values, at most `max_elements` at a time; slabs before `first_slab` are not parsed again."""
        first_entry = 0
        with opened(self._matrix) as file:
            self._read_header(file)
            for number, chunk in enumerate(chunks(file, LEAST_ENTRY_BYTES * max_elements)):
                text = _without_blank_lines(chunk)
                n_entries = text.count(b"\n")
                if number >= first_slab:
                    yield self._slab(_entries(text, n_entries, partial(self._refuse_entry, first_entry)), first_entry)
                first_entry += n_entries
        if first_entry != self._shape.n_entries:
            raise FormatError(
                f"it holds {first_entry:,} entries, but its header promises {self._shape.n_entries:,}",
                where=self._matrix,
                way_out=COPY_AGAIN,
            )

    def _slab(self, entries_3N: np.ndarray, first_entry: int) -> Slab:
        places_2N = entries_3N[1::-1] if self._cells_first else entries_3N[:2]
        limits = (len(self._gene_of_F), len(self.obs))
        for places_N, limit, noun in zip(places_2N, limits, ("feature", "cell"), strict=True):
            if len(places_N) and not _are_places(places_N, limit):
                at = next(k for k in range(len(places_N)) if not _are_places(places_N[k : k + 1], limit))
                self._refuse_entry(first_entry, at, f"there is no {noun} {places_N[at]:g}, but 1 to {limit:,}")
        genes_N = self._gene_of_F[places_2N[0].astype(np.int32) - 1]
        cells_N = places_2N[1].astype(np.int32) - 1
        values_N = smallest(entries_3N[2])
        if self._are_all_genes:
            return Slab(cells_N, genes_N, values_N)
        return Slab(cells_N[genes_N >= 0], genes_N[genes_N >= 0], values_N[genes_N >= 0])

    def _refuse_entry(self, first_entry: int, at: int, what: str) -> None:
        raise FormatError(what, where=f"{self._matrix}, entry {first_entry + at + 1:,}", way_out=COPY_AGAIN)

    def _read_header(self, file: BinaryIO) -> Shape:
        """Check the lines above the entries, and read the size."""
        banner = file.readline(MAX_HEADER_BYTES).decode().split()
        if len(banner) != 5 or tuple(word.lower() for word in banner[:3]) != BANNER:
            self._refuse_header("the first line is not that of a sparse Matrix Market file")
        field, symmetry = (word.lower() for word in banner[3:])
        if field not in FIELDS or symmetry != "general":
            self._refuse_header(f"it holds a {symmetry} matrix of {field} values, which cannot be counts")
        line = file.readline(MAX_HEADER_BYTES)
        while line.startswith(b"%") or line.isspace():
            line = file.readline(MAX_HEADER_BYTES)
        size = line.split()
        if len(size) != 3 or not all(number.isdigit() for number in size):
            self._refuse_header(f"{line.decode().strip()!r} is no size: features, cells, entries")
        return Shape(*map(int, size))

    def _refuse_header(self, what: str) -> None:
        raise FormatError(what, where=self._matrix, way_out="write it as coordinate integer general, or real")

    def _way_round(self, files: MatrixFiles, features: NameList, cells: NameList) -> tuple[bool, str | None]:
        """Find out whether the rows are cells: the lengths of the lists tell, and where they do not, the tool's names.

        Returns
        -------
        bool
            Whether rows are cells.
        str or None
            What was decided against the usual way, to be said to the user.

        Raises
        ------
        FormatError
            If the lists do not fit the matrix.
        """
        sizes = (self._shape.n_rows, self._shape.n_columns)
        if files.by_axis and _fits(features, cells, sizes):
            columns, rows = (names.table(n)[0][0] for names, n in ((cells, sizes[1]), (features, sizes[0])))
            found = {one.lines for one in evidence_of_names("", [], list(rows), list(columns))}  # what columns name
            if found == {"genes"}:
                return True, f"read as cells x features, since {cells.path.name} names genes"
            return False, None
        ways = [way for way in (False, True) if _fits(features, cells, (sizes[1], sizes[0]) if way else sizes)]
        if not ways:
            self._refuse_sizes(features, cells)
        if len(ways) == 1:
            usual = files.cells_first in {None, ways[0]}
            return ways[0], None if usual else f"read as {_order(ways[0])}, as the lengths of its lists are"
        if files.cells_first is None:
            return False, "read as features x cells, as 10x writes it: it has as many of the one as of the other"
        return files.cells_first, None

    def _refuse_sizes(self, features: NameList, cells: NameList) -> None:
        for names, noun in ((features, "gene"), (cells, "cell")):
            if not len(names):
                raise DataError(
                    f"it names no {noun}", where=names.path, way_out="give the file that was written with the matrix"
                )
        n_rows, n_columns = self._shape.n_rows, self._shape.n_columns
        longer = [
            f"; the first line of {names.path.name}, {names.first_line!r}, is no header that is known"
            for names in (features, cells)
            if len(names) - 1 in {n_rows, n_columns}
        ]
        raise FormatError(
            f"the matrix has {n_rows:,} features and {n_columns:,} cells, but {len(features):,} features and "
            f"{len(cells):,} barcodes are named beside it{''.join(longer[:1])}",
            where=self._matrix,
            way_out="give the files that were written together"
            + (", and take the first line away if it is a header" if longer else ""),
        )

    def _not_read(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        others = sorted(one for one in path.iterdir() if is_matrix(one) and one != self._matrix)
        return f"not read: {names_of(others)} beside {self._matrix.name}" if others else None


def _fits(features: NameList, cells: NameList, sizes: tuple[int, int]) -> bool:
    return features.names(sizes[0]) and cells.names(sizes[1])


def _order(cells_first: bool) -> str:
    return "cells x features" if cells_first else "features x cells"


def _with_symbols(table: pd.DataFrame, remark: str | None, files: MatrixFiles) -> tuple[pd.DataFrame, str | None]:
    """Put the genes' symbols from a list of their own into the table, if there is one of this length."""
    if files.symbols is None:
        return table, remark
    names = NameList(files.symbols)
    if not names.names(len(table)):
        return table, f"{files.symbols.name} is not read: it names {len(names):,} genes, not {len(table):,}"
    return table.assign(**{GENE_SYMBOLS: list(names.table(len(table))[0][0])}), remark


def _without_parts(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, str | None]:
    """Bring the three columns of each gene together that alevin-fry writes: spliced, unspliced and ambiguous.

    Returns
    -------
    pd.DataFrame
        One row per gene.
    np.ndarray
        Row of each feature of the matrix in it, shape (F,), -1 for what is left out.
    str or None
        What was done, to be said to the user.
    """
    n_genes, rest = divmod(len(table), 3)
    ids = table[GENE_IDS].to_numpy()
    if rest or not n_genes or not (str(ids[n_genes]).endswith(UNSPLICED) and str(ids[-1]).endswith(AMBIGUOUS)):
        return table, np.arange(len(table)), None
    spliced, unspliced, ambiguous = np.split(ids, 3)
    if list(spliced + UNSPLICED) != list(unspliced) or list(spliced + AMBIGUOUS) != list(ambiguous):
        return table, np.arange(len(table)), None
    genes = np.arange(n_genes)
    remark = "counts of spliced and ambiguous molecules are added up; those of unspliced ones are left out"
    return table.iloc[:n_genes], np.concatenate([genes, np.full(n_genes, -1), genes]), remark


def _without_blank_lines(chunk: bytes) -> bytes:
    if b"\t" in chunk:
        chunk = chunk.replace(b"\t", b" ")
    if b"\n\n" in chunk or chunk.startswith(b"\n"):
        chunk = b"\n".join(line for line in chunk.split(b"\n") if line)
    return chunk if chunk.endswith(b"\n") or not chunk else chunk + b"\n"


def _entries(text: bytes, n_entries: int, refuse: Callable[[int, str], None]) -> np.ndarray:
    """Parse lines of row, column and value, shape (3, N)."""
    found = numbers_in(text, ENTRY_FORM, n_entries)
    if found is not None:
        return np.ascontiguousarray(found.reshape(-1, 3).T)
    entries_3N = np.empty((3, n_entries))
    for at, line in enumerate(text.splitlines()):
        try:
            row, column, value = map(float, line.split())
        except ValueError:
            refuse(at, f"{line.decode(errors='replace')!r} is no entry: feature, cell, value")
        else:
            entries_3N[:, at] = row, column, value
    return entries_3N


def _are_places(places_N: np.ndarray, limit: int) -> bool:
    """Whether all are whole numbers from 1 to a limit."""
    is_whole = places_N.dtype.kind == "i" or np.array_equal(places_N, np.floor(places_N))
    return is_whole and places_N.min() >= 1 and places_N.max() <= limit
