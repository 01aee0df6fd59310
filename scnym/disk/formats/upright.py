"""Whether a source lies the right way round: its cells are not called as genes are, nor its genes as cells are."""

import pandas as pd

from scnym.base.errors import DataError
from scnym.disk.formats.axes import are_cells, are_genes
from scnym.disk.formats.block import ScatteredSource, Source
from scnym.disk.formats.delimited import CellsByGenesTable, GenesByCellsTable

SAMPLED = 1000


def require_upright(source: Source | ScatteredSource) -> None:
    """Raise if the names of a source's cells are those of genes, and the names of its genes those of cells.

    Both must be plain. Text tables are left out: names have told which way round they lie, or the user has.

    Raises
    ------
    DataError
        With an example of both.
    """
    genes = _sample(source.var.index)
    if isinstance(source, CellsByGenesTable | GenesByCellsTable) or not source.has_cell_ids or not are_cells(genes):
        return
    obs = source.obs
    cells = [] if obs is None else _sample(obs.index)
    if are_genes(cells):
        raise DataError(
            f"it lies the wrong way round: its cells have the names of genes, such as {cells[0]!r}, and its genes "
            f"those of cells, such as {genes[0]!r}",
            where=source.path,
            way_out="write it again the other way round, in Python from adata.T, in R from t(counts)",
        )


def _sample(names: pd.Index) -> list[str]:
    return list(map(str, names[:: 1 + len(names) // SAMPLED]))
