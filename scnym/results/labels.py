"""Cells to types: probabilities, the label and its confidence, majority votes, and labels that are left unassigned.

B cells of a batch, C cells of the store, G genes, H hidden units, K classes, Q groups, V voters of a cell.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from scnym.base.errors import SettingsError
from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.stream import StreamDataset, in_order_stream
from scnym.model.device import layout_on, moved
from scnym.model.losses import probabilities_of
from scnym.model.snapshot import Snapshot
from scnym.results.metrics import histogram
from scnym.results.scored_cells import NO_CLASS, UNKNOWN, Answers, Ranked, RowMatrix, ranked

TABLE_CELLS = 2**16
"""Cells that are put into words at a time."""


@dataclass(frozen=True)
class Predictions:
    """Labels of all cells."""

    answers: Answers
    """What the models say."""
    winners: Ranked
    """What the cells are called: their own best class, or the one that won a vote."""
    vote_share_C: np.ndarray | None
    """Share of the votes for it; None without a vote."""
    min_confidence: float
    """Cells that are less sure are called Unknown."""
    tissues_C: pd.Series | None
    """Tissue of every cell, where models depend on it."""

    @property
    def is_unknown_C(self) -> np.ndarray:
        """Cells that are given no label."""
        return (self.winners.best_B == NO_CLASS) | (self.winners.confidence_B < self.min_confidence)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.answers.n_cells

    @property
    def n_unknown(self) -> int:
        """Cells that are given no label."""
        return int(self.is_unknown_C.sum())

    @property
    def mean_confidence(self) -> float:
        """Mean over the cells that a model has looked at."""
        known_C = self.winners.best_B != NO_CLASS
        return float(self.winners.confidence_B[known_C].mean(dtype=np.float64)) if known_C.any() else 0.0

    def cells_by_type(self) -> dict[str, int]:
        """Count the cells of each label, the most frequent first."""
        codes_C = np.where(self.is_unknown_C, len(self.answers.classes), self.winners.best_B)
        names = (*self.answers.classes, UNKNOWN)
        counted = Counter[str]()
        for name, count in zip(names, np.bincount(codes_C, minlength=len(names)).tolist(), strict=True):
            counted[name] += count
        return {name: count for name, count in counted.most_common() if count}

    def figures(self) -> dict[str, Any]:
        """Return how confidence is distributed, over all cells and in every type."""
        is_unknown_C, confidence_C = self.is_unknown_C, self.winners.confidence_B
        codes_C = np.where(is_unknown_C, len(self.answers.classes), self.winners.best_B)
        names = (*self.answers.classes, UNKNOWN)
        counts, sums = (np.bincount(codes_C, minlength=len(names), weights=w) for w in (None, confidence_C))
        types = [
            {"name": name, "n_cells": int(n), "mean_confidence": float(total / n)}
            for name, n, total in zip(names, counts, sums, strict=True)
            if n
        ]
        return {
            "confidence": {
                "labelled": histogram(confidence_C, ~is_unknown_C),
                "given no label": histogram(confidence_C, is_unknown_C),
            },
            "types": sorted(types, key=lambda one: -one["n_cells"]),
        }

    def columns(self, some: slice | np.ndarray = slice(None)) -> pd.DataFrame:
        """Put some cells into words; columns that say nothing are left out, such as the share of votes without a vote.

        Names are categories, so that few of them take little memory.
        """
        winners = self.winners.part(some)
        columns = {
            "cell_type": self._named(np.where(self.is_unknown_C[some], len(self.answers.classes), winners.best_B)),
            "confidence": winners.confidence_B,
            "margin": winners.confidence_B - winners.second_confidence_B,
            "second": self._named(winners.second_B),
            "second_confidence": winners.second_confidence_B,
        }
        if self.min_confidence > 0:
            columns["best_guess"] = self._named(winners.best_B)
        if self.vote_share_C is not None:
            columns["own_cell_type"] = self._named(self.answers.own.best_B[some])
            columns["vote_share"] = self.vote_share_C[some]
        if self.tissues_C is not None:
            columns["tissue"] = self.tissues_C.to_numpy()[some]
        return pd.DataFrame(columns)

    def tables(self) -> Iterator[tuple[slice, pd.DataFrame]]:
        """Yield the columns of all cells in order, some cells at a time."""
        for start in range(0, self.n_cells, TABLE_CELLS):
            some = slice(start, min(start + TABLE_CELLS, self.n_cells))
            yield some, self.columns(some)

    def _named(self, codes_C: np.ndarray) -> pd.Categorical:
        """Return names to codes; those past the classes are Unknown, -1 is missing."""
        classes = list(self.answers.classes)
        if UNKNOWN in classes:
            codes_C = np.where(codes_C == len(classes), classes.index(UNKNOWN), codes_C)
        else:
            classes.append(UNKNOWN)
        return pd.Categorical.from_codes(codes_C, dtype=pd.CategoricalDtype(classes))  # type: ignore[arg-type]


MAX_EXACT_CELLS = 20_000
"""Up to so many cells all distances are computed; beyond, neighbours are searched for and a few are missed."""
BLOCK_CELLS = 4096
NO_GROUP = -1


@dataclass(frozen=True, slots=True)
class Votes:
    """Labels after a vote."""

    winners: Ranked
    """The majority's class with its mean probability among the voters, and of the others the most probable one."""
    share_C: np.ndarray
    """Share of the voters that are for the winner; NaN for cells that took part in no vote; float32."""

    @classmethod
    def of_own(cls, own: Ranked) -> "Votes":
        """Begin with what the cells say themselves."""
        columns = (getattr(own, name).copy() for name in Ranked.__slots__)
        return cls(Ranked(*columns), np.full(len(own.best_B), np.nan, np.float32))


