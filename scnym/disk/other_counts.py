"""Where else in a source counts are: in X, raw or a layer, for those whose values are no counts where they looked."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import h5py
import numpy as np
import zarr
from anndata import AnnData
from scipy import sparse

from scnym.disk.bucket import zarr_store
from scnym.disk.encode import codecs_for
from scnym.disk.formats.block import READING_FAULTS
from scnym.disk.formats.sniff import is_zarr
from scnym.disk.gather import Input

RAW = "raw"
OLD_RAW = "raw.X"
"""Where AnnData kept it before version 0.7."""
FIRST_VALUES, FIRST_ROWS = 1000, 8
"""Values, or rows of a dense matrix, that are looked at."""
USUAL_NAMES = ("counts", "raw_counts", "count", "umi", "umis", "raw_count", "raw")


def other_counts(one: Input, layer: str | None) -> tuple[str, dict[str, object]]:
    """Return where else than in `layer` counts are, in words and as an option; nothing if they are nowhere.

    Counts are first values that are all whole. Where there are none, raw is named if it is there, since its values may
    still be logarithms that can be undone.
    """
    whole: list[str | None] = []
    raw_is_there = False
    with ExitStack() as stack, suppress(*READING_FAULTS):
        for name, matrix in _matrices(_opened(one, stack)):
            values = _first_values(matrix)
            if name != layer and len(values) and np.isfinite(values).all() and values.min() >= 0:
                raw_is_there |= name == RAW
                if np.array_equal(values, np.rint(values)):
                    whole.append(name)
    if whole:
        name = min(whole, key=_unusual)
        words = "which are in X: leave out --layer" if name is None else f"which --layer {name} holds"
        return words, {"--layer": name}
    return ("or what --layer raw holds", {"--layer": RAW}) if raw_is_there else ("", {})


def _opened(one: Input, stack: ExitStack) -> Any:
    if one.adata is not None:
        return one.adata
    if one.path.is_dir():
        if one.dataset or not is_zarr(one.path):
            return {}
        stack.enter_context(codecs_for(one.path))
        return zarr.open_group(zarr_store(one.path), mode="r")
    return stack.enter_context(h5py.File(one.path)) if h5py.is_hdf5(one.path) else {}


def _matrices(holder: Any) -> Iterator[tuple[str | None, Any]]:
    """Yield X, raw and the layers of an AnnData, or the matrix and the layers of a loom, by what --layer calls them."""
    if isinstance(holder, AnnData):
        holder = {
            "X": holder.X,
            "layers": holder.layers,
            **({} if holder.raw is None else {"raw": {"X": holder.raw.X}}),
        }
    yield from ((None, holder[name]) for name in ("X", "matrix") if name in holder)
    if RAW in holder and "X" in holder[RAW]:
        yield RAW, holder[RAW]["X"]
    if OLD_RAW in holder:
        yield RAW, holder[OLD_RAW]
    if "layers" in holder:
        yield from ((str(name), holder["layers"][name]) for name in holder["layers"])


def _first_values(matrix: Any) -> np.ndarray:
    """Return values other than zero as they come, of a matrix in a file or in memory, dense or sparse."""
    if isinstance(matrix, h5py.Group | zarr.Group):
        data: Any = matrix["data"]
        values = data[:FIRST_VALUES]
    else:
        values = sparse.csr_matrix(matrix[:FIRST_ROWS]).data
    return np.asarray(values[values != 0][:FIRST_VALUES], dtype=np.float64)


def _unusual(name: str | None) -> tuple[bool, int, str]:
    usual = name is None or name.lower() in USUAL_NAMES
    return not usual, USUAL_NAMES.index(name.lower()) if name and usual else -1, name or ""
