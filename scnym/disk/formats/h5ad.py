"""AnnData on disk: h5ad files, also of old versions, and their Zarr form; counts from X, raw or a layer.

CSR and dense counts stand cell by cell; CSC stands gene by gene.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from scipy import sparse

from scnym.base.errors import DataError, FormatError, ScnymError, examples, meant
from scnym.base.settings import GIGABYTE
from scnym.disk.bucket import Location, zarr_store
from scnym.disk.chunk_index import n_files_below, require_possible
from scnym.disk.encode import codecs_for
from scnym.disk.formats.block import (
    NAMES_AT_A_TIME,
    NUL,
    READING_FAULTS,
    CellBlock,
    ScatteredSource,
    SeenNames,
    Slab,
    Source,
    as_text,
    numbers,
    read_strings,
    require_unique,
    strings,
)
from scnym.disk.formats.caches import cache_for
from scnym.disk.formats.claims import require_small_chunks, require_table

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""Faults of the disk that is written to while the file is read."""
RAW = "raw"
MATRICES = ("obsm", "uns")
LEFT_OUT = ("layers", "obsp", "varp")
OLD_RECORDS = ("obsm", "varm")
"""Before version 0.7 these were arrays of records."""
OLD_INDEX_FIELDS = ("index", "_index")
MAKE_UNIQUE = "make them unique first, in Python with adata.{}_names_make_unique()"
TEXT_ENCODING = ("string-array", "0.2.0")
DEFAULT_ENCODING = "csr_matrix"


def open_anndata(path: Path, layer: str | None = None, *, max_memory_bytes: int = GIGABYTE) -> Source | ScatteredSource:
    """Open an AnnData on disk.

    Parameters
    ----------
    path
        An h5ad file, or the folder of a Zarr store.
    layer
        None for X, ``raw`` for raw/X, else the name of a layer.
    max_memory_bytes
        Memory cap, in bytes.

    Raises
    ------
    FormatError
        If it is damaged.
    SettingsError
        If the memory cap is too small for its chunks.
    DataError
        If cell or gene names stand twice, or the layer is not there.
    """
    file = AnnDataFile(path, layer, max_memory_bytes=max_memory_bytes)
    return GeneByGene(file) if file.encoding == "csc_matrix" else CellByCell(file)


