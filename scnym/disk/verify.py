"""Whether a store is what it was when it was finished, and if not, which cells are lost.

E stored values of an array.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from scnym.base.errors import FormatError, MissingInputError
from scnym.base.progress import SILENT, Progress
from scnym.base.text import parse_json
from scnym.disk.chunks import index_bytes, is_whole, read_index, require_own_cut
from scnym.disk.encode import codecs_for
from scnym.disk.formats.detect import is_zarr
from scnym.disk.formats.source import READING_FAULTS
from scnym.disk.location import Location, location, zarr_store
from scnym.disk.manifest import file_hashes, read_hashes
from scnym.disk.store import made_by_converting

FILES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file that is not what it was."""

    file: str
    """Below the store."""
    what: str
    """``is missing`` or ``has changed``."""


@dataclass(frozen=True, slots=True)
class LostRows:
    """Consecutive rows of a dataset whose counts or annotations cannot be trusted."""

    dataset: str
    first: int
    """Row number in the dataset, from 0."""
    last: int
    """The last one lost."""
    what: str
    """``counts``, or ``annotations`` where something that belongs to all cells is damaged."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found."""

    store: Location
    n_files: int
    n_cells: int
    faults: tuple[FileFault, ...]
    lost: tuple[LostRows, ...]

    @property
    def n_lost_cells(self) -> int:
        """Cells of which something is lost."""
        whole = [LostRows(rows.dataset, rows.first, rows.last, "") for rows in self.lost]
        return sum(rows.last - rows.first + 1 for rows in _merged(whole))

    def require_whole(self) -> None:
        """Refuse a store with a fault.

        Raises
        ------
        FormatError
            Says how much is lost.
        """
        if self.faults:
            raise FormatError(
                f"{len(self.faults):,} of {self.n_files:,} files are missing or have changed; "
                f"{self.n_lost_cells:,} of {self.n_cells:,} cells are lost",
                where=self.store,
                way_out="copy the store again, or convert the source again",
            )


def verify(path: str | os.PathLike[str], *, progress: Progress = SILENT) -> VerifyReport:
    """Hash every file of a store and compare with what was noted when it was finished.

    Where counts are damaged, the checksum of every chunk tells which cells are lost.

    Raises
    ------
    MissingInputError
        If nothing is there.
    FormatError
        If it is not a store, or its list of hashes is damaged.
    """
    store = location(path)
    if not store.exists():
        raise MissingInputError("there is no such store", where=path, way_out="check the path")
    if not is_zarr(store):
        raise FormatError("not a Zarr store", where=path, way_out=made_by_converting(path))
    expected = read_hashes(store)
    faults = tuple(_faulty_files(store, expected, progress))
    sizes = _dataset_sizes(store, expected)
    lost = [rows for fault in faults for rows in _lost_rows(store, fault, sizes)]
    return VerifyReport(store, len(expected), sum(sizes.values()), faults, tuple(_merged(lost)))


def _faulty_files(store: Location, expected: dict[str, str], progress: Progress) -> Iterator[FileFault]:
    names = list(expected)
    with progress.task(f"verify {store.name}", total=len(names), unit="files") as task:
        for start in range(0, len(names), FILES_AT_ONCE):
            group = names[start : start + FILES_AT_ONCE]
            present = [name for name in group if (store / name).is_file()]
            found = file_hashes(store, present)
            for name in group:
                if name not in found:
                    yield FileFault(name, "is missing")
                elif found[name] != expected[name]:
                    yield FileFault(name, "has changed")
            task.advance(len(group))


def _dataset_sizes(store: Location, expected: dict[str, str]) -> dict[str, int]:
    """Cells of every dataset that should be there, as the store's description says; as its row pointers say, else."""
    try:
        sources = parse_json((store / "zarr.json").read_bytes())["attributes"]["sources"]
        return {str(source["dataset"]): int(source["n_cells"]) for source in sources}
    except (OSError, ValueError, KeyError, TypeError):
        names = {name.partition("/")[0] for name in expected if name.startswith("dataset_")}
        return {name: _n_rows(store, name) for name in sorted(names)}


def _n_rows(store: Location, dataset: str) -> int:
    try:
        return len(_indptr(store, dataset)) - 1
    except READING_FAULTS:
        return 0


def _lost_rows(store: Location, fault: FileFault, sizes: dict[str, int]) -> Iterator[LostRows]:
    dataset, _, rest = fault.file.partition("/")
    if dataset not in sizes:
        return
    array, found, shard = rest.rpartition("/c/")
    if not found or array not in {"X/data", "X/indices"}:
        what = "counts" if rest.startswith("X/") else "annotations"
        yield LostRows(dataset, 0, max(0, sizes[dataset] - 1), what)
        return
    try:
        stretches = list(_damaged(_array(store, f"{dataset}/{array}"), store / fault.file, int(shard)))
        indptr = _indptr(store, dataset)
    except READING_FAULTS:
        yield LostRows(dataset, 0, max(0, sizes[dataset] - 1), "counts")
        return
    for start, stop in stretches:
        first = int(np.searchsorted(indptr, start, side="right")) - 1
        last = int(np.searchsorted(indptr, stop, side="left")) - 1
        yield LostRows(dataset, first, last, "counts")


def _damaged(array: Any, path: Location, shard: int) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a shard's values whose checksum is wrong.

    The checksums are compared here, from the bytes of the file, because the codec pipeline does not look at them when
    it decodes single chunks.
    """
    chunk, shard_length = array.chunks[0], array.shards[0]
    first, end = shard * shard_length, min((shard + 1) * shard_length, array.shape[0])
    content = path.read_bytes() if path.exists() else b""
    index = read_index(content[-index_bytes(shard_length // chunk) :])
    if index is None:
        yield first, end
        return
    for start, (offset, length) in zip(range(first, end, chunk), index.tolist(), strict=False):
        if not is_whole(content[offset : offset + length]):
            yield start, min(start + chunk, end)


def _merged(lost: list[LostRows]) -> Iterator[LostRows]:
    """Join what touches or overlaps."""
    current: LostRows | None = None
    for rows in sorted(lost, key=lambda one: (one.dataset, one.what, one.first)):
        if current and (current.dataset, current.what) == (rows.dataset, rows.what) and rows.first <= current.last + 1:
            current = LostRows(current.dataset, current.first, max(current.last, rows.last), current.what)
            continue
        if current:
            yield current
        current = rows
    if current:
        yield current


def _array(store: Location, name: str) -> Any:
    with codecs_for(store):
        return zarr.open_array(zarr_store(store), mode="r", path=name)


def _indptr(store: Location, dataset: str) -> np.ndarray:
    pointers = _array(store, f"{dataset}/X/indptr")
    if isinstance(store, Path):
        require_own_cut(pointers, "X/indptr", store)
    return np.asarray(pointers[:])
