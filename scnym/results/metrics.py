"""How good labels are. scikit-learn measures; here it is put together.

C cells, K classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

from scnym.results.judged import Judged

CALIBRATION_BINS = 15
HEADLINES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "mean_loss",
    "calibration_error",
    "calibration_error_uncalibrated",
)
"""Figures that sum up a set of labels; means over cells or classes."""


@dataclass(frozen=True)
class Metrics:
    """Agreement of predicted with true classes."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    mean_loss: float
    """Cross-entropy per cell, in nats."""
    calibration_error: float
    """Expected calibration error of the confidence."""
    n_cells: int
    per_class: pd.DataFrame
    """precision, recall, f1, support; one row per class. Of one that is not judged all are NaN but the support, 0."""
    confusion_KK: np.ndarray
    """Cells by true class (rows) and predicted class (columns)."""
    calibration_error_uncalibrated: float
    """The same before temperature scaling."""

    def summary(self) -> dict[str, float | int]:
        """Give the headline figures."""
        return {name: getattr(self, name) for name in (*HEADLINES, "n_cells")}

    def to_json(self) -> dict[str, Any]:
        """Give everything as plain lists and numbers."""
        return {
            **self.summary(),
            "per_class": {
                name: {kind: None if pd.isna(figure) else figure for kind, figure in row.items()}
                for name, row in self.per_class.to_dict(orient="index").items()
            },
            "confusion": self.confusion_KK.tolist(),
        }


def measure(
    truth_C: np.ndarray, judged: Judged, classes: Sequence[str], *, not_judged: Collection[int] = ()
) -> Metrics:
    """Measure what a model says of cells against the truth.

    Parameters
    ----------
    truth_C
        Class codes, shape (C,), at least one.
    judged
        What it says of them.
    classes
        Names of the K classes.
    not_judged
        Codes of classes of which no cell is held out anywhere: where there is none here either, nothing is known of how
        well they are named.

    Notes
    -----
    Macro averages run over the classes that are judged, and occur in the truth or among the predictions.
    """
    predicted_C = judged.best_C
    codes = range(len(classes))
    # scikit-learn takes the number 0 here, but its annotation knows only of words.
    never_predicted: Any = 0
    figures = metrics.precision_recall_fscore_support(truth_C, predicted_C, labels=codes, zero_division=never_predicted)
    per_class = pd.DataFrame(
        dict(zip(("precision", "recall", "f1", "support"), figures, strict=True)), index=pd.Index(classes)
    )
    per_class["support"] = per_class["support"].astype(int)
    seen, correct_C = np.unique(truth_C), predicted_C == truth_C
    unknown = np.setdiff1d(np.array(sorted(not_judged), dtype=int), seen)
    per_class.iloc[unknown, :3] = np.nan
    occurs = np.setdiff1d(np.union1d(truth_C, predicted_C), unknown)
    return Metrics(
        accuracy=float(metrics.accuracy_score(truth_C, predicted_C)),
        balanced_accuracy=float(per_class["recall"].to_numpy()[seen].mean()),
        macro_f1=float(per_class["f1"].to_numpy()[occurs].mean()),
        mean_loss=float(-np.log(np.maximum(judged.likelihood_C, np.finfo(np.float32).tiny)).mean(dtype=np.float64)),
        calibration_error=expected_calibration_error(judged.confidence_C, correct_C),
        n_cells=len(truth_C),
        per_class=per_class,
        confusion_KK=metrics.confusion_matrix(truth_C, predicted_C, labels=list(codes)),
        calibration_error_uncalibrated=expected_calibration_error(judged.uncalibrated_C, correct_C),
    )


def spread_over(folds: Sequence[Metrics]) -> dict[str, Any]:
    """Give mean and standard deviation over folds of the headline figures, and of every class's figures.

    A class counts in the folds that hold out cells of it.
    """
    if not folds:
        return {}
    headlines = pd.DataFrame([fold.summary() for fold in folds])
    per_class = {
        name: mean_and_sd(pd.DataFrame([fold.per_class.loc[name] for fold in folds]).query("support > 0"))
        for name in folds[0].per_class.index
    }
    return {**mean_and_sd(headlines.drop(columns="n_cells")), "per_class": per_class}


def mean_and_sd(figures: pd.DataFrame) -> dict[str, Any]:
    """Return mean and standard deviation of every column but the support; None where there is none."""
    means, deviations = figures.mean(), figures.std(ddof=1)
    return {
        str(name): {"mean": _or_none(means[name]), "sd": _or_none(deviations[name])}
        for name in figures.columns.drop("support", errors="ignore")
    }


def _or_none(figure: float) -> float | None:
    return None if np.isnan(figure) else float(figure)


def expected_calibration_error(confidence_C: np.ndarray, correct_C: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by cells (Guo et al. 2017, eq. 5)."""
    bin_C = np.minimum((confidence_C * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap_of_bin = np.bincount(bin_C, weights=confidence_C - correct_C, minlength=CALIBRATION_BINS)
    return float(np.abs(gap_of_bin).sum() / len(confidence_C))
