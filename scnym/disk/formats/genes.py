"""The genes of a source, whatever its format: other features are left out, and each gene has a name of its own.

Genes that are only numbered, or share a name, are named by a column of `var`: one that is known to hold names, else one
that holds a different id for each gene. A source whose cells are named as genes, and its genes as cells, is refused.

C cells, G genes, F features of the source, N stored values.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError
from scnym.base.schema import free_name
from scnym.disk.feature_kinds import genes_among, plain
from scnym.disk.features import are_numbered
from scnym.disk.formats.csv import CellsByGenesTable, GenesByCellsTable
from scnym.disk.formats.csv_orientation import are_cells, are_genes
from scnym.disk.formats.source import (
    CellBlock,
    GroupSource,
    Scattered,
    ScatteredSource,
    Slab,
    Source,
    names_or_ids,
    require_unique,
)

SYMBOLS = (
    *("featurename", "featurenames", "genename", "genenames", "genesymbol", "genesymbols", "symbol", "symbols"),
    *("geneshortname", "hgncsymbol", "mgisymbol", "externalgenename", "officialsymbol", "hgnc", "gene", "genes"),
    *("varnames", "feature", "features", "name", "names", "rownames", "index"),
)
"""Columns of symbols, the surest first, by their names without case and marks."""
IDS = (
    *("featureid", "featureids", "geneid", "geneids", "ensemblid", "ensemblids", "ensemblgeneid", "ensemblgene"),
    *("ensembl", "ensg", "accession", "accessions", "gencodeid", "flybaseid", "wormbaseid", "zfinid", "mgiid"),
    *("refseqid", "refseq", "entrezid", "entrezgeneid", "entrezgene", "entrez", "ncbigeneid", "ids", "id"),
)
"""Columns of ids."""
LEAST_DISTINCT = 0.5
"""A column with a smaller share of different values, of all genes, names something else."""
MAX_GENES = 80_000
"""More genes than are numbered in any source."""
NUMBERED = re.compile(
    r"(?P<word>(?:(?:gene|feature|features|var|variable|column|col|index|V|X|G)[ ._-]?)?)\d+", re.IGNORECASE
)
NUMBERS_ONLY = (
    "WARNING: the genes are only numbered (0, 1, 2 and so on), and no column names them; a model of them fits nothing "
    "but data with the very same genes in the very same order"
)
ID = re.compile(r"(?!chr)[A-Za-z][\w.:|-]*\d[\w.:|-]*")
NO_NAMES = frozenset({"", "nan", "NaN", "NA", "N/A", "None", "<NA>", "null"})


@dataclass(frozen=True, slots=True)
class Naming:
    """What the genes of a source are called."""

    names: Sequence[str]
    remark: str | None = None
    """Where the names are from, if not from where they should be."""


def named(var: pd.DataFrame, counted: Sequence[str]) -> Naming:
    """Name genes by their index; where this does not tell them apart, by columns.

    Genes that are only numbered get the names that a column holds. Genes that share a name, or have none, get their
    ids, as those of 10x do.

    Parameters
    ----------
    var
        One row per gene.
    counted
        Names of all features of the source, as genes may have been numbered with others between them.
    """
    names = [str(name) for name in var.index]
    is_numbered = are_numbered(counted)
    if is_numbered or _may_be_numbers(names):
        found = _by_columns(var, names, is_numbered=is_numbered)
        return Naming(names, NUMBERS_ONLY) if found is None and is_numbered else found or Naming(names)
    if _tell_apart(names):
        return Naming(names)
    for column, ids in _candidates(var):
        found = names_or_ids(names, ids)
        if _tell_apart(found):
            changed = [name for name, new in zip(names, found, strict=True) if name != new]
            remark = (
                f"{len(changed):,} genes share a name with others or have none, such as {changed[0]!r}: these are "
                f"called by {column!r}"
            )
            return Naming(found, remark)
    return Naming(names)


def _by_columns(var: pd.DataFrame, names: list[str], *, is_numbered: bool) -> Naming | None:
    """Name numbered genes by the first column that can: its symbols, with ids where these are doubled.

    Numbers with gaps may be ids of NCBI: a column of any other name, such as one of probes, names no genes then.
    """
    columns = [found for wanted in (SYMBOLS, IDS) if (found := next(_known(var, wanted), None)) is not None]
    columns = columns or (list(_others(var))[:1] if is_numbered else [])
    if not columns:
        return None
    (first, symbols), (last, ids) = columns[0], columns[-1]
    found = names_or_ids(symbols, ids)
    more = f", and by {last!r} where that does not tell them apart" if found != symbols else ""
    if not is_numbered:
        said = f"the genes are called by numbers, such as {names[0]!r}; they are called by {first!r} instead{more}"
        return Naming(found, said)
    return Naming(found, f"the genes are only numbered, as {names[0]!r}: they are called by {first!r}{more}")


def _may_be_numbers(names: Sequence[str]) -> bool:
    """Whether names may be no more than numbers, alone or behind a word that says no more.

    A part of genes that were numbered has gaps. The numbers of NCBI are names, but those of a list of genes go far
    beyond the number of genes that there are.
    """
    found = [NUMBERED.fullmatch(name) for name in names[:1]]
    if not found or found[0] is None:
        return False
    word = found[0]["word"]
    rests = [name.removeprefix(word) for name in names if name.startswith(word)]
    return len(rests) == len(names) and all(one.isascii() and one.isdecimal() and int(one) < MAX_GENES for one in rests)


def _candidates(var: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Yield the columns that may tell genes apart, the surest first."""
    yield from _known(var, IDS)
    yield from _known(var, SYMBOLS)
    yield from _others(var)


def _known(var: pd.DataFrame, wanted: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    columns = {plain(name): name for name in reversed(list(var.columns))}
    for name in (columns[one] for one in wanted if one in columns):
        texts = _texts(var[name])
        if texts is not None and len({*texts} - {""}) >= LEAST_DISTINCT * len(texts):
            yield str(name), texts


def _others(var: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    """Yield columns of any name that hold a different id for each gene."""
    for name, column in var.items():
        texts = _texts(column)
        if texts is not None and _tell_apart(texts) and all(map(ID.fullmatch, texts)):
            yield str(name), texts


def _texts(column: pd.Series) -> list[str] | None:
    """Return a column's values as text, empty where one is missing; None if it only numbers genes, or holds no ids."""
    values = column.astype(object)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in {"string", "integer"}:
        return None
    texts = ["" if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]
    if are_numbered(texts) or (kind == "string" and not texts[0].isdecimal() and _may_be_numbers(texts)):
        return None
    return ["" if text in NO_NAMES else text for text in texts]


def _tell_apart(names: Sequence[str]) -> bool:
    times = Counter(names)
    return "" not in times and len(times) == len(names)


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


OLD_NAMES = "old_names"
"""Column for the names that genes had in the source."""
MAKE_UNIQUE = "give every gene a name of its own, or an id in a column such as gene_ids"


def with_named_genes(source: Source | ScatteredSource) -> Source | ScatteredSource:
    """Return a source of genes alone, each with a name of its own; the same one where it is that already.

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
    """Return genes new names; the old ones are kept in a column, unless they were mere numbers from 0 or 1 on."""
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
