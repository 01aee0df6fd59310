"""The converter: raw files are read once in bounded blocks, checked, set aside in parts, and written as a store.

The store is built beside its target and renamed when it is whole, so a target that exists is a store that is
finished.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Iterable, Sequence
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

from scnym.base.errors import DataError, SettingsError, examples
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
from scnym.base.settings import ConvertSettings
from scnym.disk.aside import aside, require_replaceable
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
    _check_target(target, inputs, settings)
    sources = [open_source(Path(path), settings) for path in inputs]
    with aside(target, overwrite=settings.overwrite, is_replaceable=is_store) as folder:
        root = zarr.create_group(folder, zarr_format=3)
        manifest: list[dict[str, Any]] = []
        known_cells: set[str] = set()
        for number, source in enumerate(sources):
            obs, entry = _convert_source(source, root, folder / dataset_name(number), settings, progress)
            _require_new_cells(known_cells, obs.index, source)
            manifest.append(entry)
        _seal(root, manifest, settings)
    return target


def is_store(path: Path) -> bool:
    """Whether a path is a folder that a conversion has written."""
    try:
        return json.loads((path / "zarr.json").read_bytes())["attributes"]["encoding-type"] == STORE_ENCODING
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_target(target: Path, inputs: Sequence[str | Path], settings: ConvertSettings) -> None:
    if not inputs:
        raise SettingsError("there is no input", where="--input_counts", way_out="name at least one file")
    if target.suffix != STORE_SUFFIX:
        wanted = target.with_name(f"{target.name or 'cells'}{STORE_SUFFIX}")
        raise SettingsError(f"a store's name ends in {STORE_SUFFIX}", where=target, way_out=f"write {wanted}")
    require_replaceable(target, overwrite=settings.overwrite, is_replaceable=is_store)
    for path in inputs:
        if target.resolve() in (Path(path).resolve(), *Path(path).resolve().parents):
            raise SettingsError(
                "an input lies inside the store to be written", where=path, way_out="choose another name"
            )


def _require_new_cells(known: set[str], cells: pd.Index, source: Source) -> None:
    again = [cell for cell in cells if cell in known]
    if again:
        raise DataError(
            f"{len(again):,} cell ids stand in an earlier input too, such as {examples(again[:3])}",
            where=source.path,
            way_out="make them unique first, for instance with the sample's name in front, or write one store a file",
        )
    known.update(cells)


def _convert_source(
    source: Source, root: zarr.Group, folder: Path, settings: ConvertSettings, progress: Progress
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write one dataset; give its annotations, and its line of the manifest."""
    name, parts_folder = folder.name, folder.with_suffix(".parts")
    parts_folder.mkdir()
    census = ValueCensus(source.path, source.var.index)
    parts = Parts(parts_folder)
    obs, totals_C = _cut(source, parts, census, settings, progress)
    scale = census.scale()
    obs = _finish_obs(obs, totals_C, np.concatenate(parts.row_lengths), source, scale, settings)
    group = root.create_group(name, attributes={"encoding-type": "anndata", "encoding-version": "0.1.0"})
    content_hash = _write_counts(group, parts, census, len(source.var), settings)
    _write_frames(group, obs, source.var)
    group.attrs["scale"] = scale
    shutil.rmtree(parts_folder)
    entry = {
        "dataset": name,
        "file": source.path.name,
        "sha256": content_hash,
        "n_cells": len(obs),
        "n_genes": len(source.var),
        "scale": scale,
    }
    return obs, entry


