"""What a store says of itself: its sources and settings, the parts of its datasets, and the hashes of its files."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import zarr
from pydantic import BaseModel, Field

from scnym.base.errors import FormatError, ScnymError, examples
from scnym.base.schema import HASHES_FILE, N_COUNTS, STORE_ENCODING, CellNames, Scale, format_version
from scnym.base.settings import ConvertSettings
from scnym.base.text import parse_json
from scnym.disk.encode import rust_codecs
from scnym.disk.formats.anndata_tables import require_table
from scnym.disk.formats.source import READING_FAULTS
from scnym.disk.location import Location, ObjectPath


class _Description(BaseModel):
    """What a dataset says of itself."""

    scale: Scale


class _TableDescription(BaseModel):
    """What a table of annotations says of itself."""

    index: str = Field(alias="_index")
    columns: tuple[str, ...] = Field(alias="column-order")


def require_dataset(root: Any, dataset: str, path: Location) -> zarr.Group:
    """Return a dataset of the store at `path` if its parts are there, are what they should be, and fit together.

    Raises
    ------
    FormatError
        If they are not.
    """
    try:
        group = root[dataset]
        _Description.model_validate(dict(group.attrs))
        for name in ("obs", "var"):
            _require_table(group[name], f"{dataset}/{name}", path)
        pointers, values, indices = (_array(group, f"X/{name}") for name in ("indptr", "data", "indices"))
        n_cells = _array(group, f"obs/{N_COUNTS}").shape[0]
        if pointers.shape[0] != n_cells + 1 or values.shape != indices.shape or values.chunks != indices.chunks:
            raise ValueError("its parts do not fit together")
    except READING_FAULTS as fault:
        if isinstance(fault, ScnymError):
            raise
        raise FormatError(
            f"the description of its parts is damaged ({fault})",
            where=f"{path}/{dataset}",
            way_out="copy the store again, or convert the source again",
        ) from fault
    return group


def _require_table(table: Any, name: str, path: Location) -> None:
    described = _TableDescription.model_validate(dict(table.attrs))
    missing = {described.index, *described.columns} - set(table)
    if missing:
        raise ValueError(f"{name} lacks {min(missing)!r}")
    require_table(table, name, path)


def _array(group: Any, name: str) -> Any:
    array = group[name]
    if not isinstance(array, zarr.Array) or array.ndim != 1:
        raise ValueError(f"{name} is no list")
    return array


WAY_OUT = "copy the store again, from where it was made"
SMALL_BYTES = 2**20
"""Files up to this size are hashed sooner than threads agree on who is next."""


def write_hashes(store: Path) -> None:
    """Write the SHA-256 of every file of a store, and one of the list itself."""
    files = file_hashes(store, stored_files(store))
    (store / HASHES_FILE).write_text(json.dumps({"files": files, "sha256": _of_list(files)}, indent=0))


def read_hashes(store: Location) -> dict[str, str]:
    """Read what every file of a store should be: path below the store to SHA-256.

    Raises
    ------
    FormatError
        If the list is not there or damaged.
    """
    if isinstance(store, Path):
        require_contained(store)
    path = store / HASHES_FILE
    try:
        content = parse_json(path.read_bytes())
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        damaged = content["sha256"] != _of_list(files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise FormatError("the list of hashes cannot be read", where=path, way_out="copy the store again") from fault
    if damaged:
        raise FormatError("the list of hashes is damaged", where=path, way_out="copy the store again")
    outside = [name for name in files if _leads_out(name)]
    if outside:
        raise FormatError(f"it names files outside of the store: {examples(outside)}", where=path, way_out=WAY_OUT)
    return files


def require_contained(store: Path) -> None:
    """Refuse a folder with links in it that lead out of it: what they name belongs to someone else.

    Pipes and devices are refused too: whoever reads one waits for ever.

    Raises
    ------
    FormatError
        Names the link, or the pipe.
    """
    root, waiting = store.resolve(), [str(store)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_symlink() and not Path(entry).resolve().is_relative_to(root):
                    raise FormatError("a link leads out of the store", where=entry.path, way_out=WAY_OUT)
                elif not entry.is_symlink() and not entry.is_file():
                    raise FormatError("it is neither file nor folder", where=entry.path, way_out=WAY_OUT)


def _leads_out(name: str) -> bool:
    return "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def stored_files(store: Path) -> Iterator[str]:
    """Yield the files of a store that have a hash, below it, sorted."""
    found = (path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())
    yield from sorted(name for name in found if name != HASHES_FILE)


def file_hashes(store: Location, names: Iterator[str] | list[str]) -> dict[str, str]:
    """Hash files; those that take long several at a time."""
    names = list(names)
    with ThreadPoolExecutor() as pool:
        waiting = {name: pool.submit(_of_file, store / name) for name in names if _takes_long(store / name)}
        return {name: waiting[name].result() if name in waiting else _of_file(store / name) for name in names}


def _takes_long(path: Location) -> bool:
    return isinstance(path, ObjectPath) or path.stat().st_size > SMALL_BYTES


def _of_file(path: Location) -> str:
    if isinstance(path, ObjectPath):
        content = hashlib.sha256()
        for piece in path.pieces():
            content.update(piece)
        return content.hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_list(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


class SourceEntry(BaseModel):
    """What a store says of one of its sources."""

    dataset: str = Field(pattern=r"^dataset_\d+$")
    sample: str
    file: str
    sha256: str
    n_cells: int
    n_genes: int
    has_cell_ids: bool
    """Whether the cells' ids are those of the source; otherwise they were made up."""
    scale: Scale
    cluster_by: str | None = None


class Manifest(BaseModel):
    """What a store says of itself."""

    format_version: int
    cell_names: CellNames
    sources: Annotated[tuple[SourceEntry, ...], Field(min_length=1)]


def seal(
    root: zarr.Group,
    folder: Path,
    entries: list[dict[str, Any]],
    cell_hashes: list[np.ndarray],
    settings: ConvertSettings,
) -> None:
    """Write what the store is and what its files are; after this it is complete.

    Parameters
    ----------
    root
        The store.
    folder
        Where it is.
    entries
        A line of the manifest for each dataset; datasets that are in none are of an earlier run, and go.
    cell_hashes
        Of the cells' ids, shape (C,) for each dataset.
    settings
        How it was converted.
    """
    wanted = {entry["dataset"] for entry in entries}
    for leftover in set(root.group_keys()) - wanted:
        del root[leftover]  # of an earlier run with more inputs
    hashes = np.concatenate(cell_hashes)
    shared = len(np.unique(hashes)) < len(hashes)
    root.attrs.put(
        {
            "encoding-type": STORE_ENCODING,
            "format_version": format_version(entry["scale"] for entry in entries),
            "converter": f"scnym {version('scnym')}",
            "settings": asdict(replace(settings, overwrite=False)),
            "cell_names": "sample:id" if shared else "id",
            "sources": entries,
        }
    )
    with rust_codecs(), warnings.catch_warnings():
        # Zarr 3 warns that consolidated metadata is not in the specification yet; readers that ignore it lose nothing.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(root.store)
    for unfinished in folder.rglob("*.partial"):
        unfinished.unlink()  # of a write that a kill interrupted
    write_hashes(folder)
