"""AnnData on disk: h5ad files of all versions, and their Zarr form; counts from X, raw or a layer.

CSR and dense counts are stored cell by cell, CSC gene by gene. A dataset of a store is an AnnData too: it is read with
the annotations that it had before the store added its own.
"""

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
from scnym.base.schema import (
    FORMAT_VERSION,
    N_COUNTS,
    OWN_OBS_COLUMNS,
    RENAMED,
    RENAMED_VAR,
    SOURCE_ROW,
    Scale,
    original_names,
)
from scnym.base.settings import GIGABYTE
from scnym.base.text import parse_json
from scnym.disk.atomic import FULL
from scnym.disk.chunks import n_files_below, require_chunks, require_possible
from scnym.disk.encode import codecs_for
from scnym.disk.formats.anndata_elements import (
    Branch,
    Unsound,
    encoding_of,
    holds,
    holds_counts,
    is_array,
    is_there,
    names_in,
    open_member,
    shape_of,
)
from scnym.disk.formats.anndata_tables import Table, read_names, read_table
from scnym.disk.formats.hdf5 import cache_for, unsound_hdf5, unsound_zarr
from scnym.disk.formats.source import (
    NAMES_AT_A_TIME,
    NUL,
    READING_FAULTS,
    CellBlock,
    ScatteredSource,
    SeenNames,
    Slab,
    Source,
    numbers,
    require_unique,
)
from scnym.disk.location import Location, zarr_store

RAW = "raw"
MATRICES = ("obsm", "uns")
LEFT_OUT = ("layers", "obsp", "varp")
OLD_RECORDS = ("obsm", "varm")
"""Before version 0.7 these were arrays of records."""
MAKE_UNIQUE = "make them unique first, in Python with adata.{}_names_make_unique()"
DEFAULT_ENCODING = "csr_matrix"


def open_anndata(
    path: Path, layer: str | None = None, *, max_memory_bytes: int = GIGABYTE, unsound: Unsound | None = None
) -> Source | ScatteredSource:
    """Open an AnnData on disk.

    Parameters
    ----------
    path
        An h5ad file, or the folder of a Zarr store.
    layer
        None for X, ``raw`` for raw/X, else the name of a layer.
    max_memory_bytes
        Memory cap, in bytes.
    unsound
        What must not be read, where it is known; else it is looked for.

    Raises
    ------
    FormatError
        If it is damaged.
    SettingsError
        If the memory cap is too small for its chunks.
    DataError
        If cell or gene names stand twice, or the layer is not there.
    """
    file = AnnDataFile(path, layer, max_memory_bytes=max_memory_bytes, unsound=unsound)
    return GeneByGene(file) if file.encoding == "csc_matrix" else CellByCell(file)


