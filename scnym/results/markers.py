"""Marker genes of every class, ranked, with the evidence of real cells: expected gradients, and a deletion test.

B cells of a batch, C cells of the store, D units, G genes, K classes, N pairs of cells, T genes that are set to zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.batches import Batch
from scnym.feed.stream import in_order_stream
from scnym.model.inference import SplitNetwork
from scnym.results.class_optima import ClassOptima

CELLS = 256
"""Cells of the class that are looked at, and cells of other classes, at most."""
PAIRS_PER_CELL = 16
"""Other cells that a cell of the class is compared with."""


@dataclass(frozen=True, eq=False)
class CellEvidence:
    """What the cells of one class, beside those of others, say of its genes."""

    expected_gradient_G: np.ndarray
    """How much of the way from other cells' log-odds to those of the class goes through each gene, in nats."""
    higher_G: np.ndarray
    """Whether a gene's mean is higher in the class: if not, its gradient speaks for the class by its absence."""
    detected_G: np.ndarray
    """Share of the class's cells with a count."""
    detected_elsewhere_G: np.ndarray
    """Share of the other cells with a count, all classes having the same weight."""


class LabelledCells:
    """The cells of a store, by class, on a model's genes.

    Parameters
    ----------
    store
        Where the cells are.
    codes_C
        Position among the model's classes, -1 for cells that count for nothing; shape (C,).
    network
        The model, whose genes and library size are used.
    """

    def __init__(self, store: Store, codes_C: np.ndarray, network: SplitNetwork) -> None:
        self.codes_C = codes_C
        self._store, self._genes, self._normalize_to = store, network.genes, network.normalize_to
        sizes_K = np.bincount(codes_C[codes_C >= 0], minlength=len(network.classes))
        self._weight_C = np.where(codes_C >= 0, 1 / np.maximum(sizes_K, 1)[codes_C], 0.0)

    def of_class(self, code: int, random: np.random.Generator) -> np.ndarray:
        """Return the rows of a class in random order."""
        return random.permutation(np.flatnonzero(self.codes_C == code))

    def of_others(self, code: int, n: int, random: np.random.Generator) -> np.ndarray:
        """Draw rows of other classes without repeat, all classes as often as each other where there are cells."""
        others = np.flatnonzero((self.codes_C >= 0) & (self.codes_C != code))
        if not len(others):
            return others
        weights = self._weight_C[others]
        return random.choice(others, min(n, len(others)), replace=False, p=weights / weights.sum())

    def batches(self, rows: np.ndarray, batch_size: int = 2 * CELLS) -> Iterator[Batch]:
        """Read rows as CSR batches, in the order of the store."""
        settings = StreamSettings(batch_size=batch_size)
        yield from in_order_stream(
            self._store, np.sort(rows), self._genes, settings, normalize_to=self._normalize_to, layout="csr"
        )


def gather_evidence(network: SplitNetwork, cells: LabelledCells, code: int, seed: int) -> CellEvidence | None:
    """Compare some cells of a class with as many of the others; None where there are none of either.

    Expected gradients (Erion et al. 2021) of the class's log-odds: the gradient at random points on the way from a
    random other cell to a cell of the class, times the difference of the two. As the units are linear in the genes,
    the way is gone among units, and only its end result is taken to the genes.

    Parameters
    ----------
    network
        The network.
    cells
        The cells; at most 2 x 256 are in memory.
    code
        The class.
    seed
        Decides which cells are taken.
    """
    random = np.random.default_rng([seed, code])
    own_rows = cells.of_class(code, random)[:CELLS]
    other_rows = cells.of_others(code, CELLS, random)
    if not len(own_rows) or not len(other_rows):
        return None
    (batch,) = cells.batches(np.concatenate([own_rows, other_rows]))
    own_B = cells.codes_C[batch.rows] == code
    slope_BD = _summed_slopes(network, network.units(batch.x), own_B, code, random)
    return CellEvidence(
        expected_gradient_G=network.effect_of_genes(batch.x, slope_BD).numpy(),
        higher_G=_column_means(batch.x, own_B) > _column_means(batch.x, ~own_B),
        detected_G=_column_means(batch.x, own_B, of_presence=True),
        detected_elsewhere_G=_column_means(batch.x, ~own_B, of_presence=True),
    )


def _summed_slopes(
    network: SplitNetwork, units_BD: torch.Tensor, own_B: np.ndarray, code: int, random: np.random.Generator
) -> torch.Tensor:
    """Return each cell's part in the expected gradient: the mean slope over pairs, counted off for other cells."""
    own, others = np.flatnonzero(own_B), np.flatnonzero(~own_B)
    n_pairs = CELLS * PAIRS_PER_CELL
    ends_N = torch.from_numpy(np.resize(random.permutation(own), n_pairs))
    starts_N = torch.from_numpy(np.resize(random.permutation(others), n_pairs)[random.permutation(n_pairs)])
    way_N1 = torch.from_numpy(random.random((n_pairs, 1), np.float32))
    points_ND = torch.lerp(units_BD[starts_N], units_BD[ends_N], way_N1)

    def log_odds(logits_NK: torch.Tensor) -> torch.Tensor:
        others_NK = torch.cat([logits_NK[:, :code], logits_NK[:, code + 1 :]], dim=1)
        return logits_NK[:, code] - others_NK.logsumexp(dim=1)

    _, slope_ND = network.slope(points_ND, log_odds)
    slope_ND /= n_pairs
    summed_BD = torch.zeros_like(units_BD).index_add_(0, ends_N, slope_ND)
    return summed_BD.index_add_(0, starts_N, slope_ND, alpha=-1)


def _column_means(x_BG: torch.Tensor, chosen_B: np.ndarray, *, of_presence: bool = False) -> np.ndarray:
    """Return the mean of each gene's values, or the share that is not zero, over some cells of a CSR batch."""
    kept = np.repeat(chosen_B, np.diff(x_BG.crow_indices().numpy()))
    values = x_BG.values().numpy()[kept]
    weights = values > 0 if of_presence else values
    sums_G = np.bincount(x_BG.col_indices().numpy()[kept], weights=weights, minlength=x_BG.shape[1])
    return sums_G / max(1, chosen_B.sum())


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
    """Return cells labelled right, and the class's summed probability, without each set of genes; shape (2, sets)."""
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
        """Return the names of the best `n` genes that have a score."""
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
    """Return the expected gradients, zero for genes that speak for the class because its cells have less of them."""
    by_absence_G = ~evidence.higher_G & (evidence.expected_gradient_G > 0)
    return np.where(by_absence_G, 0.0, evidence.expected_gradient_G)


def _relative(figure_G: np.ndarray) -> np.ndarray:
    """Return a figure as a share of its best, without what is below zero."""
    return np.maximum(figure_G, 0) / max(float(figure_G.max()), np.finfo(np.float32).tiny)


def _ranks(figure_G: np.ndarray) -> np.ndarray:
    """Return ranks from 1, the highest first; ties in the order of the genes."""
    ranks_G = np.empty(len(figure_G), np.int64)
    ranks_G[np.argsort(-figure_G, kind="stable")] = np.arange(1, len(figure_G) + 1)
    return ranks_G