def majority(counts_BK: np.ndarray, summed_BK: np.ndarray) -> tuple[Ranked, np.ndarray]:
    """Find the class with the most votes; of equally many, the one with the larger summed probability.

    Parameters
    ----------
    counts_BK
        Votes for each class.
    summed_BK
        Probability of each class, summed over the voters.

    Returns
    -------
    tuple
        The winners, with mean probabilities, and their share of the votes.
    """
    n_voters_B = counts_BK.sum(axis=1)
    # Sums are below the number of voters, or equal to it, so that as fractions they decide between equal counts only.
    best_B = (counts_BK + summed_BK / (n_voters_B[:, None] + 1.0)).argmax(axis=1)
    share_B = counts_BK[np.arange(len(best_B)), best_B] / n_voters_B
    return ranked(summed_BK / n_voters_B[:, None], best_B), share_B


def vote_in_groups(answers: Answers, probabilities: RowMatrix, groups_C: np.ndarray) -> Votes:
    """Return all cells of a group the label that most of them have.

    Parameters
    ----------
    answers
        What the cells say; those that no model knows do not vote, and keep no label.
    probabilities
        Their probabilities.
    groups_C
        Number of each cell's group, -1 for a cell of none, which keeps its own label.
    """
    votes, best_C = Votes.of_own(answers.own), answers.own.best_B
    n_groups, n_classes = int(groups_C.max(initial=-1)) + 1, len(answers.classes)
    votes_C = (groups_C != NO_GROUP) & (best_C != NO_CLASS)
    if not votes_C.any():
        return votes
    counts_QK = np.zeros((n_groups, n_classes))
    np.add.at(counts_QK, (groups_C[votes_C], best_C[votes_C]), 1.0)
    summed_QK = np.zeros((n_groups, n_classes))
    for start, block_BK in probabilities.blocks():
        mine = np.flatnonzero(votes_C[start : start + len(block_BK)])
        places = (groups_C[start + mine], np.arange(len(mine)))
        members_QB = sparse.csr_array((np.ones(len(mine)), places), shape=(n_groups, len(mine)))
        summed_QK += members_QB @ block_BK[mine]
    filled = np.flatnonzero(counts_QK.sum(axis=1))
    winners, share_Q = majority(counts_QK[filled], summed_QK[filled])
    rows = np.flatnonzero(votes_C)
    at = np.searchsorted(filled, groups_C[rows])
    votes.winners.put(rows, Ranked(*(getattr(winners, name)[at] for name in Ranked.__slots__)))
    votes.share_C[rows] = share_Q[at]
    return votes


def vote_of_neighbours(votes: Votes, answers: Answers, rows_C: np.ndarray, k: int, seed: int) -> None:
    """Return for each cell the label that most of itself and its `k` nearest neighbours have.

    Near is what the network's last hidden layer puts side by side (Euclidean distance). Embedding and probabilities of
    the cells are held in memory.

    Parameters
    ----------
    votes
        Where the winners are written.
    answers
        What the cells say.
    rows_C
        Cells of one model, ascending: embeddings of different models cannot be compared.
    k
        Neighbours beside the cell itself; of fewer cells, all others.
    seed
        Decides the search among many cells.
    """
    if answers.embedding is None or answers.probabilities is None:
        raise SettingsError(
            "a network without hidden units puts no cells side by side", where="--smooth_k", way_out="give --vote_by"
        )
    voters_CV = voters_of(_rows_of(answers.embedding, rows_C), k, seed)
    probabilities_CK = _rows_of(answers.probabilities, rows_C)
    best_C, n_classes = answers.own.best_B[rows_C], len(answers.classes)
    for start in range(0, len(rows_C), BLOCK_CELLS):
        voters_BV = voters_CV[start : start + BLOCK_CELLS]
        cells_B1 = np.arange(len(voters_BV))[:, None]
        flat = (cells_B1 * n_classes + best_C[voters_BV]).ravel()
        counts_BK = np.bincount(flat, minlength=len(voters_BV) * n_classes).reshape(len(voters_BV), n_classes)
        summed_BK = np.zeros((len(voters_BV), n_classes))
        for voter in voters_BV.T:
            summed_BK += probabilities_CK[voter]
        winners, share_B = majority(counts_BK, summed_BK)
        rows_B = rows_C[start : start + BLOCK_CELLS]
        votes.winners.put(rows_B, winners)
        votes.share_C[rows_B] = share_B


