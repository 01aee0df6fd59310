"""Weights to genes: which genes carry each class.

G genes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scnym.results.cell_evidence import CellEvidence
from scnym.results.class_optima import ClassOptima

N_TOP = 50
"""Genes that count as markers: of a restart, for the agreement; of a class, for the deletion test."""
MAX_LISTED = 1_000
"""Genes of a class that a table lists, at most."""


@dataclass(frozen=True, eq=False)
class Markers:
    """The genes of one class, best first."""

    code: int
    class_name: str
    table: pd.DataFrame
    """One row a gene, as in ``markers.csv``: class, rank, gene, score, and what it is made of."""
    positions: np.ndarray
    """Positions of the same genes among the model's."""

    def top(self, n: int) -> list[str]:
        """Give the names of the best `n` genes that have a score."""
        return self.table["gene"][self.table["score"] > 0].head(n).tolist()

    @property
    def top_positions(self) -> np.ndarray:
        """Positions of the best 50 genes that have a score."""
        return self.positions[(self.table["score"] > 0).to_numpy()][:N_TOP]


def rank_genes(optima: ClassOptima, evidence: CellEvidence | None, genes: Sequence[str], class_name: str) -> Markers:
    """Rank the genes of a class by what its optimised inputs and, where there are any, real cells say.

    Without cells the score is the mean optimised input. With cells it is the geometric mean of what the network says
    and what the cells say, so that a gene must do well in both. The network's word is itself that of the input and the
    expected gradient, where the class has more of the gene than others; the cells' is by how much more of the class
    than of others have the gene (`docs/decisions.md` says why). Each is relative to the best gene's.

    Parameters
    ----------
    optima
        The optimised inputs of the class.
    evidence
        What cells say; None if there are none.
    genes
        The model's genes, in order.
    class_name
        Name of the class.
    """
    optimum_G = optima.mean_G
    columns = {
        "gene": np.asarray(genes, dtype=object),
        "score": _score(optimum_G, evidence),
        "optimum_mean": optimum_G,
        "optimum_sd": optima.sd_G,
        "optimum_rank": _ranks(optimum_G),
        "agreement": optima.agreement_G(N_TOP),
    }
    interest_G = optimum_G
    if evidence is not None:
        gradient_G = _speaking_by_presence(evidence)
        interest_G = np.maximum(optimum_G, gradient_G)
        columns |= {
            "expected_gradient": evidence.expected_gradient_G,
            "expected_gradient_rank": _ranks(gradient_G),
            "detected": evidence.detected_G,
            "detected_elsewhere": evidence.detected_elsewhere_G,
        }
    best_first = np.lexsort((-interest_G, -columns["score"]))
    positions = best_first[interest_G[best_first] > 0][:MAX_LISTED]
    table = pd.DataFrame(columns).iloc[positions].reset_index(drop=True)
    table.insert(0, "class", class_name)
    table.insert(1, "rank", np.arange(1, len(table) + 1))
    return Markers(optima.code, class_name, table, positions)


def _score(optimum_G: np.ndarray, evidence: CellEvidence | None) -> np.ndarray:
    if evidence is None:
        return _relative(optimum_G)
    network_G = np.sqrt(_relative(optimum_G) * _relative(_speaking_by_presence(evidence)))
    cells_G = _relative(evidence.detected_G - evidence.detected_elsewhere_G)
    return np.sqrt(network_G * cells_G)


def _speaking_by_presence(evidence: CellEvidence) -> np.ndarray:
    """Give the expected gradients, zero for genes that speak for the class because its cells have less of them."""
    by_absence_G = ~evidence.higher_G & (evidence.expected_gradient_G > 0)
    return np.where(by_absence_G, 0.0, evidence.expected_gradient_G)


def _relative(figure_G: np.ndarray) -> np.ndarray:
    """Give a figure as a share of its best, without what is below zero."""
    return np.maximum(figure_G, 0) / max(float(figure_G.max()), np.finfo(np.float32).tiny)


def _ranks(figure_G: np.ndarray) -> np.ndarray:
    """Give ranks from 1, the highest first; ties in the order of the genes."""
    ranks_G = np.empty(len(figure_G), np.int64)
    ranks_G[np.argsort(-figure_G, kind="stable")] = np.arange(1, len(figure_G) + 1)
    return ranks_G
