"""A store written back as one h5ad, in bounded memory.

C cells, G genes.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from pandas.api.types import is_string_dtype

from scnym.base.errors import OutputExistsError, SettingsError
from scnym.base.progress import SILENT, Progress
from scnym.base.schema import SOURCE, safe_names
from scnym.disk.atomic import nothing_at, room_for
from scnym.disk.dataset import take_out_unreadable
from scnym.disk.formats.anndata import RestoredDataset
from scnym.disk.location import require_local
from scnym.disk.obs_var import carry_groups, copy_rows, is_plain, make_array, plain_text, stacked
from scnym.disk.store import Store
from scnym.disk.verify import verify

SUFFIX = ".h5ad"
BLOCK_ELEMENTS = 2**22
MEMORY_BYTES = 2**28
EXACT_IN_FLOAT32 = frozenset({"|u1", "<u2", "<f4"})
"""Stored dtypes of which every value is exact as a 32-bit float, the field's usual form of counts."""
MEASURED_IN = "measured_in_"


def export(
    store_path: str | os.PathLike[str], target: str | Path, *, overwrite: bool = False, progress: Progress = SILENT
) -> Path:
    """Write a store's counts and annotations as an h5ad, as they were before; the store's own columns are left out.

    Cells that were regrouped stay so; ``source_row`` says where each was. What a store does not hold, such as other
    layers of its source, cannot come back.

    Several sources become one matrix over all their genes; ``var`` says in columns ``measured_in_SAMPLE`` which of the
    sources measured a gene, since a zero does not tell. Arrays of obsm are joined if all sources have them, of the same
    width; what else is in obsm, varm and uns is left out, and said.

    Parameters
    ----------
    store_path
        A finished store.
    target
        The file to write, ending in ``.h5ad``.
    overwrite
        Whether a file that exists is replaced.
    progress
        Where to report cells done.

    Raises
    ------
    SettingsError
        If the target's name does not end in ``.h5ad``.
    OutputExistsError
        If it exists and may not be replaced.
    MissingInputError, FormatError
        If the store is not there or damaged.
    """
    target, store = require_local(target), Store(store_path)
    if target.suffix != SUFFIX:
        raise SettingsError(f"the name must end in {SUFFIX}", where=target, way_out=f"write {target}{SUFFIX}")
    if target.exists() and not (overwrite and target.is_file()):
        raise OutputExistsError(
            "it exists already",
            where=target,
            way_out="choose another name, or give --overwrite",
            mend={"--overwrite": True},
        )
    verify(store.path, progress=progress).require_whole()
    sources = [RestoredDataset(store.path, source.dataset) for source in store.sources]
    var = _joined_var(store, sources)
    with _written_aside(target) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        _write_counts(file, store, sources, var.index, progress)
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            write_elem(file, name, {})
        left_out = _write_groups(file, store, sources)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=pd.errors.PerformanceWarning)
            write_elem(file, "obs", _named_for_h5ad(_joined_obs(store, sources)))
        write_elem(file, "var", _named_for_h5ad(var))
        left_out += take_out_unreadable(file)
    if left_out:
        progress.say(f"left out: {', '.join(left_out)}")
    return target


@contextmanager
def _written_aside(target: Path) -> Iterator[h5py.File]:
    unfinished = target.with_name(f".{target.name}.partial")
    with room_for(target):
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            with h5py.File(nothing_at(unfinished), "w") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


