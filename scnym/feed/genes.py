"""Lazy gene alignment: one lookup table per source, applied while a batch is filled. The store is never rewritten.

S genes of a source, G genes of a model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scnym.base.errors import examples

ABSENT = -1
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?")


@dataclass(frozen=True)
class GeneMap:
    """Where each gene of a source goes."""

    table_S: np.ndarray
    """Position among the model's genes, -1 for genes the model does not know; int32, shape (S,)."""
    present_G: np.ndarray
    """Whether the source measured the model's gene; bool, shape (G,)."""

    @property
    def coverage(self) -> float:
        """Share of the model's genes that the source measured."""
        return float(self.present_G.mean()) if len(self.present_G) else 0.0


def map_genes(source_genes: Sequence[str], model_genes: Sequence[str]) -> GeneMap:
    """Match genes by exact name."""
    position = {gene: k for k, gene in enumerate(model_genes)}
    table_S = np.fromiter((position.get(gene, ABSENT) for gene in source_genes), np.int32, len(source_genes))
    present_G = np.zeros(len(model_genes), bool)
    present_G[table_S[table_S != ABSENT]] = True
    return GeneMap(table_S, present_G)


def mismatch_advice(source_genes: Sequence[str], model_genes: Sequence[str]) -> str:
    """Say why two gene lists share so little, and what to do."""
    theirs, ours = (_id_type(genes) for genes in (source_genes, model_genes))
    if theirs != ours:
        return f"the data names genes by {theirs}, the model by {ours}; rename the data's genes"
    if len({gene.upper() for gene in source_genes} & {gene.upper() for gene in model_genes}) > 0:
        return "names differ in upper and lower case, as between human and mouse; check the species"
    unversioned = {gene.partition(".")[0] for gene in source_genes}
    if unversioned & {gene.partition(".")[0] for gene in model_genes}:
        return "names differ in their version suffix (.1, .2); remove it from the data's genes"
    return f"the data has {examples(source_genes[:3])}, the model {examples(model_genes[:3])}; check the species"


def _id_type(genes: Sequence[str]) -> str:
    sample = genes[:: max(1, len(genes) // 1000)]
    ensembl = sum(bool(_ENSEMBL.fullmatch(gene)) for gene in sample)
    return "Ensembl id" if ensembl > len(sample) / 2 else "symbol"
