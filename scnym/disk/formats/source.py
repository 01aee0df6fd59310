"""What every input format becomes: a `Source` that yields `CellBlock` after `CellBlock`.

A source whose values are not stored cell by cell is a `ScatteredSource`; `TurnedSource` sorts its values by cell.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, examples
from scnym.base.progress import Progress
from scnym.base.schema import value_dtype
from scnym.disk.external_sort import RowArranger
from scnym.disk.location import Location

try:
    from anndata._io.specs.registry import IORegistryError  # it has no public name, and no base of its own
except ImportError:  # it has moved: see tests/test_versions.py
    IORegistryError = NotImplementedError

NUL = "\0"
NAMES_AT_A_TIME = 2**16
BYTES_PER_ELEMENT = 96
"""Memory that one stored value takes on its way from a raw file to a part, copies included, in bytes."""
READING_FAULTS = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    MemoryError,
    SystemError,
    IORegistryError,
)
"""What h5py, zarr, anndata and loompy raise on files that are damaged or made by hand."""


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Consecutive cells of one source. C cells, G genes."""

    counts_CG: sparse.csr_matrix
    """The values as they stand in the file, shape (C, G)."""
    cells: pd.Index
    """Ids of the cells, as text."""


@dataclass(frozen=True, slots=True)
class Slab:
    """Some values of a source, with their places, in any order. N stored values."""

    cells_N: np.ndarray
    """Row of each value, from 0, a whole-number dtype."""
    genes_N: np.ndarray
    """Column of each value, from 0, a whole-number dtype."""
    values_N: np.ndarray
    """The values as they stand in the file; zeros may be left out."""


class Source(Protocol):
    """A raw file that holds its values cell by cell, opened and checked as far as possible without reading them."""

    @property
    def path(self) -> Location:
        """Where it is."""
        ...

    @property
    def var(self) -> pd.DataFrame:
        """One row per gene; the index holds the gene names."""
        ...

    @property
    def n_cells(self) -> int | None:
        """Number of cells; None where only reading the file would tell."""
        ...

    @property
    def obs(self) -> pd.DataFrame | None:
        """One row per cell; the index holds the cell ids. None where only reading the file would tell.

        It may be read anew each time, as it may be large.
        """
        ...

    @property
    def remark(self) -> str | None:
        """How the file was understood, where the user should know: one sentence."""
        ...

    @property
    def has_cell_ids(self) -> bool:
        """Whether the cells' ids stand in the file; otherwise they are made up, ``cell_0`` and so on."""
        ...

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one cell at least.

        Where one block ends does not depend on `first_cell` if that is where a block ended before.
        """
        ...


class ScatteredSource(Protocol):
    """A raw file whose values do not stand cell by cell: genes x cells, column by column, or in any order."""

    @property
    def path(self) -> Location:
        """Where it is."""
        ...

    @property
    def var(self) -> pd.DataFrame:
        """One row per gene; the index holds the gene names."""
        ...

    @property
    def obs(self) -> pd.DataFrame:
        """One row per cell; the index holds the cell ids."""
        ...

    @property
    def remark(self) -> str | None:
        """How the file was understood, where the user should know: one sentence."""
        ...

    @property
    def has_cell_ids(self) -> bool:
        """Whether the cells' ids stand in the file."""
        ...

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values, at most `max_elements` at a time, or those of one line of a text table if these are more.

        Slabs before `first_slab` are not parsed again.
        """
        ...


@runtime_checkable
class Scattered(Protocol):
    """What tells a `ScatteredSource` from others. A check against that itself would read its annotations."""

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values; see `ScatteredSource`."""
        ...


@runtime_checkable
class GroupSource(Protocol):
    """A raw file that holds more than counts, obs and var."""

    def other_groups(self) -> AbstractContextManager[dict[str, Any]]:
        """Open what can be carried along, of HDF5 or Zarr: obsm, varm and uns."""
        ...


def require_unique(names: Iterable[str], noun: str, path: Location, way_out: str) -> None:
    """Refuse names that stand twice, are empty, or hold a NUL byte, which HDF5 and C would cut them at.

    Raises
    ------
    DataError
        With examples of the names and the way out.
    """
    names = names if isinstance(names, pd.Index) else pd.Index(list(names), dtype=object)
    if names.is_unique and "" not in names and not any(NUL in str(name) for name in names):
        return  # of millions of barcodes, each sound, none need be counted
    counted = Counter(names)
    repeated = [name for name, times in counted.items() if times > 1]
    if repeated:
        raise DataError(f"duplicate {noun} names {examples(repeated)}", where=path, way_out=way_out)
    if "" in counted:
        raise DataError(f"a {noun} has an empty name", where=path, way_out=f"name every {noun}")
    broken = [name for name in counted if NUL in str(name)]
    if broken:
        raise DataError(f"a NUL byte in {noun} names {examples(broken)}", where=path, way_out=way_out)


@dataclass
class SeenNames:
    """Notices a name that stood before; keeps 8 bytes per name, its hash.

    With ten million names the chance that two different ones share a 64-bit hash is below one in a hundred thousand.
    """

    _runs: list[np.ndarray] = field(default_factory=list)
    """Sorted hashes; every run is at least twice as long as the next, so there are few."""

    def first_repeated(self, names: Sequence[str]) -> int | None:
        """Take in some names; give the position of the first that stood before, among them or earlier."""
        if not names:
            return None
        hashes = pd.util.hash_array(np.array(names, dtype=object), categorize=False)
        own = np.sort(hashes)
        before = [own[run[np.minimum(np.searchsorted(run, own), len(run) - 1)] == own] for run in self._runs]
        if (own[1:] == own[:-1]).any() or any(map(len, before)):
            repeated = pd.Index(hashes).duplicated() | np.isin(hashes, np.concatenate([own[:0], *before]))
            return int(repeated.argmax())
        self._runs.append(own)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]))]
        return None


