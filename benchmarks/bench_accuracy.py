"""Accuracy against logistic regression and nearest centroid, on the same folds, with default settings.

Cross-validation on pbmc_facs (10 types, the 3,774 training cells), three seeds of scnym; transfer to pbmc3k, another
donor, on the coarse types T, B, NK and CD14+. The rivals read ln(CP10k+1), unscaled, and learn from all cells outside
the held-out part; scnym sets a tenth of these aside for selection. Writes ``results/accuracy.md``.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch loads

import anndata
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.neighbors import NearestCentroid

import scnym

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("SCNYM_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results"
SEEDS = (0, 1, 2)
LABEL = "cell_type"
COARSE_TYPES: dict[str, dict[str, str]] = json.loads((ROOT / "data" / "coarse_types.json").read_text())
RIVALS: dict[str, Callable[[], LogisticRegression | NearestCentroid]] = {
    "logistic regression, C=1": lambda: LogisticRegression(C=1.0, max_iter=2000),
    "nearest centroid": NearestCentroid,
}
SEED_RECIPE = scnym.RunSettings(
    label_column=LABEL,
    stream=scnym.StreamSettings(class_balance="seed"),
    network=scnym.NetworkSettings(shortcut=False, normalize_to=1e6, scale_input=False),
    training=scnym.TrainSettings(optimizer="adadelta", n_epochs=150, weight_decay=1e-6),
)


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    method: str
    accuracy: float
    macro_f1: float
    balanced: float
    seconds: float


def ln_cp10k(adata: anndata.AnnData) -> sparse.csr_matrix:
    """Normalise, log, leave unscaled."""
    raw: Any = adata.X
    counts = sparse.csr_matrix(raw, dtype=np.float64)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    scaled = sparse.diags_array(1e4 / np.maximum(totals, 1)) @ counts
    return sparse.csr_matrix(scaled.log1p())


def held_out_rows(run: Path) -> Iterator[np.ndarray]:
    """Rows of each fold that a run of scnym held out."""
    for path in sorted(run.glob("fold0*/val_idx.csv")):
        yield pd.read_csv(path)["row"].to_numpy()


def rival_folds(name: str, adata: anndata.AnnData, run: Path) -> Row:
    """Cross-validate a rival on the folds of a run."""
    x, y = ln_cp10k(adata), adata.obs[LABEL].to_numpy().astype(str)
    figures, started = [], time.perf_counter()
    for held_out in held_out_rows(run):
        rest = np.setdiff1d(np.arange(len(y)), held_out)
        predicted = RIVALS[name]().fit(x[rest], y[rest]).predict(x[held_out])
        figures.append(scores(y[held_out], predicted))
    return Row(name, *np.mean(figures, axis=0), seconds=time.perf_counter() - started)


def scnym_folds(name: str, path: Path, out: Path, settings: scnym.RunSettings) -> Row:
    """Cross-validate scnym; the mean over its folds."""
    started = time.perf_counter()
    summary = scnym.train(path, out, settings)
    figures = [(f.metrics.accuracy, f.metrics.macro_f1, f.metrics.balanced_accuracy) for f in summary.folds]
    return Row(name, *np.mean(figures, axis=0), seconds=time.perf_counter() - started)


def scores(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Give accuracy, macro-F1 and balanced accuracy."""
    macro_f1 = float(f1_score(truth, predicted, average="macro"))
    return float(accuracy_score(truth, predicted)), macro_f1, float(balanced_accuracy_score(truth, predicted))


def transfer_scores(cells: pd.Index, predicted: np.ndarray) -> tuple[float, float, float]:
    """Compare coarse types on the cells of pbmc3k that have one; any other prediction is wrong."""
    truth = anndata.read_h5ad(PBMC3K).obs[LABEL].astype(object).map(COARSE_TYPES["pbmc3k"]).dropna()
    coarse = pd.Series([COARSE_TYPES["pbmc_facs"][name] for name in predicted], index=cells).loc[truth.index]
    balanced = np.mean([(coarse[truth == name] == name).mean() for name in truth.unique()])
    macro_f1 = f1_score(truth, coarse, labels=sorted(truth.unique()), average="macro")
    return float((coarse == truth).mean()), float(macro_f1), float(balanced)


def rival_transfer(name: str, facs: anndata.AnnData, pbmc3k: anndata.AnnData) -> Row:
    """Train a rival on the genes both sets have, label pbmc3k."""
    started = time.perf_counter()
    genes = facs.var_names.intersection(pbmc3k.var_names)
    model = RIVALS[name]().fit(ln_cp10k(facs[:, genes]), facs.obs[LABEL].to_numpy().astype(str))
    predicted = model.predict(ln_cp10k(pbmc3k[:, genes]))
    return Row(name, *transfer_scores(pbmc3k.obs_names, predicted), seconds=time.perf_counter() - started)


def scnym_transfer(name: str, model: Path, out: Path) -> Row:
    """Label pbmc3k with a final model."""
    started = time.perf_counter()
    summary = scnym.predict(PBMC3K, model, out)
    table = pd.read_csv(summary.folder / "predictions.csv", index_col="cell_id")
    figures = transfer_scores(table.index, table["cell_type"].to_numpy())
    return Row(name, *figures, seconds=time.perf_counter() - started)


def markdown(rows: list[Row]) -> str:
    """Format rows as a table."""
    head = "| method | accuracy | macro-F1 | balanced accuracy | seconds |\n|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {row.method} | {row.accuracy:.4f} | {row.macro_f1:.4f} | {row.balanced:.4f} | {row.seconds:.0f} |"
        for row in rows
    )


PBMC3K = DATA / "pbmc3k" / "pbmc3k.h5ad"


def main() -> None:
    """Measure, print, write."""
    everything = anndata.read_h5ad(DATA / "pbmc_facs" / "pbmc_facs.h5ad")
    facs = everything[everything.obs["split"] == "train"].copy()
    pbmc3k = anndata.read_h5ad(PBMC3K)
    settings = scnym.RunSettings(label_column=LABEL)
    inside, between = [], []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        path = work / "facs.h5ad"
        facs.write_h5ad(path)
        for seed in SEEDS:
            # The folds stay those of seed 0, so that all lines are about the same held-out cells.
            seeded = replace(
                settings,
                stream=replace(settings.stream, seed=seed),
                training=replace(settings.training, seed=1000 * seed),
            )
            inside.append(scnym_folds(f"scnym, seed {seed}", path, work / str(seed), seeded))
            model = work / str(seed) / "tissue_independent" / "all_data" / "model.safetensors"
            between.append(scnym_transfer(f"scnym, seed {seed}", model, work / str(seed)))
        inside.append(scnym_folds("scnym, the first release's recipe", path, work / "old", SEED_RECIPE))
        for name in RIVALS:
            inside.append(rival_folds(name, facs, work / "0" / "tissue_independent"))
            between.append(rival_transfer(name, facs, pbmc3k))
    text = (
        "# Accuracy, default settings\n\n"
        "Written by `make bench-accuracy`. Seconds are for all folds, and for scnym the final model too; they were\n"
        "taken one after the other on the same machine.\n\n"
        f"## Inside a data set: pbmc_facs, 5-fold cross-validation, mean over folds\n\n{markdown(inside)}\n\n"
        f"## Between donors: pbmc_facs -> pbmc3k, four coarse types\n\n{markdown(between)}\n"
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "accuracy.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