class AnnDataFile:
    """The parts of an AnnData on disk that say what its counts are; see `open_anndata`."""

    def __init__(
        self,
        path: Location,
        layer: str | None = None,
        group: str = "",
        *,
        max_memory_bytes: int = GIGABYTE,
        unsound: Unsound | None = None,
    ) -> None:
        self.path = path
        self._group = group
        self._options: dict[str, Any] = {}
        with self.opened() as file:
            is_old_raw = layer == RAW and "raw.X" in names_in(file)
            before = {True: "raw.", False: "raw/" if layer == RAW else ""}[is_old_raw]
            self.counts_key = f"layers/{layer}" if layer not in {None, RAW} else f"{before}X"
            self.varm_key = f"{before}varm"
            self.unsound = unsound or self._look_through(file)
            """What must not be read, or cannot be."""
            self._check_layer(file)
            obs = self._obs(file)
            self.n_cells, self.cell_ids = obs.n_rows, read_names(obs.names, "cell", path)
            """Ids of the cells, shape (n_cells,); see `strings`."""
            var = read_table(file, f"{before}var", "gene", path, self.unsound)
            self.var = var.frame(read_names(var.names, "gene", path))
            self.encoding = self._encoding(file[self.counts_key])
            self._check_shape(file[self.counts_key])
            self._check_chunks(file[self.counts_key])
            self.cache = cache_for(self._arrays(file), path, max_memory_bytes)
            columns = [f"{name} {column}" for name, table in (("obs", obs), ("var", var)) for column in table.left_out]
            said = [*self._left_out(file, columns), *obs.remarks, *var.remarks]
            self.remark = "; ".join(said) or None
            """What is not carried along, and how columns were understood, in words; None if there is nothing to say."""
            self._used = obs.used | var.used
        self._options = self.cache.options
        self._require_unique_cells(MAKE_UNIQUE.format("obs"))

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. Read anew each time, as it may be large."""
        with self.opened() as file:
            return self._obs(file).frame().set_axis(self.cells(0, self.n_cells))

    def cells(self, start: int, stop: int) -> pd.Index:
        """Return the ids of the cells from `start` to `stop`."""
        return pd.Index(self.cell_ids[start:stop].astype(object))

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open the file; what goes wrong while it is open is a fault of the file."""
        try:
            if self.path.is_dir():
                with codecs_for(self.path):
                    yield _open_zarr(self.path, self._group)
            else:
                with h5py.File(self.path, **self._options) as file:
                    yield file
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError) or getattr(fault, "errno", None) in FULL:  # of the disk that is written to
                raise
            raise FormatError(
                f"it is damaged or no AnnData ({fault})", where=self.path, way_out="copy or write it again"
            ) from fault

    @contextmanager
    def sparse_counts(self) -> Iterator[tuple[Any, Any, np.ndarray]]:
        """Yield data, indices and the indptr, checked, of CSR or CSC counts."""
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
        """Return the arrays that hold the counts."""
        counts = file[self.counts_key]
        return [counts] if self.encoding == "array" else [counts["data"], counts["indices"]]

    def branches(self, file: Any) -> Iterator[tuple[str, Branch | FormatError]]:
        """Yield obsm, varm and uns, as far as they are there, or why they cannot be read."""
        for kind, key in (("obsm", "obsm"), ("varm", self.varm_key), ("uns", "uns")):
            if self.unsound.at(key) is not None or holds(file, key):
                member = open_member(file, key, key, self.unsound, self._used if kind == "uns" else frozenset())
                if isinstance(member, Branch | FormatError):
                    yield kind, member

    def _members(self, file: Any) -> set[str]:
        """Return what is in the file, but for what must not be opened."""
        return {name for name in names_in(file) if self.unsound.at(name) is None}

    def _left_out(self, file: Any, columns: list[str]) -> list[str]:
        members = self._members(file)
        here = [kind for kind in LEFT_OUT if kind in members and not is_array(file[kind])]
        found = {kind: [name for name in names_in(file[kind]) if f"{kind}/{name}" != self.counts_key] for kind in here}
        words = [f"{kind} {', '.join(names)}" for kind, names in found.items() if names]
        taken = self.counts_key.replace(".", "/").partition("/")[0]
        others = [key for key in ("X", RAW) if key != taken and holds_counts(file, members, key)]
        old = [kind for kind in OLD_RECORDS if kind in members and is_array(file[kind])]
        unsound = [key for key in ("X", RAW, *LEFT_OUT) if key != taken and self.unsound.at(key) is not None]
        said = [*words, *others, *old, *unsound, *columns]
        return [f"left out: {'; '.join(said)}"] if said else []

    def _look_through(self, file: Any) -> Unsound:
        if isinstance(file, h5py.File) and isinstance(self.path, Path):
            return unsound_hdf5(file, self.path)
        if isinstance(file, zarr.Group) and isinstance(self.path, Path):
            parts = ("obs", "var", "raw/var", "raw.var", "raw.cat", self.counts_key, *MATRICES, self.varm_key)
            return unsound_zarr(file, dict.fromkeys(parts), self.path)
        return Unsound()

    def _check_layer(self, file: Any) -> None:
        self.unsound.require(self.counts_key)
        if is_there(file, self.counts_key):
            return
        members = self._members(file)
        layers = names_in(file["layers"]) if "layers" in members and not is_array(file["layers"]) else []
        known = [*layers, *([RAW] if holds_counts(file, members, RAW) else [])]
        raise DataError(
            f"there are no counts in {self.counts_key}",
            where=self.path,
            way_out=f"give --layer one of {examples(known)}" if known else "store the counts in X",
            mend=meant("--layer", self.counts_key.rpartition("/")[2], known),
        )

    def _obs(self, file: Any) -> Table:
        """Read the annotations, but for the ids."""
        return read_table(file, "obs", "cell", self.path, self.unsound)

    def _encoding(self, counts: Any) -> str:
        """Return how the counts are stored; where they do not say, their row pointers do."""
        if is_array(counts):
            return "array"
        said = encoding_of(counts)
        if said or "indptr" not in counts:
            return said or DEFAULT_ENCODING
        by_gene = counts["indptr"].shape[0] - 1 == len(self.var) != self.n_cells
        return "csc_matrix" if by_gene else DEFAULT_ENCODING

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
        wanted = (self.n_cells, len(self.var))
        found = tuple(counts.shape) if self.encoding == "array" else shape_of(counts) or wanted
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
        self.remark = file.remark

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. Read anew each time."""
        return self._file.obs

    @contextmanager
    def other_groups(self) -> Iterator[dict[str, Any]]:
        """Open obsm, varm and uns, as far as they are there."""
        with self._file.opened() as file:
            yield dict(self._file.branches(file))


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
    """Return the line (column of a CSC matrix) of each value from `low` to `high`."""
    first = int(np.searchsorted(indptr, low, side="right")) - 1
    last = int(np.searchsorted(indptr, high, side="left"))
    lengths = np.diff(np.clip(indptr[first : last + 1], low, high))
    return np.repeat(np.arange(first, last, dtype=np.int32), lengths)


def _open_zarr(path: Location, group: str) -> zarr.Group:
    """Open a group, without the description of all that is below it if that names what Zarr does not know here."""
    try:
        return zarr.open_group(zarr_store(path), mode="r", path=group)
    except READING_FAULTS:
        return zarr.open_group(zarr_store(path), mode="r", path=group, use_consolidated=False)


class RestoredDataset(CellByCell):
    """Reads a dataset of a finished store in bounded blocks.

    Parameters
    ----------
    path
        The store.
    name
        ``dataset_N``.

    Raises
    ------
    FormatError
        If the store is of a newer version, or damaged.
    """

    def __init__(self, path: Location, name: str) -> None:
        has_cell_ids = _has_cell_ids(path, name)
        if isinstance(path, Path):  # of one in object storage, whoever opened it has counted the objects
            with codecs_for(path):
                require_chunks(zarr.open_group(zarr_store(path), mode="r"), path, name)
        file = AnnDataFile(path, group=name)
        super().__init__(file)
        require_unique(self.var.index, "gene", path, "convert its source again")
        self.has_cell_ids = has_cell_ids
        with file.opened() as group:
            attributes = dict(group.attrs)
            self.n_counts_C = np.asarray(read_elem(group["obs"][N_COUNTS]), dtype=np.float64)
            """Library size of every cell, shape (C,)."""
            self.scale: Scale = attributes.get("scale", "counts")
            """What its values are."""
        self._new_names = attributes.get(RENAMED, {})
        self.var = _renamed(self.var, attributes.get(RENAMED_VAR, {}))

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells, as they came; the index holds their ids. Read anew each time."""
        obs = super().obs
        own = [column for column in OWN_OBS_COLUMNS if column in obs and column != SOURCE_ROW]
        return _renamed(obs.drop(columns=own), self._new_names)


def _renamed(frame: pd.DataFrame, renamed: dict[str, str]) -> pd.DataFrame:
    return frame.set_axis(original_names(list(frame.columns), renamed), axis="columns")


def _has_cell_ids(path: Location, name: str) -> bool:
    """Read from a store's description whether a dataset's cells have ids of their own."""
    try:
        attributes = parse_json((path / "zarr.json").read_bytes())["attributes"]
        written_as = int(attributes["format_version"])
        has_cell_ids = {source["dataset"]: bool(source["has_cell_ids"]) for source in attributes.get("sources", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        written_as, has_cell_ids = FORMAT_VERSION, {}
    if written_as > FORMAT_VERSION:
        raise FormatError(
            f"written in format {written_as}, newer than the {FORMAT_VERSION} known here",
            where=path,
            way_out="update scnym",
        )
    if name not in has_cell_ids:
        raise FormatError(
            "the store's description is damaged", where=path, way_out="copy it again, or convert the source again"
        )
    return has_cell_ids[name]
