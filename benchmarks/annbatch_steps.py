"""What annbatch does in the benchmarks, a step per process, run by the interpreter of its own environment.

It is given what suits it: the Rust codecs, numba, one column of annotations, and 16,384 rows read at once.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from harness import passes_timed, run_step, timed

BATCH_ROWS = 256
PRELOADED_ROWS = 16_384


def read(arguments: Sequence[str]) -> tuple[float, float]:
    """Stream shuffled batches: STORE (ours or a collection), rows per chunk, kind of batch, passes."""
    path, chunk_rows, kind, n_passes = arguments[0], int(arguments[1]), arguments[2], int(arguments[3])
    anndata, zarr = _libraries()
    loader = import_module("annbatch").Loader(
        chunk_size=chunk_rows, preload_nchunks=PRELOADED_ROWS // chunk_rows, batch_size=BATCH_ROWS, shuffle=True
    )
    for name, group in sorted(zarr.open_group(path, mode="r").groups()):
        if name.startswith("dataset_"):
            obs = anndata.io.read_elem(group["obs"])[["cell_type"]]
            loader.add_dataset(anndata.io.sparse_dataset(group["X"]), obs=obs)
    return passes_timed(lambda: sum(KINDS[kind](batch["X"]).shape[0] for batch in loader), n_passes)


def create(arguments: Sequence[str]) -> tuple[float, float]:
    """Make a shuffled collection of an h5ad, as its documentation does: H5AD, TARGET."""
    anndata, zarr = _libraries()
    collection = import_module("annbatch").DatasetCollection(arguments[1])
    _, seconds = timed(lambda: collection.add_adatas(adata_paths=[arguments[0]], shuffle=True))
    group = zarr.open_group(arguments[1], mode="r")
    return sum(anndata.io.sparse_dataset(member["X"]).shape[0] for _, member in group.groups()), seconds


def _dense(counts_BG: Any) -> np.ndarray:
    return counts_BG.astype(np.float32).toarray()


def _normalised(counts_BG: Any) -> np.ndarray:
    """Return dense ln(CPM+1), in the way that is fastest with SciPy: on the stored values, then made dense."""
    totals_B = np.asarray(counts_BG.sum(axis=1)).ravel()
    values_BG = counts_BG.astype(np.float32)
    lengths_B = np.diff(values_BG.indptr)
    values_BG.data *= np.repeat((1e6 / np.maximum(totals_B, 1)).astype(np.float32), lengths_B)
    np.log1p(values_BG.data, out=values_BG.data)
    return values_BG.toarray()


KINDS: dict[str, Callable[[Any], Any]] = {"csr": lambda counts_BG: counts_BG, "dense": _dense, "ln_cpm": _normalised}


def _libraries() -> tuple[Any, Any]:
    warnings.filterwarnings("ignore")
    anndata, zarr = import_module("anndata"), import_module("zarr")
    import_module("zarrs")
    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    return anndata, zarr


if __name__ == "__main__":
    run_step({"read": read, "create": create}, sys.argv[1:])
