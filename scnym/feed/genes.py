"""Lazy gene alignment: one lookup table per source, applied while a batch is filled. The store is never rewritten.

S genes of a source, G genes of a model.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import compress, pairwise, product
from typing import Literal, get_args

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, SettingsError, examples
from scnym.disk.features import (
    MARKS,
    PART,
    PREFIX,
    SUFFIX,
    are_numbered,
    has_versions,
    parts_of,
    prefixes_of,
    unversioned,
    with_plain_marks,
    without_prefix,
    without_suffix,
    without_version,
)
from scnym.disk.store import Dataset

ABSENT = -1
EXACT, VERSION, CASE = "name", "name without version", "name in other case"
LEAST_SHARED = 0.1
"""Lists that share a smaller part of the shorter one do so by chance."""
NAME_GENES = "name them, or give var a column such as feature_name that does, and convert again"
GeneSet = Literal["inner", "outer"]
Aliases = Mapping[str, pd.Series]
"""By column of `var`: the other name of each gene, indexed by its name without version, each of which stands once."""


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
    """Return the genes on which several sources stream as one.

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
        If genes that are given are no list of names, or a name stands twice; if there is no source; or if several
        sources have nothing but numbers for genes, and not the same ones.
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
    for dataset in datasets[1:]:
        if not numbers_agree(datasets[0].genes, dataset.genes):
            raise DataError(
                "genes that are only numbered cannot be told to be the same", where="the sources", way_out=NAME_GENES
            )
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
    """Return names among which every gene of every source finds a place of its own.

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


def numbers_agree(source_genes: Sequence[str], model_genes: Sequence[str]) -> bool:
    """Whether genes of the same name may be taken for the same gene, which numbers do not tell.

    Numbers from 0 or 1 on name the place of a gene in its file. So they are those of the model if its list is the same,
    or a part of it that is no such list itself. The numbers of NCBI are names.
    """
    if tuple(source_genes) == tuple(model_genes):
        return True
    if are_numbered(model_genes):
        return not set(model_genes) & set(source_genes)
    numbers = {gene for gene in model_genes if gene.isdecimal()}
    if not are_numbered(source_genes) or not numbers & set(source_genes):
        return True
    return len(numbers) == len(model_genes) and numbers <= set(source_genes)


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
        genes = unversioned(pd.Series(dataset.genes, dtype=object))
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
    of other sources; a part of a name such as ``ENSG00000010610|CD4``; the name without its chromosome; the name
    without the prefix of a genome, where that gains more than all before; the same name but for its marks, as R writes
    ``HLA.DRA``; the same name but for case. A rung matches only genes that no rung before did, and only names that
    stand once on both sides.

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
    for rung, keys_S, keys_G in _rungs(source_genes, model_genes, var, aliases or {}, table_S, present_G):
        places_S, places_G = _matches(table_S, present_G, keys_S, keys_G)
        n_before = sum(count for name, count in matched_by.items() if not name.startswith(PREFIX))
        if len(places_S) > (n_before if rung.startswith(PREFIX) else 0):
            table_S[places_S] = places_G
            present_G[places_G] = True
            matched_by[rung] = matched_by.get(rung, 0) + len(places_S)
        if present_G.all() or (table_S != ABSENT).all():
            break
    return GeneMap(table_S, present_G, matched_by)


def _rungs(
    source_genes: Sequence[str],
    model_genes: Sequence[str],
    var: pd.DataFrame | None,
    aliases: Aliases,
    table_S: np.ndarray,
    present_G: np.ndarray,
) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Yield the ladder: the name of each rung, and the keys by which it compares source and model.

    What the rungs before have matched stands in `table_S` and `present_G` when the next is asked for.
    """
    source, model = (pd.Series(genes, dtype=object) for genes in (source_genes, model_genes))
    yield EXACT, source, model
    source, model = unversioned(source), unversioned(model)
    yield VERSION, source, model
    if has_versions(source) != has_versions(model):  # where both have such numbers, they tell genes apart
        yield VERSION, *((without_version(source), model) if has_versions(source) else (source, without_version(model)))
    for name, ids in _columns_naming(model, var):
        yield f"var column {name!r}", ids, model
    for name, others in aliases.items():
        rung = f"var column {name!r} of another source"
        yield rung, source, model.map(others)
        yield rung, source.map(others), model
    free_S, free_G = table_S == ABSENT, ~present_G
    left, wanted = source.where(free_S), model.where(free_G)
    for keys_S, keys_G in _pairs([left, *parts_of(left)], [wanted, *parts_of(wanted)]):
        yield PART, keys_S, keys_G
    for keys_S, keys_G in _pairs([left, without_suffix(left)], [wanted, without_suffix(wanted)]):
        yield SUFFIX, keys_S, keys_G
    columns = [ids.where(free_S) for ids in _texts(var).values()]
    yield from _without_prefix([left, *parts_of(left), *columns], [wanted, *parts_of(wanted)])
    yield MARKS, with_plain_marks(source), with_plain_marks(model)
    yield CASE, source.str.upper(), model.str.upper()


