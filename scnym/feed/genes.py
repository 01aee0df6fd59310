"""Lazy gene alignment: one lookup table per source, applied while a batch is filled. The store is never rewritten.

S genes of a source, G genes of a model.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import compress, pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, SettingsError, examples
from scnym.disk.store import Dataset

ABSENT = -1
EXACT, VERSION, CASE = "name", "name without version", "name in other case"
GeneSet = Literal["inner", "outer"]
Aliases = Mapping[str, pd.Series]
"""By column of `var`: the other name of each gene, indexed by its name without version, each of which stands once."""
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?")
_VERSIONED = re.compile(r"^(ENS[A-Z]*G\d{6,})\.\d+$")


@dataclass(frozen=True)
class GeneMap:
    """Where each gene of a source goes."""

    table_S: np.ndarray
    """Position among the model's genes, -1 for genes the model does not know; int32, shape (S,)."""
    present_G: np.ndarray
    """Whether the source measured the model's gene; bool, shape (G,)."""
    matched_by: dict[str, int] = field(default_factory=dict)
    """How many genes each rung of the ladder matched (see `map_genes`); rungs that matched none are left out."""

    @property
    def coverage(self) -> float:
        """Share of the model's genes that the source measured."""
        return float(self.present_G.mean()) if len(self.present_G) else 0.0

    @cached_property
    def is_whole(self) -> bool:
        """Whether the model knows every gene of the source."""
        return bool((self.table_S != ABSENT).all())

    @cached_property
    def is_identity(self) -> bool:
        """Whether the genes of the source are those of the model, in its order."""
        return np.array_equal(self.table_S, np.arange(len(self.present_G)))

    @cached_property
    def is_monotone(self) -> bool:
        """Whether the genes that the model knows stand in its order, so that ascending rows stay ascending."""
        return bool((np.diff(self.table_S[self.table_S != ABSENT]) > 0).all())


def gene_list(datasets: Sequence[Dataset], genes: GeneSet | Sequence[str]) -> tuple[str, ...]:
    """Give the genes on which several sources stream as one.

    Parameters
    ----------
    datasets
        The sources.
    genes
        ``inner``: the genes that all sources have; ``outer``: those that any has; or the genes themselves. Which genes
        of two sources are the same is decided by the ladder of `map_genes`, as it is when they are streamed. Two genes
        of one source are never taken for one.

    Returns
    -------
    tuple of str
        Each named as in the first source that has it. Where the sources agree on the order of the genes they share,
        in an order that suits all of them; else in the order of the first source, followed by what the second has
        beside, and so on.

    Raises
    ------
    DataError
        If genes that are given are no list of names, or a name stands twice; or if there is no source.
    SettingsError
        If it is one word, but none of the two.
    """
    if not isinstance(genes, str):
        return distinct_names(genes, "genes")
    if genes not in get_args(GeneSet):
        raise SettingsError(
            f"{genes!r} is not possible", where="genes", way_out="give inner, outer, or a list of the genes' names"
        )
    if not isinstance(datasets, Sequence) or not datasets:
        raise DataError("there is no list of sources", where="datasets", way_out="give store.datasets")
    aliases = aliases_of(datasets)
    names = _all_genes(datasets, aliases)
    if genes == "inner":
        return _shared(datasets, names, aliases)
    return _merged([[names[k] for k in found.table_S] for found in _maps(datasets, names, aliases)])


def distinct_names(genes: Iterable[str], argument: str) -> tuple[str, ...]:
    """Return the names of a gene list.

    Parameters
    ----------
    genes
        Names, in order: a list, an array, a pandas Index or Series.
    argument
        What the list is called, for errors.

    Raises
    ------
    DataError
        If it is no such list, or a name stands twice: which of the two were meant?
    """
    no_list = str | bytes | Set | Mapping | pd.DataFrame
    if isinstance(genes, no_list) or not isinstance(genes, Iterable):
        raise DataError(
            f"{genes!r} is not a list of genes" if isinstance(genes, str) else f"{type(genes).__name__} is not a list",
            where=argument,
            way_out='give the names in a list; scnym.gene_list(store.datasets, "outer") has those of a store',
        )
    names = tuple(genes)
    others = [name for name in names if not isinstance(name, str)]
    if others:
        raise DataError(f"{others[0]!r} is not the name of a gene", where=argument, way_out="give names as text")
    if len(set(names)) < len(names):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        raise DataError(
            f"duplicate gene names {examples(repeated)}",
            where=argument,
            way_out="give every gene once, as list(dict.fromkeys(genes)) has them",
        )
    return tuple(map(str, names))