class AnnDataFile:
    """The parts of an AnnData on disk that say what its counts are; see `open_anndata`."""

    def __init__(
        self, path: Location, layer: str | None = None, group: str = "", *, max_memory_bytes: int = GIGABYTE
    ) -> None:
        self.path = path
        self._group = group
        self._options: dict[str, Any] = {}
        self.counts_key = {None: "X", RAW: "raw/X"}.get(layer, f"layers/{layer}")
        self.varm_key = "raw/varm" if layer == RAW else "varm"
        with self.opened() as file:
            self._check_claims(file)
            self._check_layer(file)
            obs = self._obs(file)
            self.n_cells, self.cell_ids = len(obs), self._cell_ids(file, obs)
            """Ids of the cells, shape (n_cells,); see `strings`."""
            self.var = self._frame(file, "raw/var" if layer == RAW else "var")
            self.encoding = _encoding(file[self.counts_key])
            self._check_shape(file[self.counts_key])
            self._check_chunks(file[self.counts_key])
            self.cache = cache_for(self._arrays(file), path, max_memory_bytes)
            self.left_out = self._left_out(file)
            """What is not carried along, in words; None if all is."""
        self._options = self.cache.options
        self._require_unique_cells(MAKE_UNIQUE.format("obs"))

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. Read anew each time, as it may be large."""
        with self.opened() as file:
            return self._obs(file).set_axis(self.cells(0, self.n_cells))

    def cells(self, start: int, stop: int) -> pd.Index:
        """Give the ids of the cells from `start` to `stop`."""
        return pd.Index(self.cell_ids[start:stop].astype(object))

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open the file; what goes wrong while it is open is a fault of the file."""
        try:
            if self.path.is_dir():
                with codecs_for(self.path):
                    yield zarr.open_group(zarr_store(self.path), mode="r", path=self._group)
            else:
                with h5py.File(self.path, **self._options) as file:
                    yield file
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError) or getattr(fault, "errno", None) in DISK_FULL:
                raise
            raise FormatError(
                f"it is damaged or no AnnData ({fault})", where=self.path, way_out="copy or write it again"
            ) from fault

    @contextmanager
    def sparse_counts(self) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Give data, indices and the indptr, checked, of CSR or CSC counts."""
        with self.opened() as file:
            group = file[self.counts_key]
            self._check_n_lines(group["indptr"].shape[0] - 1)
            with np.errstate(invalid="ignore"):  # a pointer that is no number fits nothing
                indptr = np.asarray(group["indptr"][:], dtype=np.int64)
            self._check_indptr(indptr, group["data"].shape[0], group["indices"].shape[0])
            yield group["data"], group["indices"], indptr

    def check_indices(self, indices: np.ndarray, limit: int, place: str) -> None:
        """Refuse positions of genes or cells that do not exist.

        Raises
        ------
        FormatError
            Names the place.
        """
        if len(indices) and (indices.min() < 0 or indices.max() >= limit):
            raise FormatError(
                f"{self.counts_key}/indices holds positions outside 0 to {limit - 1}",
                where=f"{self.path}, at {place} or soon after",
                way_out="write the file again",
            )

    def _arrays(self, file: Any) -> list[Any]:
        """Give the arrays that hold the counts."""
        counts = file[self.counts_key]
        return [counts] if self.encoding == "array" else [counts["data"], counts["indices"]]

    def _left_out(self, file: Any) -> str | None:
        here = [kind for kind in LEFT_OUT if kind in file and not hasattr(file[kind], "dtype")]
        found = {kind: [name for name in file[kind] if f"{kind}/{name}" != self.counts_key] for kind in here}
        words = [f"{kind} {', '.join(names)}" for kind, names in found.items() if names]
        others = [key for key in ("X", RAW) if _is_there(file, key) and not self.counts_key.startswith(key)]
        old = [kind for kind in OLD_RECORDS if kind in file and hasattr(file[kind], "dtype")]
        return f"left out: {'; '.join([*words, *others, *old])}" if words or others or old else None

    def _check_claims(self, file: Any) -> None:
        if isinstance(file, zarr.Group) and isinstance(self.path, Path):
            require_small_chunks(file, ("obs", "var", "raw/var", self.counts_key, *MATRICES, self.varm_key), self.path)

    def _check_layer(self, file: Any) -> None:
        if _is_there(file, self.counts_key) and file[self.counts_key].attrs.get("encoding-type") != "dict":
            return
        layers = list(file["layers"]) if "layers" in file else []
        known = [*layers, *([RAW] if "raw" in file else [])]
        raise DataError(
            f"there are no counts in {self.counts_key}",
            where=self.path,
            way_out=f"give --layer one of {examples(known)}" if known else "store the counts in X",
            mend=meant("--layer", self.counts_key.rpartition("/")[2], known),
        )

    def _frame(self, file: Any, key: str) -> pd.DataFrame:
        element = file[key]
        if not isinstance(element, h5py.Dataset):
            require_table(element, key, self.path)
        frame = _old_frame(element, file) if isinstance(element, h5py.Dataset) else read_elem(element)
        if not isinstance(frame, pd.DataFrame):
            raise FormatError(f"{key} is no table", where=self.path, way_out="write the file again")
        frame.index = as_text(frame.index)
        return frame

    def _obs(self, file: Any) -> pd.DataFrame:
        """Read the annotations; without the ids, if these can be read a few at a time."""
        table, names = file["obs"], _index_of(file["obs"])
        if names is None:
            return self._frame(file, "obs")
        require_table(table, "obs", self.path)
        columns = {name: read_elem(table[name]) for name in map(str, table.attrs["column-order"])}
        return pd.DataFrame(columns, index=pd.RangeIndex(names.shape[0]))

    def _cell_ids(self, file: Any, obs: pd.DataFrame) -> np.ndarray:
        names = _index_of(file["obs"])
        return strings(obs.index) if names is None else read_strings(names)

    def _require_unique_cells(self, way_out: str) -> None:
        seen = SeenNames()
        for start in range(0, self.n_cells, NAMES_AT_A_TIME):
            some = self.cell_ids[start : start + NAMES_AT_A_TIME].tolist()
            if seen.first_repeated(some) is not None or any(not name or NUL in name for name in some):
                require_unique(self.cell_ids, "cell", self.path, way_out)  # says which

    def _check_shape(self, counts: Any) -> None:
        if self.encoding not in {"array", "csr_matrix", "csc_matrix"}:
            raise FormatError(
                f"{self.counts_key} is stored as {self.encoding}, which is not known",
                where=self.path,
                way_out="store it as CSR, in Python with adata.X = scipy.sparse.csr_matrix(adata.X)",
            )
        shape = counts.attrs["h5sparse_shape"] if "h5sparse_shape" in counts.attrs else counts.attrs.get("shape")
        found = tuple(map(int, counts.shape if self.encoding == "array" else shape))
        wanted = (self.n_cells, len(self.var))
        if found != wanted:
            raise FormatError(
                f"{self.counts_key} has shape {found}, but obs and var name {wanted}",
                where=self.path,
                way_out="write the file again",
            )

    def _check_chunks(self, counts: Any) -> None:
        """Refuse sparse counts of which a chunk is lost: Zarr would read zeros.

        Zarr leaves out chunks of nothing but zeros too. Values that are stored are none; and places are not all zero
        where there are more of them than lines. Of a dense matrix there is no telling.
        """
        if self.encoding == "array" or not isinstance(counts, zarr.Group) or not isinstance(self.path, Path):
            return  # of a store in object storage, whoever opened it has counted the objects
        n_lines = len(self.var) if self.encoding == "csc_matrix" else self.n_cells
        n_files = n_files_below(self.path)
        for name in ("data", "indices"):
            array: Any = counts[name]
            if name == "indices" and array.shape[0] <= n_lines:
                continue
            require_possible(array, f"{self.counts_key}/{name}", self.path, n_files)
            missing = array.nchunks - array.nchunks_initialized
            if missing > 0:  # all chunks of a shard count, also those past the end
                raise FormatError(
                    f"{missing:,} of {array.nchunks:,} chunks of {self.counts_key}/{name} are missing",
                    where=self.path,
                    way_out="copy or write it again",
                )

    def _check_n_lines(self, n_lines: int) -> None:
        wanted = len(self.var) if self.encoding == "csc_matrix" else self.n_cells
        if n_lines != wanted:
            raise FormatError(
                f"{self.counts_key}/indptr is of {n_lines:,} lines, where {wanted:,} are named",
                where=self.path,
                way_out="write the file again",
            )

    def _check_indptr(self, indptr: np.ndarray, n_values: int, n_indices: int) -> None:
        sound = indptr[0] == 0 and indptr[-1] == n_values == n_indices
        if not sound or np.any(np.diff(indptr) < 0):
            raise FormatError(
                f"{self.counts_key}/indptr does not match its {n_values:,} values",
                where=self.path,
                way_out="write the file again",
            )


class _OfAnnData:
    """What counts of any form have in common."""

    make_unique = MAKE_UNIQUE.format("var")

    def __init__(self, file: AnnDataFile) -> None:
        self._file = file
        self.path, self.var = file.path, file.var
        self.n_cells, self.has_cell_ids = file.n_cells, True
        self.remark = file.left_out

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. Read anew each time."""
        return self._file.obs

    @contextmanager
    def other_groups(self) -> Iterator[dict[str, Any]]:
        """Open obsm, varm and uns, as far as they are there."""
        with self._file.opened() as file:
            places = {"obsm": "obsm", "varm": self._file.varm_key, "uns": "uns"}
            yield {name: file[key] for name, key in places.items() if key in file and not hasattr(file[key], "dtype")}


