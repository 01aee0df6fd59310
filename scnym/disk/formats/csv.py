"""Text tables (CSV, TSV, also gzipped) as sources: cells x genes or genes x cells, in bounded memory.

C cells, G genes, R lines, N stored values.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, SettingsError
from scnym.base.settings import Orientation
from scnym.disk.formats.csv_orientation import Evidence, evidence_of_names, evidence_of_totals, undecided
from scnym.disk.formats.csv_table import SAMPLE_NAMES, Lines, TextTable
from scnym.disk.formats.source import CellBlock, ScatteredSource, SeenNames, Slab, Source, require_unique, smallest

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")


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
        Whether lines are cells or genes; auto: found out from what the table says.

    Raises
    ------
    FormatError
        If the file is damaged, its header makes no sense, or a line has too many or too few fields.
    DataError
        If a value is not a finite, non-negative number, or names stand twice.
    SettingsError
        If the table does not tell which way round it lies.
    """
    table = TextTable(path, genes_path)
    if orientation == "auto" and table.has_names:
        found = _evidence(table)
        remark = f"read as {'genes x cells' if found.lines == 'genes' else 'cells x genes'}, since {found.words}"
        return GenesByCellsTable(table, remark) if found.lines == "genes" else CellsByGenesTable(table, remark)
    return GenesByCellsTable(table) if orientation == "genes_by_cells" else CellsByGenesTable(table)


def _evidence(table: TextTable) -> Evidence:
    """Return what the lines of a table are, and why.

    Raises
    ------
    SettingsError
        If nothing tells, or what tells does not agree.
    """
    step = 1 + len(table.columns) // SAMPLE_NAMES
    ids, head = table.sample_ids(), table.head
    if not ids:
        return Evidence("cells", "it has no lines but its header")
    found = evidence_of_names(head.corner, head.beside, table.columns[::step], ids)
    if not found:
        by_totals = evidence_of_totals(table.sample())
        found = [by_totals] if by_totals else []
    if len({one.lines for one in found}) != 1:
        raise SettingsError(
            undecided(found, table.columns, ids),
            where=table.path,
            way_out="give --csv_orientation cells_by_genes if each line is a cell, or genes_by_cells if it is a gene",
        )
    return found[0]


class CellsByGenesTable:
    """A text table with one line per cell, read in bounded blocks."""

    n_cells = None

    def __init__(self, table: TextTable, orientation: str | None = None) -> None:
        self._table = table
        self.path = table.path
        self.remark = _remark(orientation, table)
        """How the table was understood, to be said to the user; None if there is nothing to say."""
        self.has_cell_ids = table.has_names
        self.var = pd.DataFrame(index=pd.Index(table.columns))

    @property
    def obs(self) -> pd.DataFrame | None:
        """What stands beside the counts; None if nothing does."""
        return self._beside

    @cached_property
    def _beside(self) -> pd.DataFrame | None:
        """The same, read once, as all the text is read for it."""
        if not self._table.head.beside:
            return None
        ids, obs = self._table.annotations()
        return obs.set_axis(pd.Index(ids, dtype=object), axis="index")

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

    def __init__(self, table: TextTable, orientation: str | None = None) -> None:
        if not table.has_names:
            raise SettingsError(
                "a table without names is read as cells x genes",
                where=table.path,
                way_out="leave out the orientation, or give the table a header and ids",
                mend={"--csv_orientation": None},
            )
        self._table = table
        self.path = table.path
        self.remark = _remark(orientation, table)
        """How the table was understood, to be said to the user; None if there is nothing to say."""
        require_unique(table.columns, "cell", self.path, "give every column a name of its own")
        ids, var = table.annotations()
        genes = [gene.strip() for gene in ids]
        self.obs = pd.DataFrame(index=pd.Index(table.columns))
        self.var = var.set_axis(pd.Index(genes, dtype=object), axis="index")

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values but zeros, those of a line at least; slabs before `first_slab` are not parsed again."""
        for lines in islice(self._table.batches(max_elements), first_slab, None):
            values = self._table.values(lines)
            kept = np.flatnonzero(values)
            genes_N, cells_N = np.divmod(kept, len(self.obs))
            yield Slab(cells_N, genes_N + lines.first, smallest(values[kept]))


def _remark(orientation: str | None, table: TextTable) -> str | None:
    said = [*([orientation] if orientation else []), *table.head.remarks()]
    return "; ".join(said) or None
