"""A finished store, opened: annotations at once, counts row by row on request.

C cells, G genes, N stored values.
"""

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, cast

import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem
from pandas.api.types import union_categoricals
from zarr.errors import ZarrUserWarning

from scnym.base.errors import FormatError, MissingInputError, ScnymError, command, examples
from scnym.base.schema import FORMAT_VERSION, LOGARITHMS, N_COUNTS, STORE_ENCODING, STORE_SUFFIX
from scnym.disk.chunks import require_chunks
from scnym.disk.encode import codecs_for
from scnym.disk.formats.source import READING_FAULTS, read_strings, require_indptr, strings
from scnym.disk.location import Location, ObjectPath, location, zarr_store
from scnym.disk.manifest import Manifest, read_hashes, require_contained, require_dataset
from scnym.disk.obs_var import stacked
from scnym.disk.rows import CsrRows, Empty, RowReader

VALUE_KINDS = {"data": "iuf", "indices": "iu"}
"""Kinds of NumPy's types that counts and their genes are stored as; floats of 2 bytes are none."""


class Dataset:
    """One source of a store: its own cells, genes and counts.

    Parameters
    ----------
    path
        The store.
    name
        ``dataset_N``.
    root
        The store, opened, so that its description is not read again for each source; None to open it when needed.
    """

    def __init__(self, path: Location, name: str, root: zarr.Group | None = None) -> None:
        self.path, self.name, self._root = path, name, root
        self._opened_by = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process as a path; everything else is opened again there."""
        return {"path": self.path, "name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @cached_property
    def var(self) -> pd.DataFrame:
        """One row per gene; the index holds the gene names."""
        return cast("pd.DataFrame", self._element("var"))

    @cached_property
    def genes(self) -> tuple[str, ...]:
        """Gene names, in the order of the columns."""
        return tuple(self.var.index)

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations; the index holds the cell ids. Read anew each time, as it may be large."""
        return cast("pd.DataFrame", self._element("obs"))

    @property
    def annotations(self) -> pd.DataFrame:
        """What `obs` holds but for the ids, which take most of the memory; numbered from 0."""
        return pd.DataFrame({name: self.column(name) for name in self.columns}, index=pd.RangeIndex(self.n_cells))

    @property
    def cell_ids(self) -> np.ndarray:
        """Ids of the cells, as their source has them: NumPy's strings, shape (C,). Read anew each time."""
        return self._element(f"obs/{self._obs.attrs['_index']}", read_strings)

    @property
    def columns(self) -> list[str]:
        """Names of the annotations' columns."""
        return [str(name) for name in cast("list[str]", self._obs.attrs["column-order"])]

    def column(self, name: str) -> Any:
        """Read one column of the annotations; see `Store.column`."""
        if not self._has(name):
            raise FormatError(
                f"there is no column {name!r} in obs", where=f"{self.path}/{self.name}", way_out="name another"
            )
        return self._element(f"obs/{name}")

    def _has(self, column: str) -> bool:
        try:
            return column in self._obs
        except ValueError:  # of a name that leads elsewhere
            return False

    @property
    def values_dtype(self) -> np.dtype:
        """How the counts are stored."""
        return self._array("data").dtype

    @cached_property
    def n_counts_C(self) -> np.ndarray:
        """Library size of every cell, float64, shape (C,)."""
        return np.asarray(self.column(N_COUNTS), dtype=np.float64)

    @cached_property
    def indptr_C1(self) -> np.ndarray:
        """Where each row starts among the stored values, int64, shape (C + 1,)."""
        indptr_C1 = self._element("X/indptr", np.asarray)
        lengths = [self._array(name).shape[0] for name in ("data", "indices")]
        require_indptr(indptr_C1, max(0, len(indptr_C1) - 1), lengths, f"{self.path}/{self.name}/X")
        return indptr_C1.astype(np.int64, copy=False)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.indptr_C1) - 1

    @property
    def is_log(self) -> bool:
        """Whether the stored values are logarithms of normalised counts."""
        return self._group.attrs["scale"] in LOGARITHMS

    @property
    def bytes_per_element(self) -> int:
        """Memory of one decoded value with its gene, in bytes."""
        return self._array("data").dtype.itemsize + self._array("indices").dtype.itemsize

    def read_rows(self, rows_C: np.ndarray, empty: Empty = np.empty) -> CsrRows:
        """Read some rows.

        Parameters
        ----------
        rows_C
            Row numbers, ascending, each once, shape (C,).
        empty
            Gives the memory into which they are decoded.

        Raises
        ------
        ScnymError
            If the store was opened before the process was forked.
        FormatError
            If a chunk is damaged.
        """
        if os.getpid() != self._opened_by:
            raise ScnymError(
                "the store was opened in another process before a fork, where the codecs would hang",
                where=self.path,
                way_out='use DataLoader(..., multiprocessing_context="spawn")',
            )
        try:
            rows = self._rows.read(rows_C, empty)
        except FormatError as fault:
            raise FormatError(fault.what, where=f"{self.path}/{self.name}", way_out=fault.way_out) from fault
        genes_N = rows.indices_N.view(f"u{rows.indices_N.itemsize}")  # -1 is a large one
        if genes_N.max(initial=0) >= len(self.genes):  # compiled code would look them up unchecked
            raise FormatError(
                f"counts of rows {rows_C[0]} to {rows_C[-1]} name genes that do not exist",
                where=f"{self.path}/{self.name}",
                way_out=f"see {command('verify', self.path)}; copy the store again, or convert the source again",
            )
        if not rows.values_N.all():
            self._require_shards()
        return rows

    def _require_shards(self) -> None:
        """Refuse counts of which shards have gone since the store was opened: Zarr gives zeros, which are not stored.

        Raises
        ------
        FormatError
            If there are any.
        """
        counts = self._array("data")
        lost = counts.nchunks - counts.nchunks_initialized
        if lost:
            raise FormatError(
                f"{lost:,} of {counts.nchunks:,} shards of the counts have gone while they were read",
                where=f"{self.path}/{self.name}",
                way_out="copy the store again, or convert the source again",
            )

    def n_decoded(self, rows_C: np.ndarray, order_C: np.ndarray | None = None) -> int:
        """Count the stored values that `read_rows` decodes, in whole chunks, to give some rows.

        Parameters
        ----------
        rows_C
            Row numbers, ascending, each once.
        order_C
            Count for a store whose rows stood in this order; None for the order in which they are.
        """
        if order_C is None:
            return self._rows.n_decoded(rows_C)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.diff(self.indptr_C1)[order_C])])
        return RowReader(indptr, self._array("indices"), self._array("data")).n_decoded(rows_C)

    @cached_property
    def _rows(self) -> RowReader:
        return RowReader(self.indptr_C1, self._array("indices"), self._array("data"))

    def _element(self, name: str, read: Callable[[Any], Any] = read_elem) -> Any:
        """Read a table or an array whole.

        Raises
        ------
        FormatError
            If it is damaged.
        """
        try:
            return read(self._group[name])
        except READING_FAULTS as fault:
            raise FormatError(
                f"{name} cannot be read ({fault})",
                where=f"{self.path}/{self.name}",
                way_out=f"see {command('verify', self.path)}; copy the store again, or convert the source again",
            ) from fault

    @cached_property
    def _group(self) -> zarr.Group:
        with codecs_for(self.path):
            root: Any = zarr.open_group(zarr_store(self.path), mode="r") if self._root is None else self._root
            return require_dataset(root, self.name, self.path)

    @cached_property
    def _obs(self) -> zarr.Group:
        return cast("zarr.Group", self._group["obs"])

    def _array(self, name: str) -> zarr.Array:
        return self._arrays[name]

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array]:
        with codecs_for(self.path):
            arrays = {name: cast("zarr.Array", self._group[f"X/{name}"]) for name in VALUE_KINDS}
        for name, array in arrays.items():
            if array.dtype.kind not in VALUE_KINDS[name] or array.dtype == np.float16:
                raise FormatError(
                    f"X/{name} is stored as {array.dtype}, as in no store",
                    where=f"{self.path}/{self.name}",
                    way_out="copy the store again, or convert the source again",
                )
        return arrays


