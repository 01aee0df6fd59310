"""What a path is and what is in it, before anything is done with it: a raw input, a store, or a model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, MissingInputError, OutputExistsError, SettingsError
from scnym.base.schema import OWN_OBS_COLUMNS
from scnym.base.settings import ConvertSettings
from scnym.disk.features import GeneNaming, gene_naming
from scnym.disk.formats.detect import AnySource, is_readable, is_store
from scnym.disk.formats.source import Scattered, ScatteredSource, Slab
from scnym.disk.inputs import Input, gather
from scnym.disk.location import Location, ObjectPath, location
from scnym.disk.parts import Part, PartsInMemory, ValueChecks, canonical
from scnym.disk.preflight import other_counts
from scnym.disk.store import Store
from scnym.disk.values.library_size import library_sizes
from scnym.disk.values.scales import reading_of, require_untold
from scnym.model.snapshot import Snapshot
from scnym.runs.output_tree import FINAL_FOLDER, MODEL_FILE, final_model
from scnym.runs.reports.training import write_model_card

SAMPLE_ELEMENTS = 2**20
"""Values looked at to say what they are."""
MAX_SCATTERED = 2**23
"""Values that are brought in the order of cells for that, where they do not stand in it; they take 160 MB."""
MAX_CLASSES = 500
"""A column with more different values names something else than classes."""
CONVERTED_PER_SECOND = 30e6
"""Stored values that a conversion reads in a second on 2 cores (``benchmarks/results/convert.md``)."""
TEXT_BYTES_PER_SECOND = {".gz": 7e6, "": 100e6}
"""Bytes of text that a conversion reads in a second, gzipped and plain (the same)."""
STREAMED_PER_SECOND = 200e6
"""Stored values that a stream gives in a second on 2 cores (``benchmarks/results/stream.md``)."""
STORED_BYTES = 1.7
"""Bytes that one stored value takes in a store of the profile `fast`."""


@dataclass(frozen=True, kw_only=True)
class SourceInspection:
    """One source of cells."""

    sample: str
    path: Location
    n_cells: int | None
    """None where only reading the whole file would tell."""
    n_genes: int
    genes: GeneNaming
    columns: dict[str, dict[str, int]]
    """Columns of annotations that may hold classes: cells of each, the most frequent first."""
    values: str
    """What the values are, or why they cannot be used."""
    is_usable: bool
    values_per_cell: float | None
    """Stored values of a cell, on average over those looked at."""
    remark: str | None = None
    """How the file was understood, where the user should know."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a path is."""

    kind: Literal["input", "store", "model"]
    path: Location
    size_bytes: int
    sources: tuple[SourceInspection, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)
    """Of a model: its card."""
    remarks: tuple[str, ...] = ()
    """How raw inputs were understood, and which files of a folder are left out."""

    @property
    def n_cells(self) -> int | None:
        """Cells of all sources together; None if those of one are not known."""
        counts = [source.n_cells for source in self.sources]
        return None if any(count is None for count in counts) else sum(count or 0 for count in counts)

    @property
    def n_values(self) -> float | None:
        """Stored values of all sources together, about."""
        if self.n_cells is None:
            return None
        return sum((one.n_cells or 0) * (one.values_per_cell or 0) for one in self.sources)

    def estimates(self) -> dict[str, float]:
        """Return size and times to expect on 2 cores: bytes of the store, seconds to convert and to stream once."""
        if not self.n_values:
            return {"convert_seconds": self._seconds_by_size()} if self.kind == "input" else {}
        streamed = {"epoch_seconds": self.n_values / STREAMED_PER_SECOND}
        if self.kind == "store":
            return streamed
        return {
            "store_bytes": self.n_values * STORED_BYTES,
            "convert_seconds": self.n_values / CONVERTED_PER_SECOND,
            **streamed,
        }

    def _seconds_by_size(self) -> float:
        """Return the time to convert where the number of values is not known before they are read."""
        is_gzip = any(source.path.suffix.lower() == ".gz" for source in self.sources)
        return self.size_bytes / TEXT_BYTES_PER_SECOND[".gz" if is_gzip else ""]


