"""What all folds of a run share, and what each of them gives.

C cells of the store, K classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from scnym.base.settings import RunSettings
from scnym.disk.store import Store
from scnym.model.collectives import ALONE, Processes
from scnym.model.objective import probabilities_of
from scnym.model.trainer import TrainingResult
from scnym.results.metrics import Metrics
from scnym.runs.families import Family
from scnym.runs.folds import Fold
from scnym.runs.intake import CellLabels, Context


@dataclass(frozen=True)
class Job:
    """What every fold of a run shares."""

    store: Store
    labels: CellLabels
    genes: Sequence[str]
    obs: pd.DataFrame
    """Annotations of the cells by their ids, those of a metadata table among them."""
    settings: RunSettings
    device: torch.device
    family: Family = "independent"
    context: Context | None = None
    """Tissues of the cells, where they are known; only the dependent family reads them."""
    tissue: str | None = None
    """The one tissue whose cells have labels here, for the specific family."""
    processes: Processes = ALONE
    """Who trains together."""

    @property
    def tissues(self) -> tuple[str, ...]:
        """Levels that the network reads as a one-hot beside the genes."""
        return self.context.levels if self.context and self.family == "dependent" else ()

    @property
    def conditions_C(self) -> np.ndarray | None:
        """Tissue of every cell, as the network reads it."""
        return self.context.codes_C if self.context and self.tissues else None

    @cached_property
    def cell_ids(self) -> np.ndarray:
        """Ids of the cells, shape (C,)."""
        return self.obs.index.to_numpy()

    def true_classes(self, rows: np.ndarray) -> np.ndarray:
        """Give the class of each of some labelled cells, as a name."""
        return np.asarray(self.labels.classes, dtype=object)[self.labels.codes_C[rows]]


@dataclass(frozen=True)
class FoldResult:
    """What one fold, or the final model, gave."""

    fold: Fold
    n_genes: int
    """Genes that the network reads."""
    training: TrainingResult
    metrics: Metrics
    """On held-out cells; for the final model on its selection cells, before it learned from them too."""
    judged_rows: np.ndarray
    """Cells that `metrics` is about."""
    logits_CK: torch.Tensor
    """Their logits, before the temperature."""

    @property
    def probabilities_CK(self) -> np.ndarray:
        """Calibrated probabilities of the judged cells."""
        return probabilities_of(self.logits_CK, self.training.temperature)

    def state_dict(self) -> dict[str, Any]:
        """Give all from which the result can be had again, as tensors and plain values."""
        return {
            "n_genes": self.n_genes,
            "best_epoch": self.training.best_epoch,
            "temperature": self.training.temperature,
            "log": [asdict(record) for record in self.training.log],
            "rows": torch.from_numpy(self.judged_rows),
            "logits": self.logits_CK,
        }
