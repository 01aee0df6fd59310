"""How much of what a model reads new data has, and whether it is of the model's species.

G genes of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scnym.base.errors import DataError
from scnym.disk.features import are_numbered, gene_naming
from scnym.disk.store import Store
from scnym.feed.checks import mismatch_advice
from scnym.feed.genes import CASE, EXACT, GeneMap, numbers_agree
from scnym.model.snapshot import Snapshot


@dataclass(frozen=True)
class GeneCoverage:
    """How much of what a model reads the new data has."""

    n_genes: int
    """Genes of the model."""
    n_found: int
    """Of these, measured in the data."""
    share: float
    """n_found / n_genes."""
    weighted_share: float
    """The same with every gene weighted by how much the network listens to it."""


def gene_coverage(
    store: Store,
    gene_maps: Sequence[GeneMap],
    snapshot: Snapshot,
    min_share: float,
    sources: Sequence[int] | None = None,
) -> GeneCoverage:
    """Measure how much of the model's genes the data has; every source must have enough.

    Parameters
    ----------
    store
        The data.
    gene_maps
        Where the genes of each source go, a map per source.
    snapshot
        The model.
    min_share
        Least share of its genes, from 0 to 1.
    sources
        Numbers of the sources whose cells it labels; None for all.

    Raises
    ------
    DataError
        If a source has no gene of the model, or a smaller share than `min_share`; with the likely reason.
    """
    genes = snapshot.card.genes
    sources = range(len(store.datasets)) if sources is None else sources
    for number in sources:
        gene_map, dataset = gene_maps[number], store.datasets[number]
        if not numbers_agree(dataset.genes, genes):
            raise DataError(
                "its genes and the model's are not the same, and are only numbered",
                where=store.sources[number].file,
                way_out=mismatch_advice(dataset.genes, genes),
            )
        if gene_map.coverage < min_share or not gene_map.present_G.any():
            advice = mismatch_advice(dataset.genes, genes)
            raise DataError(
                f"has {int(gene_map.present_G.sum()):,} of the model's {len(genes):,} genes, less than the "
                f"{min_share:.0%} asked for",
                where=store.sources[number].file,
                way_out=f"{advice}; or lower --min_gene_coverage",
            )
    importance_G = snapshot.network.gene_importance().numpy()
    present_G = np.logical_or.reduce([gene_maps[number].present_G for number in sources])
    return GeneCoverage(
        n_genes=len(genes),
        n_found=int(present_G.sum()),
        share=float(present_G.mean()),
        weighted_share=float(importance_G[present_G].sum() / max(importance_G.sum(), 1e-12)),
    )


def naming_warning(file: str, genes: Sequence[str], model_genes: Sequence[str], gene_map: GeneMap) -> str | None:
    """Return why names of genes may mislead: they are mere numbers, or of another species; None if neither is so."""
    if are_numbered(genes) and gene_map.matched_by.get(EXACT):
        return (
            f"WARNING: the genes of the model and of {file} are only numbered. The labels are right only if both "
            "number the very same genes in the very same order"
        )
    return species_warning(file, genes, model_genes, gene_map)


def species_warning(file: str, genes: Sequence[str], model_genes: Sequence[str], gene_map: GeneMap) -> str | None:
    """Return a warning that data and model are of different species, or None."""
    theirs, ours = gene_naming(genes).species, gene_naming(model_genes).species
    if theirs is None or ours is None or theirs in ours or ours in theirs:
        return None
    n_by_case = gene_map.matched_by.get(CASE, 0)
    how = (
        f"; {n_by_case:,} genes were matched ignoring upper and lower case, as if genes of the same name did the same"
        if n_by_case
        else ""
    )
    return (
        f"WARNING: the model names genes of {ours}, {file} those of {theirs}, it seems{how}. "
        "Labels across species are guesses: check them with marker genes"
    )
