"""Annotations of cells and genes, made ready for a store and written; what stood in the way of our columns steps aside.

C cells.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem
from pandas.api.types import infer_dtype
from zarr.errors import UnstableSpecificationWarning

from scnym.base.columns import free_name, safe_names
from scnym.base.schema import N_COUNTS, N_GENES, OWN_OBS_COLUMNS, SOURCE
from scnym.disk.formats.block import NAMES_AT_A_TIME, as_text, strings
from scnym.disk.zarr_arrays import OWN_PIPELINE

DICT_ATTRIBUTES = {"encoding-type": "dict", "encoding-version": "0.1.0"}
NUMBER_KINDS = "biuf"
NUMBER_ARRAYS = (pd.arrays.NumpyExtensionArray, pd.arrays.IntegerArray, pd.arrays.BooleanArray)
"""What numbers may stand in for AnnData to write them."""
INDEX = "_index"
EMPTY_GROUPS = ("layers", "obsm", "obsp", "varm", "varp", "uns")


def with_own_columns(
    obs: pd.DataFrame, *, totals_C: np.ndarray, n_genes_C: np.ndarray, sample: str
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Add the store's own columns; the user's of the same name step aside.

    Parameters
    ----------
    obs
        Annotations as they came.
    totals_C, n_genes_C
        Library size, and genes with a count, of every cell.
    sample
        Where the cells are from.

    Returns
    -------
    tuple
        The annotations to store, and the names of the columns that were renamed: new name to old.
    """
    obs, renamed = storable(obs)
    for name in (column for column in OWN_OBS_COLUMNS if column in obs):
        free = free_name(f"{name}_input", obs.columns)
        obs = obs.rename(columns={name: free})
        renamed[free] = name
    if np.array_equal(totals_C, np.rint(totals_C)):
        totals_C = totals_C.astype(np.int64)
    obs[N_COUNTS], obs[N_GENES] = totals_C, n_genes_C
    obs[SOURCE] = pd.Categorical([sample]).repeat(len(obs))
    return obs, renamed


def write_frames(group: zarr.Group, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    """Write obs and var, made ready by `storable`, and the other groups of an AnnData, which are empty."""
    for name, frame in (("obs", obs), ("var", var)):
        write_names(group, name, strings(frame.index), list(frame.columns))
        with as_anndata_writes():
            for column in frame:
                write_elem(cast("zarr.Group", group[name]), str(column), frame[column].values)
    write_empty_groups(group)


def write_names(group: zarr.Group, frame: str, names_C: np.ndarray, columns: Sequence[str] = ()) -> None:
    """Write a table but for its columns, as AnnData does, in bounded memory.

    Parameters
    ----------
    group
        The AnnData.
    frame
        ``obs`` or ``var``.
    names_C
        Names of the rows, as NumPy's strings, shape (C,).
    columns
        Names of the columns, in their order, which are written into the table afterwards.
    """
    attributes: dict[str, Any] = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": INDEX}
    attributes["column-order"] = list(columns)
    with as_anndata_writes():
        array = group.create_group(frame, attributes=attributes, overwrite=True).create_array(
            INDEX,
            shape=names_C.shape,
            dtype=names_C.dtype,
            chunks=(min(max(1, len(names_C)), NAMES_AT_A_TIME),),
            attributes={"encoding-type": "string-array", "encoding-version": "0.2.0"},
        )
        for start in range(0, len(names_C), NAMES_AT_A_TIME):
            array[start : start + NAMES_AT_A_TIME] = names_C[start : start + NAMES_AT_A_TIME]


def write_empty_groups(group: zarr.Group) -> None:
    """Write the groups of an AnnData that hold nothing here."""
    for name in EMPTY_GROUPS:
        group.create_group(name, attributes=DICT_ATTRIBUTES, overwrite=True)


@contextmanager
def as_anndata_writes() -> Iterator[None]:
    """Write tables and the like as AnnData does, and without its warnings."""
    # Chunks of nothing but zeros are written too, so that one that is not there is known to be lost. The Rust pipeline,
    # under which a source may be open, would leave them out.
    whole = zarr.config.set({"array.write_empty_chunks": True, "codec_pipeline.path": OWN_PIPELINE})
    settings = anndata.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True)
    with warnings.catch_warnings(), settings, whole:
        # Zarr 3 warns that strings have no final specification yet; AnnData stores them so all the same.
        warnings.filterwarnings("ignore", category=UnstableSpecificationWarning)
        yield


def plain_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names and text are Python's strings, as pandas had them before version 3.

    So that all versions write the same bytes, which any AnnData reads. Text of which some is missing stays as it is.
    """
    text = [name for name in frame if isinstance(frame[name].dtype, pd.StringDtype) and not frame[name].hasnans]
    frame = frame.astype(dict.fromkeys(text, object))
    return frame.set_axis(frame.index.astype(object)) if isinstance(frame.index.dtype, pd.StringDtype) else frame


def storable(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Give the same table with text columns as categories, which keeps their codes at hand and missing values apart.

    What AnnData cannot write, such as dates and intervals, becomes text.

    Columns whose names cannot be stored, or stand twice, get others (`safe_names`); the new names are told, with the
    old ones.
    """
    names = safe_names(frame.columns)
    renamed = {new: str(old) for new, old in zip(names, frame.columns, strict=True) if new != old}
    frame = frame.set_axis(names, axis="columns").copy()
    for name in frame.columns:
        column = frame[name]
        stored = _storable_column(column)
        if stored is not column:
            frame[name] = stored
    frame.index = as_text(frame.index)
    frame.index.name = None
    return frame, renamed


def stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other, numbered from 0; a column without any value has no say in what it holds."""
    names = dict.fromkeys(name for frame in frames for name in frame)
    filled = [{name for name in frame if frame[name].notna().any()} for frame in frames]
    anywhere = set[object]().union(*filled)
    kept = [
        frame[[name for name in frame if name in own or name not in anywhere]]
        for frame, own in zip(frames, filled, strict=True)
    ]
    return pd.concat(kept, ignore_index=True)[list(names)]


def _storable_column(column: pd.Series) -> pd.Series:
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    values = column.cat.categories if is_category else column
    if values.dtype.kind in NUMBER_KINDS:
        return column if is_category or isinstance(column.array, NUMBER_ARRAYS) else column.astype(np.float64)
    if is_category and infer_dtype(values) in {"string", "empty"}:
        return column
    return column.astype(object).where(column.isna(), column.astype(str)).astype("category")
