"""The genes of a source, whatever its format: features that are none are left out, and each gene has a name of its own.

C cells, G genes, F features of the source, N stored values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.columns import free_name
from scnym.disk.feature_kinds import genes_among
from scnym.disk.features import are_numbered
from scnym.disk.formats.block import CellBlock, GroupSource, Scattered, ScatteredSource, Slab, Source, require_unique
from scnym.disk.formats.upright import require_upright
from scnym.disk.gene_columns import named

OLD_NAMES = "old_names"
"""Column for the names that genes had in the source."""
MAKE_UNIQUE = "give every gene a name of its own, or an id in a column such as gene_ids"


def with_named_genes(source: Source | ScatteredSource) -> Source | ScatteredSource:
    """Give a source of genes alone, each with a name of its own; the same one where it is that already.

    Parameters
    ----------
    source
        A source as its file has it.

    Raises
    ------
    DataError
        If no feature is a gene, nothing tells two genes apart, or cells stand where genes belong.
    """
    features = source.var
    require_upright(source)
    is_gene_F, left_out = genes_among(features, source.path)
    genes = features if is_gene_F.all() else features[is_gene_F]
    naming = named(genes, list(map(str, features.index)))
    require_unique(naming.names, "gene", source.path, getattr(source, "make_unique", MAKE_UNIQUE))
    if is_gene_F.all() and naming.remark is None:
        return source
    var = _renamed(genes, pd.Index(list(naming.names)))
    remark = "; ".join(filter(None, [source.remark, left_out, naming.remark]))
    kept_G = None if is_gene_F.all() else np.flatnonzero(is_gene_F)
    if isinstance(source, Scattered):
        return GenesOfValues(source, var, kept_G, remark)
    return GenesOfCells(source, var, kept_G, remark)


def _renamed(genes: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Give genes new names; the old ones are kept in a column, unless they were mere numbers from 0 or 1 on."""
    renamed, old = genes.set_axis(names, axis="index"), list(map(str, genes.index))
    is_known = any(list(column) == old for _, column in genes.items())
    if old == list(names) or are_numbered(old) or is_known:
        return renamed
    return renamed.assign(**{free_name(OLD_NAMES, list(map(str, genes.columns))): old})


class _OfGenes:
    """What the genes of any source have in common.

    Parameters
    ----------
    source
        With all of its features.
    var
        One row per gene; the index holds their names.
    kept_G
        Place of each gene among the features, ascending, shape (G,); None if all are genes.
    remark
        What is to be said of all this.
    """

    def __init__(self, source: Any, var: pd.DataFrame, kept_G: np.ndarray | None, remark: str) -> None:
        self._source = source
        self.path, self.var = source.path, var
        self.kept_G = kept_G
        self.remark = remark
        self.has_cell_ids: bool = source.has_cell_ids

    @property
    def obs(self) -> Any:
        """Annotations of the cells, as the source has them; it may be read anew each time."""
        return self._source.obs

    @contextmanager
    def other_groups(self) -> Iterator[dict[str, Any]]:
        """Open what the source holds beside; rows of varm are those of all features."""
        if not isinstance(self._source, GroupSource):
            yield {}
            return
        with self._source.other_groups() as groups:
            yield groups


class GenesOfCells(_OfGenes):
    """The genes of a source that holds its values cell by cell."""

    @property
    def n_cells(self) -> int | None:
        """Number of cells; None where only reading the file would tell."""
        return self._source.n_cells

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one cell at least.

        Values of other features count among them.
        """
        for block in self._source.blocks(max_elements, first_cell):
            counts_CG = block.counts_CG if self.kept_G is None else block.counts_CG[:, self.kept_G]
            yield CellBlock(sparse.csr_matrix(counts_CG), block.cells)


class GenesOfValues(_OfGenes):
    """The genes of a source whose values do not stand cell by cell."""

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values of genes, in slabs that are those of the source."""
        slabs = self._source.slabs(max_elements, first_slab)
        if self.kept_G is None:
            yield from slabs
            return
        gene_of_F = np.full(len(self._source.var), -1, np.int32)
        gene_of_F[self.kept_G] = np.arange(len(self.kept_G))
        for slab in slabs:
            genes_N = gene_of_F[slab.genes_N]
            is_kept_N = genes_N >= 0
            yield Slab(slab.cells_N[is_kept_N], genes_N[is_kept_N], slab.values_N[is_kept_N])