def inspect(path: str | Path, settings: ConvertSettings | None = None, *, card: str | Path | None = None) -> Inspection:
    """Look at a raw input, a store or a model, without reading more than a sample of the counts.

    Parameters
    ----------
    path
        What to look at. Of the folder of a run it is the final model.
    settings
        How a raw input is read.
    card
        Of a model: where to write its card, as Markdown. Nothing that exists is replaced.

    Raises
    ------
    UserError
        If it is not there, of no known format, or damaged.
    """
    place, settings = _with_model(location(path)), settings or ConvertSettings()
    is_model = isinstance(place, Path) and place.suffix == ".safetensors"
    if card is not None and not is_model:
        raise SettingsError(
            "only models have a card",
            where="--card",
            way_out="give a model.safetensors, or the folder of a training run",
        )
    if card is not None and Path(card).exists():
        raise OutputExistsError("it exists already", where=card, way_out="give --card another name")
    if isinstance(place, Path) and is_model:
        if card is not None:
            write_model_card(place, Path(card))
        return Inspection(kind="model", path=place, size_bytes=_size(place), model=_card(place))
    if is_store(place):
        store = Store(place)
        require_untold((source.scale for source in store.sources), settings.counts_as, place)
        sources = tuple(_of_dataset(store, number) for number in range(len(store.datasets)))
        return Inspection(kind="store", path=place, size_bytes=_size(place), sources=sources)
    gathered = gather([path])
    remarks = list(gathered.lines())
    found: list[SourceInspection] = []
    for one in gathered.inputs:
        source = one.open(settings)
        remarks += [f"{one.sample}: {source.remark}"] if source.remark else []
        found.append(_of_input(one, source, settings))
    return Inspection(
        kind="input",
        path=place,
        size_bytes=sum(_size(one.path) for one in gathered.inputs),
        sources=tuple(found),
        remarks=tuple(remarks),
    )


def _with_model(place: Location) -> Location:
    """Return the model of a run's folder, whose tables are no counts; any other place as it is."""
    if not isinstance(place, Path) or not place.is_dir():
        return place
    model = final_model(place)
    if model.is_file():
        return model
    runs = sorted(
        file.parents[1] for depth in ("*", "*/*") for file in place.glob(f"{depth}/{FINAL_FOLDER}/{MODEL_FILE}")
    )
    if not runs or is_readable(place):
        return place
    raise MissingInputError(
        "a folder of runs, which has no model of its own",
        where=place,
        way_out=f"give that of one run: {', '.join(map(str, runs[:6]))}",
        mend={str(place): runs[0]},
    )


def _size(path: Location) -> int:
    if isinstance(path, ObjectPath):
        return sum(n_bytes for n_bytes, _ in path.listed().values())
    if path.is_dir():
        return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    return path.stat().st_size if path.exists() else 0


def _card(path: Path) -> dict[str, Any]:
    card = Snapshot.load(path).card
    content = card.model_dump(mode="json", exclude={"genes"})
    return {**content, "n_genes": len(card.genes), "gene_naming": gene_naming(card.genes)}


def _of_dataset(store: Store, number: int) -> SourceInspection:
    dataset, source = store.datasets[number], store.sources[number]
    return SourceInspection(
        sample=source.sample,
        path=store.path,
        n_cells=dataset.n_cells,
        n_genes=len(dataset.genes),
        genes=gene_naming(dataset.genes),
        columns=dict(_classes(dataset.obs)),
        values=source.scale,
        is_usable=True,
        values_per_cell=float(dataset.indptr_C1[-1]) / dataset.n_cells,
    )


def _of_input(one: Input, source: AnySource, settings: ConvertSettings) -> SourceInspection:
    obs = source.obs
    values, is_usable, values_per_cell = _values(source, one, settings)
    return SourceInspection(
        sample=one.sample,
        path=one.path,
        n_cells=None if obs is None else len(obs),
        n_genes=len(source.var),
        genes=gene_naming(tuple(source.var.index)),
        columns={} if obs is None else dict(_classes(obs)),
        values=values,
        is_usable=is_usable,
        values_per_cell=values_per_cell,
        remark=source.remark,
    )