def voters_of(embedding_CH: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return each cell and its nearest neighbours, itself first, as row numbers of shape (C, k + 1).

    Exact up to 20,000 cells; beyond by nearest-neighbour descent (Dong et al. 2011), one thread, so that the same seed
    gives the same neighbours.
    """
    n_cells = len(embedding_CH)
    n_voters = min(k + 1, n_cells)
    if n_cells <= MAX_EXACT_CELLS:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=n_voters, algorithm="brute").fit(embedding_CH)
        found_CV = search.kneighbors(embedding_CH, return_distance=False)
    else:
        from pynndescent import NNDescent

        graph: Any = NNDescent(embedding_CH, n_neighbors=n_voters, random_state=seed, n_jobs=1).neighbor_graph
        found_CV = graph[0]
    return _self_first(np.asarray(found_CV, np.int32))


def _self_first(found_CV: np.ndarray) -> np.ndarray:
    """Put each cell before its neighbours; of twins at distance zero it may have been found later, or not at all."""
    cells_C1 = np.arange(len(found_CV), dtype=np.int32)[:, None]
    is_self_CV = found_CV == cells_C1
    is_self_CV[~is_self_CV.any(axis=1), -1] = True
    others_CV = found_CV[~is_self_CV].reshape(len(found_CV), -1)
    return np.hstack([cells_C1, others_CV])


def _rows_of(matrix: RowMatrix, rows_C: np.ndarray) -> np.ndarray:
    """Read some rows, in blocks, so that no more is held than is wanted."""
    out = np.empty((len(rows_C), matrix.shape[1]), np.float32)
    for start, block in matrix.blocks():
        first, last = np.searchsorted(rows_C, [start, start + len(block)])
        out[first:last] = block[rows_C[first:last] - start]
    return out


CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a model says about some cells."""

    rows_B: np.ndarray
    """Row numbers in the store, ascending."""
    probabilities_BK: np.ndarray
    """Calibrated class probabilities."""
    embedding_BH: np.ndarray
    """Last hidden layer."""


def label_table(cell_ids: np.ndarray, found: Ranked, classes: Sequence[str]) -> pd.DataFrame:
    """Put the best classes into words: cell_id, cell_type, confidence, margin (to the runner-up), the runner-up.

    Names are categories, so that few of them take little memory.
    """
    names = pd.CategoricalDtype(pd.Index(classes))
    return pd.DataFrame(
        {
            "cell_id": cell_ids.astype(object),
            "cell_type": pd.Categorical.from_codes(found.best_B, dtype=names),
            "confidence": found.confidence_B,
            "margin": found.confidence_B - found.second_confidence_B,
            "second": pd.Categorical.from_codes(found.second_B, dtype=names),
            "second_confidence": found.second_confidence_B,
        }
    )


@torch.no_grad()
def label_cells(stream: StreamDataset, snapshot: Snapshot, device: torch.device) -> Iterator[Labels]:
    """Label the cells of a stream, batch by batch."""
    network = snapshot.network.to(device).eval()
    for batch in stream:
        logits_BK, hidden_BH = network.logits_and_embedding(moved(batch.x, device), batch.conditions.to(device))
        probabilities_BK = probabilities_of(logits_BK.cpu(), snapshot.card.temperature)
        yield Labels(batch.rows, probabilities_BK, hidden_BH.cpu().numpy())


def prediction_stream(
    store: Store,
    snapshot: Snapshot,
    settings: StreamSettings,
    *,
    rows_C: np.ndarray | None = None,
    tissues_C: np.ndarray | None = None,
    device: torch.device = CPU,
) -> StreamDataset:
    """Stream cells of a store in order, on the model's genes.

    Parameters
    ----------
    store, snapshot
        Data and model.
    settings
        Batch size and memory.
    rows_C
        Rows to stream, ascending; None for all.
    tissues_C
        Number of the tissue of every row of the store, as the model counts them; None for none.
    device
        Where the network computes, which decides the layout of batches.
    """
    return in_order_stream(
        store,
        np.arange(store.n_cells) if rows_C is None else rows_C,
        snapshot.card.genes,
        settings,
        conditions_C=tissues_C,
        normalize_to=snapshot.card.network.normalize_to,
        layout=layout_on(device, store),
    )
