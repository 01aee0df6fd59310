"""One input on its way into a store: read in bounded blocks, checked, set aside in parts, written, and read back.

AnnData's own reader reads what was written before it counts as finished, since one element that it cannot read would
make the whole dataset unreadable; such elements are taken out again. Matrices are read back in part.

C cells, N stored values.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pandas as pd
import zarr
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset

from scnym.base.errors import DataError, ScnymError
from scnym.base.progress import SILENT, Progress, Task
from scnym.base.schema import FORMAT_VERSION, N_COUNTS, N_GENES, RENAMED, RENAMED_VAR, SOURCE_ROW, value_dtype
from scnym.base.settings import ConvertSettings
from scnym.disk.atomic import locked
from scnym.disk.doubled_cells import marks_of
from scnym.disk.encode import write_csr
from scnym.disk.external_sort import RowArranger, grouped_order
from scnym.disk.formats.anndata import RestoredDataset
from scnym.disk.formats.anndata_elements import is_dictionary, names_in, quiet_libraries
from scnym.disk.formats.genes import GenesOfCells, GenesOfValues
from scnym.disk.formats.source import (
    BYTES_PER_ELEMENT,
    GroupSource,
    Scattered,
    Source,
    TurnedSource,
    read_strings,
    strings,
)
from scnym.disk.inputs import Input, path_state
from scnym.disk.obs_var import carry_groups, is_plain, storable, with_own_columns, write_frames
from scnym.disk.parts import Part, Parts, ValueChecks, canonical, write_array
from scnym.disk.preflight import other_counts, with_table
from scnym.disk.values.library_size import library_sizes
from scnym.disk.values.scales import Reading, reading_of

AXES = {"obsm": "obs", "varm": "var"}
FEW = 2
"""Rows that are enough to see whether AnnData takes an element."""


def take_out_unreadable(group: Any) -> list[str]:
    """Read every element of an AnnData that was just written; take out what AnnData cannot read.

    Parameters
    ----------
    group
        The AnnData, in HDF5 or Zarr.

    Returns
    -------
    list of str
        What was taken out, such as ``obsm X_pca``.

    Raises
    ------
    ScnymError
        If AnnData cannot read the counts, or the names of cells or genes cannot be read.
    """
    with quiet_libraries():
        try:
            sparse_dataset(group["X"])[:1]
        except Exception as fault:
            raise ScnymError(f"AnnData cannot read the counts that were written ({fault})") from fault
        for name in ("obs", "var"):
            if not _reads_in_part(group[name][group[name].attrs["_index"]]):
                raise ScnymError(f"the names in {name} that were written cannot be read")
        columns = [f"{name} {column}" for name in AXES.values() for column in _unreadable_columns(group[name])]
        aligned = [f"{kind} {name}" for kind, axis in AXES.items() for name in _not_aligned(group, kind, axis)]
        return [*columns, *aligned, *(f"uns {name}" for name in _unreadable(group["uns"]))]


def _unreadable_columns(frame: Any) -> Iterator[str]:
    order, n_rows = [str(name) for name in frame.attrs["column-order"]], frame[frame.attrs["_index"]].shape[0]
    unreadable = [name for name in order if not _reads(frame[name], n_rows)]
    if unreadable:
        kept = [name for name in order if name not in unreadable]
        frame.attrs["column-order"] = np.array(kept, h5py.string_dtype()) if isinstance(frame, h5py.Group) else kept
    for name in unreadable:
        del frame[name]
        yield name


def _reads(element: Any, n_rows: int) -> bool:
    try:
        return len(cast("Any", read_elem(element))) == n_rows
    except Exception:  # noqa: BLE001 - whatever AnnData raises, it raises for its users too
        return False


def _not_aligned(group: Any, kind: str, axis: str) -> Iterator[str]:
    names = group[axis][group[axis].attrs["_index"]]
    for name in names_in(group[kind]):
        if not _is_aligned(group[kind][name], names):
            del group[kind][name]
            yield name


def _is_aligned(element: Any, names: Any) -> bool:
    """Whether AnnData takes an element for one of its rows or columns, of which these are the names."""
    if is_plain(element):
        return element.shape[0] == names.shape[0] and _reads_in_part(element)
    try:
        value: Any = read_elem(element)
        if value.shape[0] != names.shape[0]:
            return False
        some = AnnData(shape=(min(FEW, names.shape[0]), 0))
        if isinstance(value, pd.DataFrame):
            if not np.array_equal(strings(value.index), read_strings(names)):
                return False
            some.obs_names = list(value.index[:FEW])
        some.obsm["element"] = value[:FEW]
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _unreadable(branch: Any) -> Iterator[str]:
    """Take out what cannot be read of a dictionary; give the names."""
    for name in names_in(branch):
        element = branch[name]
        if is_dictionary(element):
            yield from (f"{name}/{below}" for below in _unreadable(element))
        elif not (_reads_in_part(element) if is_plain(element) else _can_be_read(element)):
            del branch[name]
            yield name


def _reads_in_part(array: Any) -> bool:
    """Whether the first rows can be read of an array, which may be too large to be read whole."""
    try:
        array[:FEW]
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _can_be_read(element: Any) -> bool:
    try:
        read_elem(element)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


MAX_BLOCK_ELEMENTS = 2**21
ENTRY, CELL_HASHES, CELL_MARKS, LOCK = "entry.json", "cells.npy", "marks.npy", "lock"
NOT_ANNOTATED = "not_annotated"
"""Why no cell of an input is in the table of annotations: in its entry until the store is finished."""


@dataclass(frozen=True)
class DatasetJob:
    """One input on its way into the store."""

    input: Input
    root: zarr.Group
    name: str
    folder: Path
    settings: ConvertSettings
    is_only: bool
    """Whether there is no other input, of whose cells a table of annotations may be."""
    progress: Progress = SILENT

    def entry(self) -> dict[str, Any]:
        """Write the dataset, unless an earlier run has; give its line of the store's manifest."""
        key = self._key()
        done = self._work / ENTRY
        with locked(self.folder / f"{self.name}.{LOCK}", self.input.path):  # a worker that is lost may still write
            found = json.loads(done.read_text()) if done.exists() else {}
            if found.get("key") != key:
                self._begin(key)
                entry = self._write()
                self._require_unchanged(key)
                with (self._work / CELL_HASHES).open("wb") as file:
                    write_array(file, entry.pop("cell_hashes"))
                with (self._work / CELL_MARKS).open("wb") as file:
                    write_array(file, entry.pop("cell_marks"))
                found = {"key": key, "entry": entry}
                _write_whole(done, json.dumps(found))
            for leftover in (self._work / "parts", self._work / "turned", self._work / "grouped"):
                shutil.rmtree(leftover, ignore_errors=True)
        return found["entry"]

    def cell_hashes(self) -> np.ndarray:
        """Hashes of the cells' ids, shape (C,)."""
        return np.load(self._work / CELL_HASHES, allow_pickle=False)

    def cell_marks(self) -> np.ndarray:
        """Return what tells its cells from others, shape (C,); of none if there is no other input (`marks_of`)."""
        return np.load(self._work / CELL_MARKS, allow_pickle=False)

    @property
    def _work(self) -> Path:
        return self.folder / f"{self.name}.work"

    @property
    def _max_elements(self) -> int:
        return min(MAX_BLOCK_ELEMENTS, self.settings.max_memory_bytes // BYTES_PER_ELEMENT)

    def _key(self) -> str:
        """Name everything that the dataset depends on."""
        settings = asdict(replace(self.settings, overwrite=False))
        lists = [
            path_state(Path(name)) for name in (self.settings.input_genes, self.settings.training_metadata) if name
        ]
        known = (self.input.fingerprint(), settings, lists, version("scnym"), FORMAT_VERSION)
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def _begin(self, key: str) -> None:
        """Go on with what an earlier run of the same job left, or start anew."""
        marker = self._work / "key"
        if not marker.exists() or marker.read_text() != key:
            shutil.rmtree(self._work, ignore_errors=True)
            self._work.mkdir(parents=True)
            if self.name in self.root:
                del self.root[self.name]
            _write_whole(marker, key)

    def _require_unchanged(self, key: str) -> None:
        """Refuse an input that has changed while it was read: of text that was cut short, lines would be missing."""
        if self.input.adata is None and self._key() != key:
            raise DataError(
                "it has changed while it was read", where=self.input.path, way_out="give the same command again"
            )

    def _write(self) -> dict[str, Any]:
        source = self._opened()
        parts = Parts(self._work / "parts")
        self._cut(source, parts)
        values = parts.value_range()
        reading = reading_of(source, parts, values, self.settings.counts_as, self._others)
        order_C, renamed = self._order(source, parts, reading)
        if reading.remark:
            self.progress.say(f"{self.input.sample}: values: {reading.remark}")
        row_lengths_C, stretches = parts.row_lengths(), iter(parts)
        if order_C is not None:
            stretches = self._regrouped(parts, order_C, len(source.var))
            row_lengths_C = row_lengths_C[order_C]
        var, renamed_var = storable(source.var)
        attributes = {"encoding-type": "anndata", "encoding-version": "0.1.0", "scale": reading.scale}
        group = self.root.require_group(self.name)
        group.attrs.put({**attributes, RENAMED: renamed, RENAMED_VAR: renamed_var})
        with self.progress.task(f"write {source.path.name}", total=len(row_lengths_C), unit="cells") as task:
            content_hash = write_csr(
                group,
                _counted(map(reading.stored, stretches), task),
                row_lengths_C,
                n_genes=len(source.var),
                values_dtype=value_dtype(values.high, integral=values.integral),
                profile=self.settings.profile,
                max_memory_bytes=self.settings.max_memory_bytes,
                journal=self._work / "written.json",
            )
        obs, _, why_not = self._annotated(source, parts, reading)
        if order_C is not None:
            obs = obs.iloc[order_C].assign(**{SOURCE_ROW: order_C})
        write_frames(group, obs, var)
        self._carry_groups(source, group, order_C)
        return {
            "dataset": self.name,
            "sample": self.input.sample,
            "file": source.path.name,
            "sha256": content_hash,
            "n_cells": len(obs),
            "n_genes": len(source.var),
            "has_cell_ids": source.has_cell_ids,
            "scale": reading.scale,
            "cluster_by": self.settings.cluster_by,
            NOT_ANNOTATED: why_not,
            "cell_marks": self._marks(obs, has_cell_ids=source.has_cell_ids),
            "cell_hashes": pd.util.hash_array(obs.index.to_numpy(dtype=object), categorize=False),
        }

    def _marks(self, obs: pd.DataFrame, *, has_cell_ids: bool) -> np.ndarray:
        """Return what tells the cells from those of other inputs; ids that were made up tell nothing."""
        told = obs if has_cell_ids and not self.is_only else obs.iloc[:0]
        return marks_of(told.index, told[N_COUNTS].to_numpy(), told[N_GENES].to_numpy())

    def _carry_groups(self, source: Source, group: zarr.Group, order_C: np.ndarray | None) -> None:
        """Take along what the source holds beside counts, obs and var; say what cannot be."""
        original = source.source if isinstance(source, TurnedSource) else source
        left_out: list[str] = []
        if isinstance(original, GroupSource):
            with original.other_groups() as groups:
                memory = self.settings.max_memory_bytes
                genes_G = original.kept_G if isinstance(original, GenesOfCells | GenesOfValues) else None
                left_out = carry_groups(groups, group, max_memory_bytes=memory, order_C=order_C, genes_G=genes_G)
        left_out += take_out_unreadable(group)
        if left_out:
            self.progress.say(
                f"{self.input.sample}: left out, since it cannot be read or stored: {', '.join(left_out)}"
            )

    def _opened(self) -> Source:
        source = self.input.open(self.settings)
        if isinstance(source, Scattered):
            return TurnedSource(source, self._work / "turned", self.progress)
        return source

    def _cut(self, source: Source, parts: Parts) -> None:
        """Read the source once into parts, from where an earlier run stopped."""
        if parts.is_whole:
            return
        checks = ValueChecks(source.path, source.var.index, self._others)
        with self.progress.task(f"convert {source.path.name}", total=source.n_cells, unit="cells") as task:
            task.advance(parts.n_cells)
            for block in source.blocks(self._max_elements, parts.n_cells):
                cells = block.cells
                checks.check(block.counts_CG, cells)
                counts_CG = canonical(block.counts_CG)
                parts.add(counts_CG, cells, checks.range_of(counts_CG, cells))
                task.advance(len(cells))
        if not parts.n_cells or not len(source.var):
            raise DataError("there are no cells or no genes in it", where=source.path, way_out="check the file")
        parts.close()

    def _others(self) -> tuple[str, dict[str, object]]:
        return other_counts(self.input, self.settings.layer)

    def _order(self, source: Source, parts: Parts, reading: Reading) -> tuple[np.ndarray | None, dict[str, str]]:
        """Return the order that brings classes together, None as it is; and which columns are stored by other names.

        What is wrong with the annotations is found here, before any counts are written. They are not kept until then:
        the ids of the cells take more memory than all else.
        """
        obs, renamed, _ = self._annotated(source, parts, reading, is_first=True)
        if self.settings.cluster_by is None:
            return None, renamed
        stored_name = {old: new for new, old in renamed.items()}
        return grouped_order(obs[stored_name.get(self.settings.cluster_by, self.settings.cluster_by)]), renamed

    def _annotated(
        self, source: Source, parts: Parts, reading: Reading, *, is_first: bool = False
    ) -> tuple[pd.DataFrame, dict[str, str], str]:
        """Return the annotations to store: the source's, the manifest's, the table's and our own.

        With them come the old names of columns (`with_own_columns`), and why the table has no cell, if it has none.
        """
        obs = source.obs  # which may be read anew each time
        is_news = obs is None and is_first  # else `check_source` has said it
        obs = pd.DataFrame(index=parts.cells()) if obs is None else obs
        obs = obs.assign(**{name: pd.Categorical([value]).repeat(len(obs)) for name, value in self._columns(obs)})
        progress = self.progress if is_news else SILENT
        joined = with_table(obs, self.input, source, self.settings, progress, is_only=self.is_only)
        obs = joined.obs
        if isinstance(source, RestoredDataset) and self.settings.library_size_column is None:
            totals_C = source.n_counts_C
        else:
            totals_C = library_sizes(obs, self.settings.library_size_column, reading, parts, source.path)
        own = with_own_columns(obs, totals_C=totals_C, n_genes_C=parts.row_lengths(), sample=self.input.sample)
        return (*own, joined.why_not)

    def _columns(self, obs: pd.DataFrame) -> Iterator[tuple[str, str]]:
        """Yield the manifest's columns; one that the cells have already is not replaced."""
        yield from ((name, value) for name, value in self.input.columns.items() if name not in obs)

    def _regrouped(self, parts: Parts, order_C: np.ndarray, n_genes: int) -> Iterator[Part]:
        """Yield the cells in a new order, by way of files."""
        position_C = np.empty_like(order_C)
        position_C[order_C] = np.arange(len(order_C))
        arranger = RowArranger(self._work / "grouped", len(order_C), n_genes)
        first_cell = 0
        with self.progress.task(f"group by {self.settings.cluster_by}", total=len(order_C), unit="cells") as task:
            for number, part in enumerate(parts):
                stop = first_cell + len(part.row_lengths_C)
                if number >= arranger.n_slabs:
                    arranger.add_rows(position_C[first_cell:stop], part.row_lengths_C, part.indices_N, part.values_N)
                first_cell = stop
                task.advance(len(part.row_lengths_C))
        for counts_CG in arranger.blocks(self._max_elements):
            yield Part(counts_CG.data, counts_CG.indices, np.diff(counts_CG.indptr))


def _counted(parts: Iterable[Part], task: Task) -> Iterator[Part]:
    """Pass parts through, and say how many cells they were."""
    for part in parts:
        yield part
        task.advance(len(part.row_lengths_C))


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text)
    unfinished.rename(path)