def _pairs(of_S: Sequence[pd.Series], of_G: Sequence[pd.Series]) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Yield every way to compare source and model but the first of both, which has been tried."""
    pairs = product(range(len(of_S)), range(len(of_G)))
    yield from ((of_S[s], of_G[g]) for s, g in pairs if s or g)


def _without_prefix(of_S: Sequence[pd.Series], of_G: Sequence[pd.Series]) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Take the prefix of a genome from the names of source, model or both; of several the one that matches most.

    Of cells of two species that were mapped to both genomes, so only the genes of one are matched.
    """
    best: tuple[int, str, pd.Series, pd.Series] | None = None
    for (mark_S, keys_S), (mark_G, keys_G) in product(_prefix_forms(of_S), _prefix_forms(of_G)):
        if not mark_S and not mark_G:
            continue
        n_shared = len({*keys_S.str.upper().dropna()} & {*keys_G.str.upper().dropna()})
        if n_shared and (best is None or n_shared > best[0]):
            best = n_shared, mark_S or mark_G, keys_S, keys_G
    if best is not None:
        _, prefix, keys_S, keys_G = best
        yield f"{PREFIX} {prefix!r}", keys_S, keys_G
        yield f"{PREFIX} {prefix!r} in other case", keys_S.str.upper(), keys_G.str.upper()


def _prefix_forms(names: Sequence[pd.Series]) -> list[tuple[str, pd.Series]]:
    """Return names as they are, and without each of their prefixes, whole and in parts."""
    forms = [("", one) for one in names]
    for one in names:
        for prefix in prefixes_of(one.dropna().tolist()):
            rests = without_prefix(one, prefix)
            forms += [(prefix, form) for form in (rests, *parts_of(rests))]
    return forms


def _matches(
    table_S: np.ndarray, present_G: np.ndarray, keys_S: pd.Series, keys_G: pd.Series
) -> tuple[np.ndarray, np.ndarray]:
    """Find genes of source and model that are not matched yet and have the same key."""
    free_S = np.flatnonzero((table_S == ABSENT) & _once(keys_S))
    free_G = np.flatnonzero(~present_G & _once(keys_G))
    found = pd.Index(keys_G.iloc[free_G]).get_indexer(pd.Index(keys_S.iloc[free_S]))
    return free_S[found >= 0], free_G[found[found >= 0]]


def _once(keys: pd.Series) -> np.ndarray:
    return ~keys.duplicated(keep=False).to_numpy() & keys.notna().to_numpy()


def _columns_naming(model: pd.Series, var: pd.DataFrame | None) -> list[tuple[str, pd.Series]]:
    """Return the columns that hold names of the model, those with the most first."""
    texts, wanted = _texts(var), pd.Index(model)
    n_held = {name: int(ids.isin(wanted).sum()) for name, ids in texts.items()}
    return sorted(((name, ids) for name, ids in texts.items() if n_held[name]), key=lambda column: -n_held[column[0]])


def _texts(var: pd.DataFrame | None) -> dict[str, pd.Series]:
    """Return the columns that hold text, Ensembl ids in them without their versions."""
    if var is None:
        return {}
    columns = {str(name): column.astype(object).reset_index(drop=True) for name, column in var.items()}
    return {
        name: unversioned(column)
        for name, column in columns.items()
        if pd.api.types.infer_dtype(column, skipna=True) == "string"
    }
