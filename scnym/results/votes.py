"""Labels by majority: among a cell and its nearest neighbours, or inside given groups such as clusters.

C cells, K classes, H hidden units, V voters of a cell, Q groups, B cells of a block.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from scnym.base.errors import SettingsError
from scnym.results.answers import NO_CLASS, Answers, Ranked, RowMatrix, ranked

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
    """Give all cells of a group the label that most of them have.

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
    """Give each cell the label that most of itself and its `k` nearest neighbours have.

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
    """Give each cell and its nearest neighbours, itself first, as row numbers of shape (C, k + 1).

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
