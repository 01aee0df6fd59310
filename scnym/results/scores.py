"""How good given labels are, whoever gave them: names against names, with cells that were given none told apart.

C cells, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from scnym.results.metrics import expected_calibration_error


@dataclass(frozen=True)
class Scores:
    """Agreement of given with true labels."""

    accuracy: float
    """Share of the cells that are named right; a cell that is given no label is not."""
    balanced_accuracy: float
    """Mean recall of the true classes."""
    macro_f1: float
    """Mean F1 of the classes that occur in the truth or among the labels given."""
    calibration_error: float | None
    """Expected calibration error of the confidence, over labelled cells; None without one."""
    coverage: float
    """Share of the cells that are given a label."""
    accuracy_of_labelled: float | None
    """Share of these that are named right; None if no cell is given a label."""
    n_cells: int
    per_class: pd.DataFrame
    """precision, recall, f1, support; a row per class, sorted."""
    confusion: pd.DataFrame
    """Cells by true class (rows) and given label (columns; the last one for none, if any cell has none)."""

    def summary(self) -> dict[str, float | int | None]:
        """Give the headline figures."""
        names = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "coverage", "accuracy_of_labelled")
        return {**{name: getattr(self, name) for name in names}, "n_cells": self.n_cells}

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain lists and numbers."""
        return {
            **self.summary(),
            "per_class": self.per_class.to_dict(orient="index"),
            "confusion": {str(name): row for name, row in self.confusion.to_dict(orient="index").items()},
        }


def score(truth_C: pd.Series, given_C: pd.Series, confidence_C: pd.Series | None, unknown: str) -> Scores:
    """Compare labels.

    Parameters
    ----------
    truth_C, given_C
        Names, of the same cells in the same order, at least one.
    confidence_C
        From 0 to 1, NaN where there is none; None if there is none at all.
    unknown
        What is given to cells without a label.
    """
    truth, given = truth_C.to_numpy(dtype=object), given_C.to_numpy(dtype=object)
    classes = sorted({*truth, *given} - {unknown})
    correct_C, labelled_C = truth == given, given != unknown
    correct_C &= labelled_C
    per_class = _per_class(truth, given, classes)
    seen = per_class["support"] > 0
    columns = [*classes, *([] if labelled_C.all() else [unknown])]
    confusion = pd.crosstab(truth, given).reindex(index=classes, columns=columns, fill_value=0)
    return Scores(
        accuracy=float(correct_C.mean()),
        balanced_accuracy=float(per_class["recall"][seen].mean()),
        macro_f1=float(per_class["f1"].mean()),
        calibration_error=None if confidence_C is None else _calibration(confidence_C, correct_C, labelled_C),
        coverage=float(labelled_C.mean()),
        accuracy_of_labelled=float(correct_C[labelled_C].mean()) if labelled_C.any() else None,
        n_cells=len(truth),
        per_class=per_class,
        confusion=confusion.rename_axis(index=None, columns=None),
    )


def renamed(labels_C: pd.Series, mapping: Mapping[str, str]) -> pd.Series:
    """Rename labels that a mapping names; one that is renamed to nothing is none."""
    return labels_C.map(lambda name: mapping.get(name, name) or None, na_action="ignore")


def _per_class(truth: np.ndarray, given: np.ndarray, classes: list[str]) -> pd.DataFrame:
    # scikit-learn takes the number 0 here, but its annotation knows only of words.
    never_given: Any = 0
    figures = metrics.precision_recall_fscore_support(truth, given, labels=classes, zero_division=never_given)
    names = ("precision", "recall", "f1", "support")
    return pd.DataFrame(dict(zip(names, figures, strict=True)), index=pd.Index(classes)).astype({"support": int})


def _calibration(confidence_C: pd.Series, correct_C: np.ndarray, labelled_C: np.ndarray) -> float | None:
    confidence = confidence_C.to_numpy(dtype=np.float64)
    told_C = labelled_C & np.isfinite(confidence)
    return expected_calibration_error(confidence[told_C], correct_C[told_C]) if told_C.any() else None
