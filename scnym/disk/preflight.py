"""What is wrong with an input, found before its counts are read: columns, annotations, counts elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from scipy import sparse

from scnym.base.errors import DataError, examples, meant
from scnym.base.progress import Progress
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import Joined, Rows, join_annotations, none_found, read_annotations, remark_on_shared_rows
from scnym.disk.encode import codecs_for
from scnym.disk.formats.detect import AnySource, is_zarr
from scnym.disk.formats.source import READING_FAULTS
from scnym.disk.inputs import Input, path_state
from scnym.disk.location import zarr_store
from scnym.disk.values.library_size import column_of_sizes

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


def check_sources(inputs: Sequence[Input], settings: ConvertSettings, progress: Progress) -> None:
    """Check every input by itself (`check_source`), and whether the table of annotations has cells of any."""
    found = [check_source(one, settings, progress, is_only=len(inputs) == 1) for one in inputs]
    require_annotated([why for why, _ in found], settings)
    table = table_of(settings.training_metadata)
    if table is not None:
        rows_of = [(one.sample, rows) for one, (_, rows) in zip(inputs, found, strict=True)]
        remark = remark_on_shared_rows(rows_of, table, Path(settings.training_metadata or ""))
        if remark:
            progress.say(remark)


def check_source(one: Input, settings: ConvertSettings, progress: Progress, *, is_only: bool) -> tuple[str, Rows]:
    """Find what is wrong with columns before any counts are read.

    Returns
    -------
    str
        Why no cell is in the table of annotations, which is no mistake if cells of another input are. Empty if any is,
        if there is no table, or if only reading the counts would tell.
    Rows
        The rows of the table that its cells have.
    """
    source, table, wanted = one.open(settings), table_of(settings.training_metadata), settings.cluster_by
    if source.remark:
        progress.say(f"{one.sample}: {source.remark}")
    obs = source.obs
    frames = [frame for frame in (obs, table) if frame is not None]
    known = [*one.columns, *(str(name) for frame in frames for name in frame.columns)]
    if wanted is not None and wanted not in known:
        raise DataError(
            f"there is no column {wanted!r} among the cells' annotations",
            where=one.path,
            way_out=f"give --cluster_by one of {examples(known)}" if known else "give --training_metadata",
            mend=meant("--cluster_by", wanted, known),
        )
    if obs is None:
        return "", ()
    joined = with_table(obs.assign(**one.columns), one, source, settings, progress, is_only=is_only)
    obs = joined.obs
    if settings.library_size_column is not None and not joined.why_not:
        column_of_sizes(obs, settings.library_size_column, one.path)
    return joined.why_not, joined.rows


def with_table(
    obs: pd.DataFrame, one: Input, source: AnySource, settings: ConvertSettings, progress: Progress, *, is_only: bool
) -> Joined:
    """Return the annotations of an input with those of the table, if there is one; say how cells and rows fit.

    Raises
    ------
    DataError
        If the table has no cell of it, and there is no other input.
    """
    table = table_of(settings.training_metadata)
    if table is None:
        return Joined(obs)
    path = Path(settings.training_metadata or "")
    joined = join_annotations(obs, table, path, sample=one.sample, has_cell_ids=source.has_cell_ids)
    for line in joined.remarks:
        progress.say(f"{one.sample}: {line}")
    if is_only:
        require_annotated([joined.why_not], settings)
    elif joined.why_not:
        progress.say(f"{one.sample}: none of its cells has a row in the table of annotations: {joined.why_not}")
    return joined


def require_annotated(whys: Sequence[str], settings: ConvertSettings) -> None:
    """Raise if the table of annotations has no cell of any input.

    Raises
    ------
    DataError
        Says why of the first.
    """
    if all(whys):
        raise none_found(whys[0], Path(settings.training_metadata or ""))


def table_of(path: str | None) -> pd.DataFrame | None:
    """Read the table of annotations, if there is one; once, as all inputs of a process share it."""
    return None if path is None else _read(Path(path))[0]


def remarks_on_table(path: str | None) -> tuple[str, ...]:
    """Return how the table of annotations was understood, where the user should know."""
    return () if path is None else _read(Path(path))[1]


def _read(path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    return _table_as_it_is(path, path_state(path) if path.exists() else None)


@lru_cache(maxsize=1)
def _table_as_it_is(path: Path, state: object) -> tuple[pd.DataFrame, tuple[str, ...]]:
    del state
    remarks: list[str] = []
    return read_annotations(path, remarks.append), tuple(remarks)
