"""What real cells say of a class's genes: expected gradients, and how often a gene is seen.

B cells of a batch, C cells of the store, D units, G genes, K classes, N pairs of cells.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.batches import Batch
from scnym.feed.stream import in_order_stream
from scnym.model.split_network import SplitNetwork

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
        """Give the rows of a class in random order."""
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
    """Give each cell's part in the expected gradient: the mean slope over pairs, counted off for other cells."""
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
    """Give the mean of each gene's values, or the share of values that are not zero, over some cells of a CSR batch."""
    kept = np.repeat(chosen_B, np.diff(x_BG.crow_indices().numpy()))
    values = x_BG.values().numpy()[kept]
    weights = values > 0 if of_presence else values
    sums_G = np.bincount(x_BG.col_indices().numpy()[kept], weights=weights, minlength=x_BG.shape[1])
    return sums_G / max(1, chosen_B.sum())