class CellByCell(_OfAnnData):
    """CSR or dense counts, read in bounded blocks of cells."""

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        max_elements = min(max_elements, self._file.cache.max_elements)
        dense = self._file.encoding == "array"
        yield from (self._dense_blocks if dense else self._csr_blocks)(max_elements, first_cell)

    def _csr_blocks(self, max_elements: int, start: int) -> Iterator[CellBlock]:
        with self._file.sparse_counts() as (data, indices, indptr):
            while start < self.n_cells:
                stop = int(np.searchsorted(indptr, indptr[start] + max_elements, side="right")) - 1
                stop = min(max(stop, start + 1), self.n_cells)
                low, high = int(indptr[start]), int(indptr[stop])
                genes = np.asarray(indices[low:high])
                self._file.check_indices(genes, len(self.var), f"cell {self._file.cell_ids[start]}")
                parts = (numbers(np.asarray(data[low:high]), self.path), genes, indptr[start : stop + 1] - low)
                counts = sparse.csr_matrix(parts, shape=(stop - start, len(self.var)))
                yield CellBlock(counts, self._file.cells(start, stop))
                start = stop

    def _dense_blocks(self, max_elements: int, first_cell: int) -> Iterator[CellBlock]:
        rows = max(1, max_elements // max(1, len(self.var)))
        with self._file.opened() as file:
            counts = file[self._file.counts_key]
            for start in range(first_cell, self.n_cells, rows):
                block = numbers(np.asarray(counts[start : start + rows]), self.path)
                yield CellBlock(sparse.csr_matrix(block), self._file.cells(start, start + rows))


class GeneByGene(_OfAnnData):
    """CSC counts, read in slabs of values."""

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values in the order of the genes, at most `max_elements` at a time."""
        max_elements = min(max_elements, self._file.cache.max_elements)
        with self._file.sparse_counts() as (data, indices, indptr):
            for low in range(first_slab * max_elements, int(indptr[-1]), max_elements):
                high = min(low + max_elements, int(indptr[-1]))
                cells = np.asarray(indices[low:high])
                genes = _lines_of(indptr, low, high)
                self._file.check_indices(cells, self.n_cells, f"gene {self.var.index[genes[0]]}")
                yield Slab(cells, genes, numbers(np.asarray(data[low:high]), self.path))


def _lines_of(indptr: np.ndarray, low: int, high: int) -> np.ndarray:
    """Give the line (column of a CSC matrix) of each value from `low` to `high`."""
    first = int(np.searchsorted(indptr, low, side="right")) - 1
    last = int(np.searchsorted(indptr, high, side="left"))
    lengths = np.diff(np.clip(indptr[first : last + 1], low, high))
    return np.repeat(np.arange(first, last, dtype=np.int32), lengths)


def _index_of(table: Any) -> Any:
    """Give the array that names a table's rows, if it is one of text as AnnData writes it now; else None."""
    if table.attrs.get("encoding-type") != "dataframe" or table.attrs.get("encoding-version") != "0.2.0":
        return None
    names: Any = table.get(table.attrs.get("_index", ""))
    if names is None or names.ndim != 1:
        return None
    encoding = names.attrs.get("encoding-type"), names.attrs.get("encoding-version")
    return names if encoding == TEXT_ENCODING else None


def _is_there(file: Any, key: str) -> bool:
    return key in file and file[key].attrs.get("encoding-type") != "null"


def _encoding(counts: Any) -> str:
    if hasattr(counts, "shape"):
        return "array"
    old = counts.attrs.get("h5sparse_format")
    return f"{old}_matrix" if old else str(counts.attrs.get("encoding-type", DEFAULT_ENCODING))


def _old_frame(table: h5py.Dataset, file: Any) -> pd.DataFrame:
    """Read a table as AnnData stored it before version 0.7: one array of records, categories apart in uns."""
    records = table[()]
    names: tuple[str, ...] = records.dtype.names
    index = next((name for name in OLD_INDEX_FIELDS if name in names), names[0])
    columns = {name: _old_column(records[name], file, f"uns/{name}_categories") for name in names if name != index}
    return pd.DataFrame(columns, index=pd.Index(_text(records[index])))


def _old_column(values: np.ndarray, file: Any, categories_key: str) -> Any:
    if values.dtype.kind in "iu" and categories_key in file:
        return pd.Categorical.from_codes(values, _text(file[categories_key][()]))  # type: ignore[arg-type]
    return _text(values) if values.dtype.kind in "SO" else values


def _text(values: np.ndarray) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.ravel(values)]
