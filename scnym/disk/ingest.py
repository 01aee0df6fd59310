"""The converter: raw files are read once in bounded blocks, checked, set aside in parts, and written as a store.

The store is built beside its target and renamed when it is whole, so a target that exists is a store that is
finished.
"""

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata.io import write_elem
from zarr.errors import UnstableSpecificationWarning

from scnym.base.errors import DataError, OutputExistsError, examples
from scnym.base.progress import SILENT, Progress
from scnym.base.schema import (
    FORMAT_VERSION,
    LIBRARY_OF_SCALE,
    N_COUNTS,
    N_GENES,
    OWN_OBS_COLUMNS,
    SOURCE,
    STORE_ENCODING,
    STORE_SUFFIX,
    Scale,
    dataset_name,
    index_dtype,
    value_dtype,
)
from scnym.base.settings import ConvertSettings, SettingsError
from scnym.disk.checks import ValueCensus
from scnym.disk.cut import Parts, canonical
from scnym.disk.encode import INDICES_CODEC, VALUES_CODEC, ShardWriter
from scnym.disk.formats.block import Source
from scnym.disk.formats.sniff import open_source

BYTES_PER_ELEMENT = 64
"""Memory that one stored value takes on its way from a raw file to a part, copies included, in bytes."""
MAX_BLOCK_ELEMENTS = 2**22
SHARDS_IN_MEMORY = 16
"""Share of the memory that one shard may take: values, indices, their encoded forms, and the blocks beside them."""
INDPTR_CHUNK = 2**20
EMPTY_GROUPS = ("layers", "obsm", "obsp", "varm", "varp", "uns")