def _all_genes(datasets: Sequence[Dataset], aliases: Aliases) -> tuple[str, ...]:
    """Give names among which every gene of every source finds a place of its own.

    A name that comes in late may leave a gene of an earlier source between two, as LYZ and Lyz of one source do the
    lyz of another. So the sources are gone through until none adds a name.
    """
    names: list[str] = []
    n_before = -1
    while len(names) > n_before:
        n_before = len(names)
        for dataset in datasets:
            table_S = map_genes(dataset.genes, names, dataset.var, aliases).table_S
            names += [dataset.genes[k] for k in np.flatnonzero(table_S == ABSENT)]
    return tuple(names)


def _shared(datasets: Sequence[Dataset], names: tuple[str, ...], aliases: Aliases) -> tuple[str, ...]:
    """Keep the names that all sources have, also when they are looked for among no others."""
    while True:
        present_G = np.logical_and.reduce([found.present_G for found in _maps(datasets, names, aliases)])
        if present_G.all():
            return names
        names = tuple(compress(names, present_G))


def _merged(orders: Sequence[Sequence[str]]) -> tuple[str, ...]:
    followers: TopologicalSorter[str] = TopologicalSorter()
    for order in orders:
        for gene in order:
            followers.add(gene)
        for before, after in pairwise(order):
            followers.add(after, before)
    try:
        return tuple(followers.static_order())
    except CycleError:
        return tuple(dict.fromkeys(gene for order in orders for gene in order))


def map_datasets(datasets: Sequence[Dataset], model_genes: Sequence[str]) -> list[GeneMap]:
    """Match the genes of every source with those of a model; what one source says of genes helps the others.

    See `map_genes`.
    """
    return _maps(datasets, model_genes, aliases_of(datasets))


def _maps(datasets: Sequence[Dataset], names: Sequence[str], aliases: Aliases) -> list[GeneMap]:
    return [map_genes(dataset.genes, names, dataset.var, aliases) for dataset in datasets]


def aliases_of(datasets: Sequence[Dataset]) -> Aliases:
    """Collect the other names that several sources give for genes, by column of `var`.

    A name that several genes of a source share, and a gene for which sources disagree, are left out. One source alone
    gives none: it is read by its own columns.
    """
    pairs: dict[str, list[pd.DataFrame]] = {}
    for dataset in datasets if len(datasets) > 1 else ():
        genes = _unversioned(pd.Series(dataset.genes, dtype=object))
        for name, others in _texts(dataset.var).items():
            alone = _once(genes) & _once(others)
            pairs.setdefault(name, []).append(pd.DataFrame({"gene": genes[alone], "other": others[alone]}))
    joined = {name: pd.concat(frames).drop_duplicates() for name, frames in pairs.items()}
    return {name: frame[_once(frame["gene"])].set_index("gene")["other"] for name, frame in joined.items()}


def map_genes(
    source_genes: Sequence[str],
    model_genes: Sequence[str],
    var: pd.DataFrame | None = None,
    aliases: Aliases | None = None,
) -> GeneMap:
    """Match genes by exact name; what is left by ever more lenient rungs of a ladder.

    The rungs: the same name; the same Ensembl id but for its version; a text column of `var` that holds the model's
    names (ids where the source is named by symbols, or the other way round), best column first; the same by a column
    of other sources; the same name but for upper and lower case. A rung matches only genes that no rung before did, and
    only names that stand once on both sides.

    Parameters
    ----------
    source_genes
        Names, shape (S,).
    model_genes
        Names that are wanted, shape (G,).
    var
        What else the source says of its genes, a row for each.
    aliases
        What other sources say of genes; see `aliases_of`.

    Raises
    ------
    DataError
        If a name that is wanted stands twice, or `var` has other rows than there are genes.
    """
    model_genes = distinct_names(model_genes, "model_genes")
    if var is not None and len(var) != len(source_genes):
        raise DataError(
            f"{len(var):,} rows for {len(source_genes):,} genes", where="var", way_out="give a row for each gene"
        )
    table_S = np.full(len(source_genes), ABSENT, np.int32)
    present_G = np.zeros(len(model_genes), bool)
    matched_by: dict[str, int] = {}
    for rung, keys_S, keys_G in _rungs(source_genes, model_genes, var, aliases or {}):
        n_matched = _match(table_S, present_G, keys_S, keys_G)
        if n_matched:
            matched_by[rung] = matched_by.get(rung, 0) + n_matched
        if present_G.all() or (table_S != ABSENT).all():
            break
    return GeneMap(table_S, present_G, matched_by)


