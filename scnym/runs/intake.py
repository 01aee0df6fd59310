"""What a job is given: a store, or a raw file that is converted into the job's cache once; and labels for its cells."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, MissingInputError, examples
from scnym.base.progress import Progress
from scnym.base.settings import ConvertSettings
from scnym.disk.annotations import join_annotations, read_annotations
from scnym.disk.ingest import convert
from scnym.disk.store import Store, is_store

CACHE = "cache"
UNLABELLED = -1


@dataclass(frozen=True)
class CellLabels:
    """The classes of a store's cells."""

    codes_C: np.ndarray
    """Position in `classes`, -1 for cells without a label; int64, shape (n_cells,)."""
    classes: tuple[str, ...]
    """Class names, sorted."""
    n_unlabelled: int
    """Cells without a label, left out."""
    n_rare: int
    """Cells of classes that are too small, left out."""


def open_input(path: Path, out_path: Path, settings: ConvertSettings, progress: Progress) -> Store:
    """Open a store, or convert a raw file into the cache below `out_path` and open that.

    A raw file that has not changed since is not converted again.

    Raises
    ------
    UserError
        If the file is not there or cannot be converted.
    """
    if is_store(path):
        return Store(path)
    if not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check --input_counts")
    status = path.stat()
    key = repr((path.resolve(), status.st_size, status.st_mtime_ns, replace(settings, overwrite=False)))
    cached = out_path / CACHE / f"{path.name.partition('.')[0]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.zarr"
    if not cached.exists():
        convert([path], cached, replace(settings, overwrite=False), progress=progress)
    return Store(cached)


def annotated(store: Store, metadata: Path | None) -> pd.DataFrame:
    """Give the store's obs, with the columns of a metadata table joined by cell id."""
    if metadata is None:
        return store.obs
    return join_annotations(store.obs, read_annotations(metadata), metadata)


def labels_of(obs: pd.DataFrame, column: str, where: Path, *, min_cells: int = 0) -> CellLabels:
    """Read the classes from a column.

    Raises
    ------
    DataError
        If the column is not there, or holds no label at all.
    """
    if column not in obs:
        raise DataError(
            f"there is no column {column!r} among the cells' annotations",
            where=where,
            way_out=f"give --lower_group one of {examples(obs.columns)}"
            if len(obs.columns)
            else "give --training_metadata",
        )
    text = obs[column].astype(object).where(obs[column].notna(), None)
    names = text.map(lambda name: None if name is None or not str(name).strip() else str(name))
    sizes = names.value_counts()
    classes = tuple(sorted(sizes.index[sizes >= max(1, min_cells)]))
    if not classes:
        raise DataError(f"column {column!r} holds no labels", where=where, way_out="name another --lower_group")
    codes_C = pd.Categorical(names, categories=classes).codes.astype(np.int64)
    n_unlabelled = int(names.isna().sum())
    return CellLabels(codes_C, classes, n_unlabelled, int((codes_C < 0).sum()) - n_unlabelled)