def convert(
    inputs: Sequence[str | Path],
    target: str | Path,
    settings: ConvertSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> Path:
    """Convert raw files into one store; each file becomes a dataset with its own genes.

    Parameters
    ----------
    inputs
        h5ad, loom, CSV or TSV files (the text also gzipped).
    target
        The store to write, ending in ``.zarr``.
    settings
        Memory cap, layer and the like.
    progress
        Where to report cells done.

    Returns
    -------
    Path
        The finished store.

    Raises
    ------
    OutputExistsError
        If the target exists and may not be replaced.
    MissingInputError, FormatError, DataError
        If an input is not there, cannot be read, or holds values that make no sense. The target is untouched.
    """
    settings = settings or ConvertSettings()
    target = Path(target)
    _check_target(target, settings)
    sources = [open_source(Path(path), settings) for path in inputs]
    if not sources:
        raise SettingsError("there is no input", where="--input_counts", way_out="name at least one file")
    with _aside(target) as workspace:
        root = zarr.create_group(workspace / "store", zarr_format=3)
        manifest = [
            _convert_source(source, root, dataset_name(number), workspace, settings, progress)
            for number, source in enumerate(sources)
        ]
        _seal(root, manifest, settings)
        _publish(workspace / "store", target)
    return target


def _check_target(target: Path, settings: ConvertSettings) -> None:
    if target.suffix != STORE_SUFFIX:
        raise SettingsError(
            f"a store's name ends in {STORE_SUFFIX}",
            where=target,
            way_out=f"write {target.with_suffix(STORE_SUFFIX)}",
        )
    if target.exists() and not settings.overwrite:
        raise OutputExistsError("the store exists already", where=target, way_out="choose another name or --overwrite")


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """Give a folder beside the target that vanishes at the end, whatever happens."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _convert_source(
    source: Source,
    root: zarr.Group,
    name: str,
    workspace: Path,
    settings: ConvertSettings,
    progress: Progress,
) -> dict[str, Any]:
    parts_folder = workspace / f"{name}.parts"
    parts_folder.mkdir()
    census = ValueCensus(source.path, source.var.index)
    parts, obs = _cut(source, Parts(parts_folder), census, settings, progress)
    scale = census.scale()
    obs = _finish_obs(obs, source, scale, settings)
    group = root.create_group(name, attributes={"encoding-type": "anndata", "encoding-version": "0.1.0"})
    content_hash = _write_counts(group, parts, census, len(source.var), settings)
    _write_frames(group, obs, source.var)
    group.attrs["scale"] = scale
    shutil.rmtree(parts_folder)
    return {
        "dataset": name,
        "file": source.path.name,
        "sha256": content_hash,
        "n_cells": len(obs),
        "n_genes": len(source.var),
        "scale": scale,
    }


def _cut(
    source: Source, parts: Parts, census: ValueCensus, settings: ConvertSettings, progress: Progress
) -> tuple[Parts, pd.DataFrame]:
    """Read the source once; give its parts, and obs with the totals of the cells."""
    block_elements = min(MAX_BLOCK_ELEMENTS, settings.max_memory_bytes // BYTES_PER_ELEMENT)
    frames: list[pd.DataFrame] = []
    with progress.task(f"convert {source.path.name}", total=source.n_cells, unit="cells") as task:
        for block in source.blocks(block_elements):
            census.add(block.counts_CG, block.obs.index)
            counts_CG = canonical(block.counts_CG)
            parts.add(counts_CG, integral=census.integral)
            totals = np.asarray(counts_CG.sum(axis=1, dtype=np.float64)).ravel()
            frames.append(block.obs.assign(__total__=totals, __genes__=np.diff(counts_CG.indptr)))
            task.advance(len(block.obs))
    if not sum(map(len, frames)) or not len(source.var):
        raise DataError("there are no cells or no genes in it", where=source.path, way_out="check the file")
    return parts, pd.concat(frames)


def _finish_obs(obs: pd.DataFrame, source: Source, scale: Scale, settings: ConvertSettings) -> pd.DataFrame:
    """Put the full library's totals in place; the user's columns of the same name step aside."""
    totals = obs.pop("__total__").to_numpy()
    n_genes = obs.pop("__genes__").to_numpy()
    column = settings.library_size_column
    if scale in LIBRARY_OF_SCALE:
        totals = np.where(totals > 0, LIBRARY_OF_SCALE[scale], 0.0)
    elif column is not None:
        totals = _given_totals(obs, column, totals, source.path)
    if np.array_equal(totals, np.rint(totals)):
        totals = totals.astype(np.int64)
    obs = obs.rename(columns={name: f"{name}_input" for name in OWN_OBS_COLUMNS if name in obs})
    obs[N_COUNTS], obs[N_GENES], obs[SOURCE] = totals, n_genes, source.path.name
    return _storable(obs)


def _given_totals(obs: pd.DataFrame, column: str, measured: np.ndarray, path: Path) -> np.ndarray:
    if column not in obs:
        raise DataError(
            f"there is no column {column!r} in obs",
            where=path,
            way_out=f"give --library_size one of {examples(obs.columns)}",
        )
    given = pd.to_numeric(obs[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~(given >= measured * (1 - 1e-6))
    if wrong.any():
        cell = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"library size {obs[column].iloc[cell]} of cell {obs.index[cell]} is below the {measured[cell]:g} counts "
            "that the file holds for it",
            where=f"{path}, column {column}",
            way_out="give the column with the total counts before genes were removed",
        )
    return given


def _write_counts(group: zarr.Group, parts: Parts, census: ValueCensus, n_genes: int, settings: ConvertSettings) -> str:
    """Write X as CSR; return the SHA-256 of values, indices and indptr as stored."""
    indptr = parts.indptr()
    n_cells = len(indptr) - 1
    attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n_cells, n_genes]}
    matrix = group.create_group("X", attributes=attributes)
    shared: dict[str, Any] = {
        "n_elements": parts.n_elements,
        "elements_per_row": parts.n_elements / n_cells,
        "max_shard_bytes": settings.max_memory_bytes // SHARDS_IN_MEMORY,
    }
    values_dtype = value_dtype(census.max_value, integral=census.integral)
    values = ShardWriter(matrix, "data", dtype=values_dtype, codec=VALUES_CODEC, **shared)
    indices = ShardWriter(matrix, "indices", dtype=index_dtype(n_genes), codec=INDICES_CODEC, **shared)
    hashes = [hashlib.sha256() for _ in range(3)]
    for part in parts:
        values.append(part.values_N)
        indices.append(part.indices_N)
        hashes[0].update(part.values_N.astype(values_dtype, copy=False).data)
        hashes[1].update(part.indices_N.data)
    values.close()
    indices.close()
    matrix.create_array("indptr", data=indptr, chunks=(min(len(indptr), INDPTR_CHUNK),))
    hashes[2].update(indptr.data)
    return hashlib.sha256(b"".join(part.digest() for part in hashes)).hexdigest()


def _write_frames(group: zarr.Group, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    with warnings.catch_warnings(), anndata.settings.override(auto_shard_zarr_v3=False):
        # Zarr 3 warns that strings have no final specification yet; AnnData stores them so all the same.
        warnings.filterwarnings("ignore", category=UnstableSpecificationWarning)
        write_elem(group, "obs", obs)
        write_elem(group, "var", _storable(var))
    for name in EMPTY_GROUPS:
        group.create_group(name, attributes={"encoding-type": "dict", "encoding-version": "0.1.0"})


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the same table with text columns as categories, which keeps their codes at hand and missing values apart."""
    frame = frame.copy()
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            present = column.notna()
            frame[name] = column.astype(object).where(~present, column.astype(str)).astype("category")
    frame.columns = frame.columns.astype(str)
    frame.index = frame.index.astype(str)
    frame.index.name = None
    return frame


def _seal(root: zarr.Group, manifest: list[dict[str, Any]], settings: ConvertSettings) -> None:
    root.attrs.update(
        {
            "encoding-type": STORE_ENCODING,
            "format_version": FORMAT_VERSION,
            "converter": f"scnym {version('scnym')}",
            "settings": asdict(settings),
            "sources": manifest,
        }
    )
    with warnings.catch_warnings():
        # Zarr 3 warns that consolidated metadata is not in the specification yet; readers that ignore it lose nothing.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(root.store)


def _publish(finished: Path, target: Path) -> None:
    """Give the finished store its name; a store that stood there goes away only then."""
    if target.exists():
        target.rename(finished.with_name("replaced"))
    finished.rename(target)
