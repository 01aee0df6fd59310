"""What a model says of cells whose class is known: a few numbers a cell, however many classes there are.

B cells that come together, C cells in all, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from scnym.results.answers import Ranked, ranked


@dataclass(frozen=True, slots=True)
class Judged:
    """All that figures of merit need; 18 bytes a cell: codes take one each (above 128 classes two), floats four."""

    best_C: np.ndarray
    """Code of the most probable class."""
    second_C: np.ndarray
    """Code of the runner-up."""
    confidence_C: np.ndarray
    """Probability of the best class."""
    second_confidence_C: np.ndarray
    """Probability of the runner-up."""
    likelihood_C: np.ndarray
    """Probability of the true class."""
    uncalibrated_C: np.ndarray
    """Probability of the best class before temperature scaling."""

    @classmethod
    def of(cls, truth_B: np.ndarray, probabilities_BK: np.ndarray, uncalibrated_BK: np.ndarray) -> "Judged":
        """Sum up some cells.

        Parameters
        ----------
        truth_B
            Codes of their classes.
        probabilities_BK, uncalibrated_BK
            After temperature scaling and before, which has the same class on top; of two classes at least.
        """
        top, cells = ranked(probabilities_BK), np.arange(len(truth_B))
        likelihood_B, uncalibrated_B = probabilities_BK[cells, truth_B], uncalibrated_BK[cells, top.best_B]
        kinds = top.confidence_B, top.second_confidence_B, likelihood_B, uncalibrated_B
        code = np.min_scalar_type(-probabilities_BK.shape[1])
        codes = top.best_B.astype(code), top.second_B.astype(code)
        return cls(*codes, *(kind.astype(np.float32) for kind in kinds))

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Put cells one after the other."""
        return cls(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    @property
    def ranked(self) -> Ranked:
        """The two most probable classes."""
        return Ranked(self.best_C, self.second_C, self.confidence_C, self.second_confidence_C)
