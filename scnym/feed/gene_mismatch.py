"""How the genes of sources and a model were matched, and what to do about those that they do not share."""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

from scnym.base.errors import DataError, examples
from scnym.disk.features import ENSEMBL_ID, are_numbered
from scnym.disk.spellings import PART, parts_of
from scnym.disk.store import Dataset
from scnym.feed.genes import ABSENT, CASE, EXACT, LEAST_SHARED, NAME_GENES, VERSION, GeneMap, map_genes


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
    for what, genes in ((source, source_genes), (model, model_genes)):
        if are_numbered(genes):
            return f"the genes of {what} are only numbered, as {', '.join(genes[:3])}; {NAME_GENES}"
    theirs, ours = (_id_type(genes) for genes in (source_genes, model_genes))
    if theirs != ours and not any(parts_of(pd.Series(genes[:1])) for genes in (source_genes, model_genes)):
        return f"{source} names genes by {theirs}, {model} by {ours}; rename them, or give them a column of {ours}s"
    n_least = min(len({*source_genes}), len({*model_genes}))
    gene_map = map_genes(source_genes, model_genes)
    for rung, n_gained in gene_map.matched_by.items():
        if rung != EXACT and n_gained > n_least / 2:  # what a few share by chance is no reason
            pair = _example(gene_map, source_genes, model_genes)
            return _difference(rung, pair, source, model)
    n_shared = len({*source_genes} & {*model_genes})
    if n_shared >= max(1, LEAST_SHARED * n_least):
        lacking = examples(sorted({*model_genes} - {*source_genes}))
        is_panel = n_shared > len(source_genes) / 2 and len(source_genes) < len(model_genes) / 2
        panel = f"is a panel of {len(source_genes):,} genes: it " if is_panel else ""
        return f"{source} {panel}lacks {lacking}; give all genes that were measured"
    return f"{source} has {examples(source_genes[:3])}, {model} {examples(model_genes[:3])}; check the species"


def _id_type(genes: Sequence[str]) -> str:
    sample = genes[:: max(1, len(genes) // 1000)]
    if all(gene.isdecimal() for gene in sample):
        return "number"
    n_ensembl = sum(ENSEMBL_ID.fullmatch(gene) is not None for gene in sample)
    return "Ensembl id" if n_ensembl > len(sample) / 2 else "symbol"


def _example(gene_map: GeneMap, source_genes: Sequence[str], model_genes: Sequence[str]) -> tuple[str, str]:
    """Return what both call the first gene that they call differently."""
    places = ((s, int(g)) for s, g in enumerate(gene_map.table_S) if g != ABSENT)
    s, g = next((s, g) for s, g in places if source_genes[s] != model_genes[g])
    return source_genes[s], model_genes[g]


def _difference(rung: str, pair: tuple[str, str], source: str, model: str) -> str:
    """Return in what the names differ that a rung of the ladder matches, such as those of a pair."""
    theirs, ours = pair
    if rung == CASE:
        return "names differ in upper and lower case, as between human and mouse; check the species"
    if rung == VERSION:
        longer = source if len(theirs) > len(ours) else model
        return f"names differ in their version suffix (.1, .2); remove it from the genes of {longer}"
    if rung == PART:
        return "names differ in that some hold two names of a gene; keep one of them"
    way_out = next(
        (f"leave out what stands before or behind {a!r}" for a, b in ((theirs, ours), (ours, theirs)) if a in b),
        "name them alike",
    )
    return f"{source} calls genes {theirs!r} that {model} calls {ours!r}; {way_out}"


def matches_in_words(gene_maps: Iterable[GeneMap]) -> str | None:
    """Say by which rungs genes were matched; None where all had the same name."""
    n_matched: Counter[str] = Counter()
    for gene_map in gene_maps:
        n_matched.update(gene_map.matched_by)
    if not set(n_matched) - {EXACT}:
        return None
    return "genes matched by " + ", ".join(f"{rung}: {count:,}" for rung, count in n_matched.items())