def _rungs(
    source_genes: Sequence[str], model_genes: Sequence[str], var: pd.DataFrame | None, aliases: Aliases
) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Give the ladder: the name of each rung, and the keys by which it compares source and model."""
    source, model = (pd.Series(genes, dtype=object) for genes in (source_genes, model_genes))
    yield EXACT, source, model
    source, model = _unversioned(source), _unversioned(model)
    yield VERSION, source, model
    for name, ids in _columns_naming(model, var):
        yield f"var column {name!r}", ids, model
    for name, others in aliases.items():
        rung = f"var column {name!r} of another source"
        yield rung, source, model.map(others)
        yield rung, source.map(others), model
    yield CASE, source.str.upper(), model.str.upper()


def _match(table_S: np.ndarray, present_G: np.ndarray, keys_S: pd.Series, keys_G: pd.Series) -> int:
    free_S = np.flatnonzero((table_S == ABSENT) & _once(keys_S))
    free_G = np.flatnonzero(~present_G & _once(keys_G))
    found = pd.Index(keys_G.iloc[free_G]).get_indexer(pd.Index(keys_S.iloc[free_S]))
    matched = found >= 0
    table_S[free_S[matched]] = free_G[found[matched]]
    present_G[free_G[found[matched]]] = True
    return int(matched.sum())


def _once(keys: pd.Series) -> np.ndarray:
    return ~keys.duplicated(keep=False).to_numpy() & keys.notna().to_numpy()


def _columns_naming(model: pd.Series, var: pd.DataFrame | None) -> list[tuple[str, pd.Series]]:
    """Give the columns that hold names of the model, those with the most first."""
    texts, wanted = _texts(var), pd.Index(model)
    n_held = {name: int(ids.isin(wanted).sum()) for name, ids in texts.items()}
    return sorted(((name, ids) for name, ids in texts.items() if n_held[name]), key=lambda column: -n_held[column[0]])


def _texts(var: pd.DataFrame | None) -> dict[str, pd.Series]:
    """Give the columns that hold text, Ensembl ids in them without their versions."""
    if var is None:
        return {}
    columns = {str(name): column.astype(object).reset_index(drop=True) for name, column in var.items()}
    return {
        name: _unversioned(column)
        for name, column in columns.items()
        if pd.api.types.infer_dtype(column, skipna=True) == "string"
    }


def _unversioned(names: pd.Series) -> pd.Series:
    """Take the version from Ensembl ids, and leave all else as it is."""
    return names.str.replace(_VERSIONED, r"\1", regex=True)


def matches_in_words(gene_maps: Iterable[GeneMap]) -> str | None:
    """Say by which rungs genes were matched; None where all had the same name."""
    n_matched: Counter[str] = Counter()
    for gene_map in gene_maps:
        n_matched.update(gene_map.matched_by)
    if not set(n_matched) - {EXACT}:
        return None
    return "genes matched by " + ", ".join(f"{rung}: {count:,}" for rung, count in n_matched.items())


def require_shared(datasets: Sequence[Dataset], genes: Sequence[str], gene_maps: Iterable[GeneMap]) -> None:
    """Raise a DataError if there are no genes, or none that any source has: their batches would hold zeros alone."""
    if not genes:
        raise DataError("there are no genes", where="genes", way_out="give one or more, by name")
    if not any(gene_map.present_G.any() for gene_map in gene_maps):
        advice = mismatch_advice(datasets[0].genes, genes, source="the store", model="the list")
        raise DataError(f"the store has none of the {len(genes):,} genes", where="genes", way_out=advice)


def mismatch_advice(
    source_genes: Sequence[str], model_genes: Sequence[str], *, source: str = "the data", model: str = "the model"
) -> str:
    """Say why two gene lists share so little, and what to do.

    Parameters
    ----------
    source_genes, model_genes
        Genes that are offered, and genes that are wanted.
    source, model
        What has these genes, in words.
    """
    theirs, ours = (_id_type(genes) for genes in (source_genes, model_genes))
    if theirs != ours:
        return f"{source} names genes by {theirs}, {model} by {ours}; rename them, or give them a column of {ours}s"
    n_shared = _n_shared(source_genes, model_genes, str)
    if _n_shared(source_genes, model_genes, str.upper) > n_shared:
        return "names differ in upper and lower case, as between human and mouse; check the species"
    if _n_shared(source_genes, model_genes, lambda gene: gene.partition(".")[0]) > n_shared:
        return f"names differ in their version suffix (.1, .2); remove it from the genes of {source}"
    if n_shared:
        lacking = sorted({*model_genes} - {*source_genes})
        return f"{source} lacks {examples(lacking)}; give all genes that were measured"
    return f"{source} has {examples(source_genes[:3])}, {model} {examples(model_genes[:3])}; check the species"


def _n_shared(source_genes: Sequence[str], model_genes: Sequence[str], spelling: Callable[[str], str]) -> int:
    return len({spelling(gene) for gene in source_genes} & {spelling(gene) for gene in model_genes})


def _id_type(genes: Sequence[str]) -> str:
    sample = genes[:: max(1, len(genes) // 1000)]
    ensembl = sum(bool(_ENSEMBL.fullmatch(gene)) for gene in sample)
    return "Ensembl id" if ensembl > len(sample) / 2 else "symbol"
