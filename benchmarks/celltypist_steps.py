"""What CellTypist does in the benchmark of accuracy, run by the interpreter of its own environment."""

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from harness import run_step

TOP_GENES = 300
"""Genes that it chooses for each type, by its own default."""


def task(arguments: Sequence[str]) -> tuple[float, float]:
    """Learn and label all splits of a task: FOLDER, number of splits, table to write."""
    folder, n_splits, target = Path(arguments[0]), int(arguments[1]), Path(arguments[2])
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as home:
        os.environ["CELLTYPIST_FOLDER"] = home
        pandas, celltypist = import_module("pandas"), import_module("celltypist")
        import_module("celltypist.logger").set_level(40)
        started = time.perf_counter()
        tables = [_labels(folder, number, celltypist) for number in range(n_splits)]
        seconds = time.perf_counter() - started
    pandas.concat(tables).to_csv(target, index=False)
    return float(sum(map(len, tables))), seconds


def _labels(folder: Path, number: int, celltypist):  # noqa: ANN001, ANN202 - types of another environment
    """Train as its manual recommends, in two rounds, where there are more genes than the first would choose."""
    scanpy = import_module("scanpy")
    learn, judge = (scanpy.read_h5ad(folder / f"{part}_{number}.h5ad") for part in ("train", "test"))
    for cells in (learn, judge):
        scanpy.pp.filter_cells(cells, min_counts=0)
        scanpy.pp.normalize_total(cells, target_sum=1e4)
        scanpy.pp.log1p(cells)
    n_expressed = int((learn.X.sum(axis=0) > 0).sum())
    model = celltypist.train(
        learn, labels="cell_type", n_jobs=2, feature_selection=n_expressed > TOP_GENES, check_expression=False
    )
    found = celltypist.annotate(judge, model=model)
    table = found.predicted_labels[["predicted_labels"]].rename(columns={"predicted_labels": "predicted"})
    return table.assign(confidence=found.probability_matrix.max(axis=1))


if __name__ == "__main__":
    run_step({"task": task}, sys.argv[1:])
