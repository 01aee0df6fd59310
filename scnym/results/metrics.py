"""How good labels are: metrics by scikit-learn, calibration, and their spread over folds and tissues.

B bins, C cells, K classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.metrics import f1_score

from scnym.results.scored_cells import Judged

N_BINS = 20


def histogram(confidence_C: np.ndarray, is_in_C: np.ndarray | None = None) -> list[int]:
    """Count cells by confidence, in 20 equal bins from 0 to 1; only some of them, if it is said which."""
    confidence_C = confidence_C if is_in_C is None else confidence_C[is_in_C]
    return np.bincount(_bins(confidence_C, N_BINS), minlength=N_BINS).tolist()


def reliability(confidence_C: np.ndarray, correct_C: np.ndarray, n_bins: int) -> list[dict[str, Any]]:
    """Return mean confidence, accuracy and cells of each bin that has cells (Guo et al. 2017, figure 1)."""
    bin_C = _bins(confidence_C, n_bins)
    sums = [np.bincount(bin_C, weights=w, minlength=n_bins) for w in (None, confidence_C, correct_C)]
    return [
        {"n_cells": int(n), "confidence": float(confidence / n), "accuracy": float(correct / n)}
        for n, confidence, correct in zip(*sums, strict=True)
        if n
    ]


def _bins(confidence_C: np.ndarray, n_bins: int) -> np.ndarray:
    return np.clip((confidence_C * n_bins).astype(int), 0, n_bins - 1)


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
        """Return the headline figures."""
        names = ("accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "coverage", "accuracy_of_labelled")
        return {**{name: getattr(self, name) for name in names}, "n_cells": self.n_cells}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
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


FIGURES = ("accuracy", "macro_f1")


def figures_by_tissue(held_out: pd.DataFrame) -> pd.DataFrame:
    """Judge the cells of each tissue by themselves, fold by fold.

    Parameters
    ----------
    held_out
        A row per cell: tissue, fold, cell_type (the true one), predicted. Cells without a tissue are left out.

    Returns
    -------
    DataFrame
        A row per tissue: tissue, n_cells, n_folds (that hold out cells of it), and mean and standard deviation over
        these of accuracy and macro-F1: accuracy, accuracy_sd, macro_f1, macro_f1_sd.

    Notes
    -----
    Macro-F1 is the mean over the classes that occur among a fold's cells of the tissue, or among what they are called;
    but for those of which no cell at all is held out.
    """
    judged = set(held_out["cell_type"])
    known = held_out[held_out["tissue"].notna()]
    return pd.DataFrame(
        [
            {"tissue": tissue, **figures_over_folds(cells, judged)}
            for tissue, cells in known.groupby("tissue", sort=True, observed=True)
        ],
        columns=["tissue", *_COLUMNS],
    )


def figures_over_folds(held_out: pd.DataFrame, judged: Collection[str]) -> dict[str, Any]:
    """Judge all cells of a table as `figures_by_tissue` judges those of one tissue; of `judged` classes alone."""
    by_fold = pd.DataFrame(
        [_figures(cells, judged) for _, cells in held_out.groupby("fold", observed=True)], columns=FIGURES
    )
    found: dict[str, Any] = {"n_cells": len(held_out), "n_folds": len(by_fold)}
    for name in FIGURES:
        found[name] = float(by_fold[name].mean())
        found[f"{name}_sd"] = float(by_fold[name].std(ddof=1))
    return found


_COLUMNS = ("n_cells", "n_folds", *(column for name in FIGURES for column in (name, f"{name}_sd")))


def _figures(cells: pd.DataFrame, judged: Collection[str]) -> tuple[float, float]:
    codes, names = pd.factorize(pd.concat([cells["cell_type"], cells["predicted"]]), sort=True)
    truth, predicted = np.split(codes, 2)
    labels = [code for code, name in enumerate(names) if name in judged]
    # scikit-learn takes the number 0 here, but its annotation knows only of words.
    never_predicted: Any = 0
    return float((truth == predicted).mean()), float(
        f1_score(truth, predicted, labels=labels, average="macro", zero_division=never_predicted)
    )


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
        """Return the headline figures."""
        return {name: getattr(self, name) for name in (*HEADLINES, "n_cells")}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
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
    """Return mean and standard deviation over folds of the headline figures, and of every class's figures.

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
