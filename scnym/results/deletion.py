"""The deletion test: how often the network still knows the cells of a class without its best markers.

B cells of a batch, G genes, T genes that are set to zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from scnym.model.split_network import SplitNetwork
from scnym.results.cell_evidence import CellEvidence, LabelledCells

MAX_CELLS = 1_000
"""Cells of a class that are tested, at most."""
N_DRAWS = 5
"""Sets of random genes that are zeroed instead."""
MIN_DETECTED = 0.1
"""A gene counts as expressed where so large a share of the class's cells has a count."""


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Accuracy, and mean probability of the class, on its cells, before and after genes are set to zero."""

    n_cells: int
    n_genes: int
    """Genes set to zero."""
    accuracy: float
    accuracy_without_markers: float
    accuracy_without_random: float
    """Mean over several sets of as many random genes that the class expresses."""
    probability: float
    probability_without_markers: float
    probability_without_random: float


def delete_genes(
    network: SplitNetwork,
    cells: LabelledCells,
    code: int,
    evidence: CellEvidence,
    top_T: np.ndarray,
    seed: int,
) -> Deletion:
    """Zero a class's markers, and random genes that it expresses, in its cells.

    The cells are others than those whose expected gradients were taken, where the class has enough.

    Parameters
    ----------
    network
        The network.
    cells
        The cells.
    code
        The class.
    evidence
        Tells which genes the class expresses.
    top_T
        Positions of its markers among the network's genes.
    seed
        Decides which cells and random genes are taken.
    """
    rows = cells.of_class(code, np.random.default_rng([seed, code]))[::-1][:MAX_CELLS]
    draws = _random_genes(evidence, top_T, np.random.default_rng([seed, code, 1]))
    deleted = [np.empty(0, np.int64), top_T, *draws]
    sums = np.zeros((2, len(deleted)))
    for batch in cells.batches(rows):
        sums += _correct_and_likely(network, batch.x, deleted, code)
    (before, without, *random), (p_before, p_without, *p_random) = sums / len(rows)
    return Deletion(
        n_cells=len(rows),
        n_genes=len(top_T),
        accuracy=before,
        accuracy_without_markers=without,
        accuracy_without_random=float(np.mean(random)),
        probability=p_before,
        probability_without_markers=p_without,
        probability_without_random=float(np.mean(p_random)),
    )


def _random_genes(evidence: CellEvidence, top_T: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Draw sets of genes that a class expresses, as many as there are markers, and none of these."""
    expressed = np.setdiff1d(np.flatnonzero(evidence.detected_G >= MIN_DETECTED), top_T)
    n_genes = min(len(top_T), len(expressed))
    return [random.choice(expressed, n_genes, replace=False) for _ in range(N_DRAWS)]


def _correct_and_likely(
    network: SplitNetwork, x_BG: torch.Tensor, deleted: Sequence[np.ndarray], code: int
) -> np.ndarray:
    """Give cells labelled right, and the class's summed probability, without each set of genes; shape (2, sets)."""
    parts = (x_BG.values().numpy(), x_BG.col_indices().numpy(), x_BG.crow_indices().numpy())
    n_cells, n_genes = x_BG.shape
    counts_BG = sparse.csr_matrix(parts, shape=(n_cells, n_genes))
    units_BD = network.units(x_BG)
    found = []
    for genes_T in deleted:
        gone_BD = torch.from_numpy(counts_BG[:, genes_T].toarray()) @ network.weight_GD[genes_T]
        with torch.no_grad():
            logits_BK = network.logits(units_BD - gone_BD)
        likely_B = torch.softmax(logits_BK, dim=1)[:, code]
        found.append((int((logits_BK.argmax(dim=1) == code).sum()), float(likely_B.sum())))
    return np.array(found).T
