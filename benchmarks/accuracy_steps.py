"""One method on one task, in a process of its own: learn from the parts to learn from, label the others.

C cells, K classes.
"""

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch loads

import anndata
import numpy as np
import pandas as pd
from harness import run_step, timed
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

import scnym

LABEL = "cell_type"


def scnym_default(arguments: Sequence[str]) -> tuple[float, float]:
    """Train the final model with default settings, and label the other cells: FOLDER, splits, table, seed."""
    seed = int(arguments[3])
    settings = scnym.RunSettings(
        label_column=LABEL,
        split=scnym.SplitSettings(n_folds=0, seed=seed),
        stream=scnym.StreamSettings(seed=seed),
        training=scnym.TrainSettings(seed=seed),
    )

    def labels(folder: Path, number: int) -> pd.DataFrame:
        with tempfile.TemporaryDirectory() as work:
            model = scnym.train(folder / f"train_{number}.h5ad", work, settings).model_path
            found = scnym.predict(folder / f"test_{number}.h5ad", model, work)
            table = pd.read_csv(found.folder / "predictions.csv", keep_default_na=False, dtype={"cell_type": str})
        return table[["cell_type", "confidence"]].rename(columns={"cell_type": "predicted"})

    return _all_splits(arguments, labels)


def rival(model: Callable[[], LogisticRegression | NearestCentroid]) -> Callable[[Sequence[str]], tuple[float, float]]:
    """Make the step of a rival that reads ln(CP10k+1), unscaled: FOLDER, splits, table."""

    def labels(folder: Path, number: int) -> pd.DataFrame:
        learn, judge = (anndata.read_h5ad(folder / f"{part}_{number}.h5ad") for part in ("train", "test"))
        fitted = model().fit(ln_cp10k(learn.X), learn.obs[LABEL].to_numpy().astype(str))
        probabilities_CK = fitted.predict_proba(ln_cp10k(judge.X))
        best_C = probabilities_CK.argmax(axis=1)
        return pd.DataFrame(
            {"predicted": np.asarray(fitted.classes_)[best_C], "confidence": probabilities_CK.max(axis=1)}
        )

    return lambda arguments: _all_splits(arguments, labels)


def ln_cp10k(counts: Any) -> sparse.csr_matrix:
    """Normalise, log, leave unscaled."""
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    return sparse.csr_matrix((sparse.diags_array(1e4 / np.maximum(totals, 1)) @ counts).log1p())


def _all_splits(arguments: Sequence[str], labels: Callable[[Path, int], pd.DataFrame]) -> tuple[float, float]:
    folder, n_splits, target = Path(arguments[0]), int(arguments[1]), arguments[2]
    tables, seconds = timed(lambda: [labels(folder, number) for number in range(n_splits)])
    table = pd.concat(tables)
    table.to_csv(target, index=False)
    return float(len(table)), seconds


STEPS = {
    "scnym": scnym_default,
    "logistic regression": rival(lambda: LogisticRegression(C=1.0, max_iter=2000)),
    # Equal priors, so that the most likely class is the one of the nearest centroid.
    "nearest centroid": rival(lambda: NearestCentroid(priors="uniform")),
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    run_step(STEPS, sys.argv[1:])
