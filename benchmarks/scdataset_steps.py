"""What scDataset does in the benchmarks, run by the interpreter of its own environment."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from harness import passes_timed, run_step

BATCH_ROWS = 256


def balanced(arguments: Sequence[str]) -> tuple[float, float]:
    """Stream class-balanced sparse batches from an h5ad: H5AD, rows per block, batches per fetch, draws."""
    warnings.filterwarnings("ignore")
    path, block_rows, fetched_batches, n_draws = arguments[0], *map(int, arguments[1:])
    anndata, scdataset = import_module("anndata"), import_module("scdataset")
    cells = anndata.read_h5ad(path, backed="r")
    codes_C = cells.obs["cell_type"].cat.codes.to_numpy()
    batches = scdataset.scDataset(
        cells,
        scdataset.ClassBalancedSampling(codes_C, block_size=block_rows, total_size=n_draws),
        BATCH_ROWS,
        fetch_factor=fetched_batches,
        fetch_transform=_in_memory,
        seed=0,
    )
    return passes_timed(lambda: sum(batch.shape[0] for batch in batches), 1)


def _in_memory(fetched: Any) -> Any:
    return fetched.to_memory().X


if __name__ == "__main__":
    run_step({"balanced": balanced}, sys.argv[1:])
