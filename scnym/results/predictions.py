"""The labels of all cells as they are given out: after a vote, and with cells that are not sure enough set apart.

C cells, K classes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scnym.results.answers import NO_CLASS, UNKNOWN, Answers, Ranked
from scnym.results.confidence import histogram

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
        """Give how confidence is distributed, over all cells and in every type."""
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
        """Give the columns of all cells in order, some cells at a time."""
        for start in range(0, self.n_cells, TABLE_CELLS):
            some = slice(start, min(start + TABLE_CELLS, self.n_cells))
            yield some, self.columns(some)

    def _named(self, codes_C: np.ndarray) -> pd.Categorical:
        """Give names to codes; those past the classes are Unknown, -1 is missing."""
        classes = list(self.answers.classes)
        if UNKNOWN in classes:
            codes_C = np.where(codes_C == len(classes), classes.index(UNKNOWN), codes_C)
        else:
            classes.append(UNKNOWN)
        return pd.Categorical.from_codes(codes_C, dtype=pd.CategoricalDtype(classes))  # type: ignore[arg-type]
