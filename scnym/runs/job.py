"""What all folds of a run share, and what each of them gives.

C cells of the store, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch

from scnym.base.settings import RunSettings
from scnym.disk.store import Store
from scnym.feed.plan import digest
from scnym.model.collectives import ALONE, Processes
from scnym.model.trainer import TrainingResult
from scnym.results.judged import Judged
from scnym.results.labels import label_table
from scnym.results.metrics import Metrics
from scnym.runs.families import Family
from scnym.runs.folder import stretches
from scnym.runs.folds import Fold
from scnym.runs.intake import CellLabels, Context


@dataclass(frozen=True)
class Job:
    """What every fold of a run shares."""

    store: Store
    labels: CellLabels
    genes: Sequence[str]
    settings: RunSettings
    device: torch.device
    columns: Sequence[str]
    """Names of the cells' annotations."""
    family: Family = "independent"
    context: Context | None = None
    """Tissues of the cells, where they are known; only the dependent family reads them."""
    groups: Context | None = None
    """What cross-validation keeps whole, if anything."""
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

    def true_tables(self, cell_ids: np.ndarray, rows: np.ndarray) -> Iterator[pd.DataFrame]:
        """Give the class of each of some labelled cells, some cells at a time: cell_id, cell_type."""
        for part in (rows[some] for some in stretches(len(rows))):
            yield pd.DataFrame({"cell_id": cell_ids[part].astype(object), "cell_type": self.true_classes(part)})

    def true_classes(self, rows: np.ndarray) -> pd.Series:
        """Give the class of each of some labelled cells, as a name."""
        names = pd.CategoricalDtype(pd.Index(self.labels.classes))
        return pd.Series(pd.Categorical.from_codes(self.labels.codes_C[rows], dtype=names))


@dataclass(frozen=True)
class FoldResult:
    """What one fold, or the final model, gave."""

    fold: Fold
    n_genes: int
    """Genes that the network reads."""
    training: TrainingResult
    metrics: Metrics
    """On held-out cells; for the final model on its selection cells, before it learned from them too."""
    judged: Judged
    """What the network says of these cells."""

    @property
    def judged_rows(self) -> np.ndarray:
        """Cells that `metrics` is about, ascending."""
        return self.fold.judged_rows

    def tables(self, cell_ids: np.ndarray, classes: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Put what the network says of the judged cells into words, some cells at a time; see `label_table`."""
        rows = self.judged_rows
        for some in stretches(len(rows)):
            yield label_table(cell_ids[rows[some]], self.judged.ranked.part(some), classes)

    def state_dict(self) -> dict[str, Any]:
        """Give all from which the result can be had again, as tensors and plain values."""
        return {
            "n_genes": self.n_genes,
            "best_epoch": self.training.best_epoch,
            "temperature": self.training.temperature,
            "log": [asdict(record) for record in self.training.log],
            "cells": digest(self.judged_rows),
            "judged": {one.name: torch.from_numpy(getattr(self.judged, one.name)) for one in fields(Judged)},
        }