def _write_counts(
    file: h5py.File, store: Store, sources: Sequence[RestoredDataset], genes: pd.Index, progress: Progress
) -> None:
    """Append every block of cells to a CSR matrix."""
    n_elements = sum(int(dataset.indptr_C1[-1]) for dataset in store.datasets)
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    group.attrs["shape"] = np.array([store.n_cells, len(genes)])
    exact = all(dataset.values_dtype.str in EXACT_IN_FLOAT32 for dataset in store.datasets)
    data = group.create_dataset("data", shape=(n_elements,), dtype="<f4" if exact else "<f8")
    indices = group.create_dataset("indices", shape=(n_elements,), dtype="<i4")
    indptr, at = [np.zeros(1, np.int64)], 0
    with progress.task("export", total=store.n_cells, unit="cells") as task:
        for source in sources:
            table_S = genes.get_indexer(source.var.index).astype(np.int32)
            for block in source.blocks(BLOCK_ELEMENTS):
                counts_CG = block.counts_CG
                counts_CG.indices = table_S[counts_CG.indices]
                counts_CG.sort_indices()
                stop = at + counts_CG.nnz
                data[at:stop], indices[at:stop] = counts_CG.data, counts_CG.indices
                indptr.append(at + counts_CG.indptr[1:].astype(np.int64))
                at = stop
                task.advance(len(block.cells))
    group.create_dataset("indptr", data=np.concatenate(indptr))


def _write_groups(file: h5py.File, store: Store, sources: Sequence[RestoredDataset]) -> list[str]:
    """Write obsm, varm and uns; give the names of what is left out."""
    with ExitStack() as opened:
        groups = [opened.enter_context(source.other_groups()) for source in sources]
        if len(groups) == 1:
            return carry_groups(groups[0], file, max_memory_bytes=MEMORY_BYTES)
        write_elem(file, "uns", {"scnym": {"scales": {one.sample: one.scale for one in store.sources}}})
        joined = _join_obsm(file["obsm"], [dict(group["obsm"].items()) for group in groups])
        names = sorted(
            {f"{kind} {name}" for group in groups for kind, branch in group.items() for name in branch.names}
        )
        return [name for name in names if name not in {f"obsm {one}" for one in joined}]


def _join_obsm(file: Any, parts: Sequence[Any]) -> list[str]:
    """Write the arrays that all sources have, of one width, one source behind the other; give their names."""
    shared = [name for name in parts[0] if all(name in part and is_plain(part[name]) for part in parts)]
    joined = [name for name in shared if len({part[name].shape[1:] for part in parts}) == 1]
    for name in joined:
        arrays = [part[name] for part in parts]
        n_rows = [array.shape[0] for array in arrays]
        dtype = np.result_type(*(array.dtype for array in arrays))
        into = make_array(file, name, (sum(n_rows), *arrays[0].shape[1:]), dtype)
        for array, first_row in zip(arrays, np.cumsum([0, *n_rows[:-1]]).tolist(), strict=True):
            copy_rows(array, into, max_memory_bytes=MEMORY_BYTES, first_row=first_row)
    return joined


def _joined_obs(store: Store, sources: Sequence[RestoredDataset]) -> pd.DataFrame:
    """Return the annotations of all cells; with several sources, a column says which one a cell is of."""
    frames = [source.obs for source in sources]
    if len(frames) == 1:
        return frames[0]
    name = f"scnym_{SOURCE}" if any(SOURCE in frame for frame in frames) else SOURCE
    frames = [frame.assign(**{name: source.sample}) for frame, source in zip(frames, store.sources, strict=True)]
    joined = stacked(frames).set_axis(pd.Index(store.cell_ids.astype(object)))
    return _as_text(joined)


def _joined_var(store: Store, sources: Sequence[RestoredDataset]) -> pd.DataFrame:
    """Return every gene of any source, with its annotations in the first source that has it."""
    if len(sources) == 1:
        return sources[0].var
    everywhere = pd.concat([source.var for source in sources])
    var = everywhere[~everywhere.index.duplicated()]
    measured = {
        f"{MEASURED_IN}{one.sample.replace('/', '_')}": var.index.isin(source.var.index)
        for one, source in zip(store.sources, sources, strict=True)
    }
    return _as_text(var.assign(**measured))


def _named_for_h5ad(frame: pd.DataFrame) -> pd.DataFrame:
    """Return columns their own names wherever an h5ad can hold these; it takes long ones."""
    return plain_text(frame).set_axis(safe_names(frame.columns, max_bytes=None), axis="columns")


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Make text of columns that several sources filled with different things."""
    names = [name for name in frame if is_string_dtype(frame[name].dtype)]  # objects too
    texts = {str(name): frame[name].map(str, na_action="ignore").astype("category") for name in names}
    return frame.assign(**texts)