def names_or_ids(symbols: Sequence[str], ids: Sequence[str]) -> list[str]:
    """Return a name for each gene: its symbol, or its id where the symbol is empty or several genes share it."""
    times = Counter(symbols)
    return [symbol if symbol and times[symbol] == 1 else id_ for symbol, id_ in zip(symbols, ids, strict=True)]


def require_indptr(indptr: np.ndarray, n_rows: int, lengths: Sequence[int], place: str) -> None:
    """Refuse row pointers that do not fit the rows, or the arrays of values and positions they point into.

    Raises
    ------
    FormatError
        Names the place.
    """
    sound = len(indptr) == n_rows + 1 and indptr[0] == 0 and all(indptr[-1] == length for length in lengths)
    if not sound or np.any(indptr[1:] < indptr[:-1]):  # their differences may overflow
        raise FormatError(
            f"indptr does not match {n_rows:,} rows and {lengths[0]:,} values", where=place, way_out="write it again"
        )


def row_spans(indptr: np.ndarray, max_elements: int, first_row: int = 0) -> Iterator[tuple[int, int]]:
    """Cut the rows of a CSR matrix into stretches of at most `max_elements` values, one row at least.

    Parameters
    ----------
    indptr
        Row pointers, shape (n_rows + 1,).
    max_elements
        Most values in a stretch.
    first_row
        Where to begin.

    Yields
    ------
    tuple of int
        First row of a stretch, and the row behind its last.
    """
    n_rows = len(indptr) - 1
    while first_row < n_rows:
        stop = int(np.searchsorted(indptr, indptr[first_row] + max_elements, side="right")) - 1
        stop = min(max(stop, first_row + 1), n_rows)
        yield first_row, stop
        first_row = stop


def numbers(values: np.ndarray, path: Location) -> np.ndarray:
    """Return values in a dtype that scipy knows: native byte order, 32 bits at least if they are floats.

    Raises
    ------
    FormatError
        If they are no real numbers.
    """
    if values.dtype.kind not in "biuf":
        raise FormatError(
            f"the counts are stored as {values.dtype}, not as numbers", where=path, way_out="store counts"
        )
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    is_half = values.dtype.kind == "f" and values.dtype.itemsize < 4
    return values.astype(np.float32 if is_half else values.dtype.newbyteorder("="), copy=False)


def smallest(values_N: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest dtype that holds them, for they may go through files."""
    high = float(values_N.max(initial=0))
    if values_N.dtype.kind not in "iu" or values_N.min(initial=0) < 0 or high >= 2**32:
        return values_N
    return values_N.astype(value_dtype(high, integral=True), copy=False)


def strings(names: Iterable[str] | np.ndarray) -> np.ndarray:
    """Return names as NumPy's strings, which take a fifth to a half of the memory of Python's.

    Of a dtype of their own: the first array of a dtype leaves its long strings with it, and they live as long as that.
    """
    return np.asarray(names).astype(np.dtypes.StringDType(), copy=False)


def read_strings(array: Any) -> np.ndarray:
    """Read names from HDF5 or Zarr a few at a time: all at once, each would be an object of its own on its way."""
    names = np.empty(array.shape, np.dtypes.StringDType())
    text = array.asstr("utf-8") if hasattr(array, "asstr") else array  # R calls ASCII what is not
    step = max([NAMES_AT_A_TIME, *(array.chunks or ())])  # no chunk is decoded twice
    for start in range(0, len(names), step):
        some = text[start : start + step]
        names[start : start + step] = np.char.decode(some, "utf-8") if some.dtype.kind == "S" else some
    return names


def as_text(index: pd.Index) -> pd.Index:
    """Return names as text; the same index if they are."""
    return index if index.inferred_type == "string" else index.astype(str)


class TurnedSource:
    """Yields the cells of a scattered source in order, in bounded memory, by way of files.

    Parameters
    ----------
    source
        What is turned.
    folder
        Where its values are set aside; what an earlier, interrupted run has set aside is not read again.
    """

    def __init__(self, source: ScatteredSource, folder: Path, progress: Progress) -> None:
        self.source = source
        """What is turned."""
        self._folder = folder
        self._progress = progress
        self.path, self.var = source.path, source.var
        self.has_cell_ids, self.remark = source.has_cell_ids, source.remark
        self._cell_ids = strings(source.obs.index)
        self.n_cells = len(self._cell_ids)

    @property
    def obs(self) -> pd.DataFrame:
        """Annotations of the cells; the index holds their ids. It may be read anew each time."""
        return self.source.obs

    def blocks(self, max_elements: int, first_cell: int = 0) -> Iterator[CellBlock]:
        """Yield the cells from `first_cell` on, in order, at most `max_elements` values at a time, one at least."""
        arranger = self._arranged(max_elements)
        for counts_CG in arranger.blocks(max_elements, first_cell):
            n_cells = counts_CG.shape[0]
            yield CellBlock(counts_CG, pd.Index(self._cell_ids[first_cell : first_cell + n_cells].astype(object)))
            first_cell += n_cells

    def _arranged(self, max_elements: int) -> RowArranger:
        arranger = RowArranger(self._folder, self.n_cells, len(self.var))
        with self._progress.task(f"turn {self.path.name}", total=None, unit="values") as task:
            for slab in self.source.slabs(max_elements, arranger.n_slabs):
                arranger.add_values(slab.cells_N, slab.genes_N, slab.values_N)
                task.advance(len(slab.values_N))
        return arranger
