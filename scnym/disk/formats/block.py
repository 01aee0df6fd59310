"""What every input format turns into: a `Source` that yields `CellBlock`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from scnym.base.errors import DataError, FormatError, examples

READING_FAULTS = (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError)
"""What h5py, anndata and loompy raise on files that are damaged or made by hand."""


@dataclass(frozen=True, slots=True)
class CellBlock:
    """Consecutive cells of one source. C cells, G genes."""

    counts_CG: sparse.csr_matrix
    """The values as they stand in the file, shape (C, G)."""
    obs: pd.DataFrame
    """Annotations, one row per cell; the index holds the cell ids."""


class Source(Protocol):
    """A raw file, opened and checked as far as that is possible without reading the counts."""

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

    def blocks(self, max_elements: int) -> Iterator[CellBlock]:
        """Yield all cells in order, at most `max_elements` stored values at a time, one cell at least."""
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