def _cut(
    source: Source, parts: Parts, census: ValueCensus, settings: ConvertSettings, progress: Progress
) -> tuple[pd.DataFrame, np.ndarray]:
    """Read the source once into parts; give obs, and the sum of every cell's values."""
    block_elements = min(MAX_BLOCK_ELEMENTS, settings.max_memory_bytes // BYTES_PER_ELEMENT)
    frames: list[pd.DataFrame] = []
    totals: list[np.ndarray] = []
    with progress.task(f"convert {source.path.name}", total=source.n_cells, unit="cells") as task:
        for block in source.blocks(block_elements):
            census.check(block.counts_CG, block.obs.index)
            counts_CG = canonical(block.counts_CG)
            census.add(counts_CG, block.obs.index)
            parts.add(counts_CG, integral=census.integral)
            totals.append(np.asarray(counts_CG.sum(axis=1, dtype=np.float64)).ravel())
            frames.append(block.obs)
            task.advance(len(block.obs))
    if not sum(map(len, frames)) or not len(source.var):
        raise DataError("there are no cells or no genes in it", where=source.path, way_out="check the file")
    return pd.concat(frames), np.concatenate(totals)


def _finish_obs(
    obs: pd.DataFrame,
    totals_C: np.ndarray,
    n_genes_C: np.ndarray,
    source: Source,
    scale: Scale,
    settings: ConvertSettings,
) -> pd.DataFrame:
    """Put the full library's totals in place; the user's columns of the same name step aside."""
    column = settings.library_size_column
    if scale in LIBRARY_OF_SCALE:
        totals_C = np.where(totals_C > 0, LIBRARY_OF_SCALE[scale], 0.0)
    elif column is not None:
        totals_C = _given_totals(obs, column, totals_C, source.path)
    if np.array_equal(totals_C, np.rint(totals_C)):
        totals_C = totals_C.astype(np.int64)
    obs = _storable(obs)
    obs = obs.rename(
        columns={name: _free_name(f"{name}_input", obs.columns) for name in OWN_OBS_COLUMNS if name in obs}
    )
    obs[N_COUNTS], obs[N_GENES] = totals_C, n_genes_C
    obs[SOURCE] = pd.Categorical([source.path.name]).repeat(len(obs))
    return obs


def _given_totals(obs: pd.DataFrame, column: str, measured: np.ndarray, path: Path) -> np.ndarray:
    if column not in obs:
        raise DataError(
            f"there is no column {column!r} in obs",
            where=path,
            way_out=f"give --library_size one of {examples(obs.columns)}",
        )
    given = pd.to_numeric(obs[column], errors="coerce").to_numpy(dtype=np.float64)
    unusable = np.flatnonzero(~np.isfinite(given))
    if len(unusable):
        raise DataError(
            f"library size {obs[column].iloc[unusable[0]]} of cell {obs.index[unusable[0]]} is not a finite number",
            where=f"{path}, column {column}",
            way_out="give the column with the total counts before genes were removed",
        )
    too_small = np.flatnonzero(given < measured * (1 - 1e-6))
    if len(too_small):
        cell = int(too_small[0])
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
    genes_dtype = index_dtype(n_genes)
    values = ShardWriter(matrix, "data", dtype=values_dtype, codec=VALUES_CODEC, never_stored=0, **shared)
    no_gene = int(np.iinfo(genes_dtype).max)
    indices = ShardWriter(matrix, "indices", dtype=genes_dtype, codec=INDICES_CODEC, never_stored=no_gene, **shared)
    hashes = [hashlib.sha256() for _ in range(3)]
    for part in parts:
        values.append(part.values_N)
        indices.append(part.indices_N)
        hashes[0].update(part.values_N.astype(values_dtype, copy=False).data)
        hashes[1].update(part.indices_N.data)
    values.close()
    indices.close()
    matrix.create_array("indptr", data=indptr, chunks=(min(len(indptr), INDPTR_CHUNK),), fill_value=-1)
    hashes[2].update(indptr.data)
    return hashlib.sha256(b"".join(part.digest() for part in hashes)).hexdigest()


def _write_frames(group: zarr.Group, obs: pd.DataFrame, var: pd.DataFrame) -> None:
    # Chunks of nothing but zeros are written too, so that one that is not there is known to be lost.
    whole = zarr.config.set({"array.write_empty_chunks": True})
    with warnings.catch_warnings(), anndata.settings.override(auto_shard_zarr_v3=False), whole:
        # Zarr 3 warns that strings have no final specification yet; AnnData stores them so all the same.
        warnings.filterwarnings("ignore", category=UnstableSpecificationWarning)
        write_elem(group, "obs", obs)
        write_elem(group, "var", _storable(var))
    for name in EMPTY_GROUPS:
        group.create_group(name, attributes={"encoding-type": "dict", "encoding-version": "0.1.0"})


def _storable(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the same table with text columns as categories, which keeps their codes at hand and missing values apart.

    A slash in a column's name would make a folder of it, so it becomes an underscore.
    """
    names: list[str] = []
    for name in frame.columns:
        names.append(_free_name(str(name).replace("/", "_"), names))
    frame = frame.set_axis(names, axis="columns").copy()
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            present = column.notna()
            frame[name] = column.astype(object).where(~present, column.astype(str)).astype("category")
    frame.index = frame.index.astype(str)
    frame.index.name = None
    return frame


def _free_name(name: str, taken: Iterable[str]) -> str:
    """Give `name`, with underscores behind it until it is not among those taken."""
    taken = set(taken)
    while name in taken:
        name += "_"
    return name


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