class Store:
    """A finished store.

    Parameters
    ----------
    path
        Its directory, or its URL, such as ``s3://bucket/cells.zarr``.

    Raises
    ------
    MissingInputError
        If nothing is there.
    FormatError
        If it is not a store, or one of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = location(path)
        if not self.path.exists():
            raise MissingInputError(
                "there is no such store", where=path, way_out="check the path, or make one with scnym convert"
            )
        if isinstance(self.path, Path):
            require_contained(self.path)
        try:
            with codecs_for(self.path), warnings.catch_warnings():
                # Zarr 3.4 reads a chunk length of zero as another, which no store has.
                warnings.filterwarnings("error", message="Array .*: The stored .* is invalid", category=ZarrUserWarning)
                root = zarr.open_group(zarr_store(self.path), mode="r")
            attributes = dict(root.attrs)
        except (*READING_FAULTS, ZarrUserWarning) as fault:
            if isinstance(fault, ScnymError):  # of object storage
                raise
            raise FormatError("not a Zarr store", where=path, way_out=made_by_converting(path)) from fault
        if attributes.get("encoding-type") != STORE_ENCODING:
            raise FormatError("a Zarr folder, but not a scnym store", where=path, way_out=made_by_converting(path))
        written_as = attributes.get("format_version")
        if isinstance(written_as, int) and written_as > FORMAT_VERSION:
            raise FormatError(
                f"written in format {written_as}, newer than the {FORMAT_VERSION} known here",
                where=path,
                way_out="update scnym",
            )
        try:
            manifest = Manifest.model_validate(attributes)
            self.sources, self.cell_names = manifest.sources, manifest.cell_names
            with codecs_for(self.path):
                if isinstance(self.path, ObjectPath):
                    _require_listed(self.path)
                else:
                    require_chunks(root, self.path)
        except READING_FAULTS as fault:
            if isinstance(fault, ScnymError):
                raise
            raise FormatError(
                "the store's description is damaged", where=path, way_out="copy it again, or convert the source again"
            ) from fault
        self.datasets = [Dataset(self.path, source.dataset, root) for source in self.sources]

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of all cells, datasets one after the other; the index names every cell. Read anew each time."""
        return self.annotations.set_axis(pd.Index(self.cell_ids.astype(object)))

    @property
    def annotations(self) -> pd.DataFrame:
        """What `obs` holds but for the names of the cells, which take most of the memory; numbered from 0."""
        return stacked([dataset.annotations for dataset in self.datasets])

    @property
    def cell_ids(self) -> np.ndarray:
        """Name of every cell, each once: its id, with the sample's name before it where samples share ids.

        NumPy's strings, which take half the memory of Python's; shape (C,). Read anew each time.
        """
        names = [dataset.cell_ids for dataset in self.datasets]
        if self.cell_names != "id":
            named = zip(self.sources, names, strict=True)
            names = [np.strings.add(strings([f"{source.sample}:"]), ids) for source, ids in named]
        return np.concatenate(names)

    def column(self, name: str) -> pd.Series:
        """Read one column of the annotations of all cells, without their ids, which take most of the memory.

        Raises
        ------
        FormatError
            If a source has no such column.
        """
        columns = [pd.Series(dataset.column(name)) for dataset in self.datasets]
        kinds = {c.cat.categories.dtype if isinstance(c.dtype, pd.CategoricalDtype) else None for c in columns}
        if len(kinds) == 1 and None not in kinds:
            return pd.Series(union_categoricals(columns, sort_categories=len(columns) > 1, ignore_order=True))
        return pd.concat(columns, ignore_index=True)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return sum(dataset.n_cells for dataset in self.datasets)

    @property
    def content_hash(self) -> str:
        """Names the counts of all sources, for the records of a run."""
        return "-".join(source.sha256[:16] for source in self.sources)


def open_store(path: str | os.PathLike[str]) -> Store:
    """Open a finished store; see `Store`."""
    return Store(path)


def made_by_converting(path: str | os.PathLike[str]) -> str:
    """Return how something that is there becomes a store."""
    target = PurePath(path).with_suffix(STORE_SUFFIX)
    named = f"make one: {command('convert', path, target)}"
    return "make one with scnym convert" if target == PurePath(path) else named


def _require_listed(path: ObjectPath) -> None:
    """Refuse a store in object storage with objects missing; to list them once takes fewer requests."""
    expected = read_hashes(path)
    missing = expected.keys() - path.listed().keys()
    if missing:
        raise FormatError(
            f"{len(missing):,} of {len(expected):,} objects are missing: {examples(sorted(missing))}",
            where=path,
            way_out="copy the store again, or convert the source again",
        )
