"""What every input format turns into: a `Source` that yields `CellBlock`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, examples

READING_FAULTS = (
    OSError,
    KeyError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
)
"""What h5py, zarr, anndata and loompy raise on files that are damaged or made by hand."""


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Consecutive cells of one source. C cells, G genes."""

    counts_CG: sparse.csr_matrix
    """The values as they stand in the file, shape (C, G)."""
    obs: pd.DataFrame
    """Annotations, one row per cell; the index holds the cell ids."""


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
    def path(self) -> Path:
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
        """One row per cell; the index holds the cell ids. None where only reading the file would tell."""
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


@runtime_checkable
class ScatteredSource(Protocol):
    """A raw file whose values do not stand cell by cell: genes x cells, column by column, or in any order."""

    @property
    def path(self) -> Path:
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
    def has_cell_ids(self) -> bool:
        """Whether the cells' ids stand in the file."""
        ...

    def slabs(self, max_elements: int, first_slab: int = 0) -> Iterator[Slab]:
        """Yield all values, at most `max_elements` at a time; slabs before `first_slab` are not parsed again."""
        ...


def require_unique(names: Iterable[str], noun: str, path: Path, way_out: str) -> None:
    """Refuse names that stand twice, or are empty.

    Raises
    ------
    DataError
        With examples of the names and the way out.
    """
    counted = Counter(names)
    repeated = [name for name, times in counted.items() if times > 1]
    if repeated:
        raise DataError(f"duplicate {noun} names {examples(repeated)}", where=path, way_out=way_out)
    if "" in counted:
        raise DataError(f"a {noun} has an empty name", where=path, way_out=f"name every {noun}")


def numbers(values: np.ndarray, path: Path) -> np.ndarray:
    """Give values in a dtype that scipy knows: native byte order, 32 bits at least if they are floats.

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
