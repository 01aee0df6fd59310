"""How good held-out labels are in each tissue, with the spread over folds."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

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