def _values(source: AnySource, one: Input, settings: ConvertSettings) -> tuple[str, bool, float | None]:
    """Return what the values of the first cells are, whether they can be used, and how many a cell has."""
    try:
        if isinstance(source, Scattered):
            slabs = _first_slabs(source)
            if sum(len(slab.values_N) for slab in slabs) > MAX_SCATTERED:
                return _words_of_some(slabs, source), True, None
            counts_CG = _arranged(slabs, (len(source.obs), len(source.var)))
        else:
            block = next(iter(source.blocks(SAMPLE_ELEMENTS)), None)
            counts_CG = sparse.csr_matrix((0, len(source.var))) if block is None else block.counts_CG
        if not counts_CG.shape[0]:
            return "no cells", False, None
        return _words_of_cells(counts_CG, source, one, settings), True, counts_CG.nnz / counts_CG.shape[0]
    except DataError as fault:
        return fault.what, False, None


def _words_of_cells(counts_CG: sparse.csr_matrix, source: AnySource, one: Input, settings: ConvertSettings) -> str:
    """Return what the values of whole cells are, as a conversion decides it.

    Raises
    ------
    DataError
        If they cannot be used.
    """
    others = partial(other_counts, one, settings.layer)
    checks = ValueChecks(source.path, source.var.index, others)
    obs = pd.DataFrame(index=pd.RangeIndex(counts_CG.shape[0])) if source.obs is None else source.obs
    obs = obs.iloc[: counts_CG.shape[0]]
    checks.check(counts_CG, obs.index)
    counts_CG = canonical(counts_CG)
    values = checks.range_of(counts_CG, obs.index)
    parts = PartsInMemory([Part(counts_CG.data, counts_CG.indices, np.diff(counts_CG.indptr))])
    reading = reading_of(source, parts, values, settings.counts_as, others)
    library_sizes(obs, settings.library_size_column, reading, parts, source.path)
    return reading.words


def _first_slabs(source: ScatteredSource) -> list[Slab]:
    """Return all values of a source that does not hold its cells one by one, or more than are arranged to look at."""
    slabs, n_values = list[Slab](), 0
    for slab in source.slabs(SAMPLE_ELEMENTS):
        slabs.append(slab)
        n_values += len(slab.values_N)
        if n_values > MAX_SCATTERED:
            break
    return slabs


def _arranged(slabs: list[Slab], shape: tuple[int, int]) -> sparse.csr_matrix:
    if not slabs:
        return sparse.csr_matrix(shape)
    arrays = ([getattr(slab, name) for slab in slabs] for name in ("values_N", "cells_N", "genes_N"))
    values_N, cells_N, genes_N = (np.concatenate(parts) for parts in arrays)
    return sparse.csr_matrix((values_N, (cells_N, genes_N)), shape)


def _words_of_some(slabs: list[Slab], source: ScatteredSource) -> str:
    """Return as much as values tell without their whole cells.

    Raises
    ------
    DataError
        If they cannot be used.
    """
    values_N = np.concatenate([slab.values_N for slab in slabs])
    if not (np.isfinite(values_N).all() and values_N.min() >= 0):
        raise DataError("negative or not finite values, as scaled ones are", where=source.path)
    return "counts" if np.array_equal(values_N, np.rint(values_N)) else "not whole numbers; converting will tell"


def _classes(obs: pd.DataFrame) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the columns that may hold classes, with the cells of each."""
    for name in obs.columns.difference(list(OWN_OBS_COLUMNS), sort=False):
        column = obs[name]
        if pd.api.types.is_float_dtype(column.dtype) or isinstance(column.dtype, pd.DatetimeTZDtype):
            continue
        counts = column.value_counts()
        counts = counts[counts > 0]
        if 2 <= len(counts) <= min(MAX_CLASSES, max(2, len(obs) // 2)):
            yield str(name), {str(label): int(count) for label, count in counts.items()}
