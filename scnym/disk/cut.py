"""Parts of a source set aside on disk: checked and in canonical order, before the store's final dtypes are known.

Values and dtypes of a whole source are only known when its last cell has been read. Raw inputs may be slow to read
(text, gzip), so they are read once; the parts are read back to write the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import sparse

from scnym.base.schema import index_dtype, value_dtype


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive cells of one source, ready to be written. C cells, N stored values."""

    values_N: np.ndarray
    indices_N: np.ndarray
    row_lengths_C: np.ndarray


@dataclass
class Parts:
    """The parts of one source, one folder, in the order of the cells."""

    folder: Path
    n_parts: int = 0
    n_elements: int = 0
    row_lengths: list[np.ndarray] = field(default_factory=list)

    def add(self, counts_CG: sparse.csr_matrix, *, integral: bool) -> None:
        """Set a block of cells aside."""
        dtype = value_dtype(float(counts_CG.data.max(initial=0)), integral=integral)
        row_lengths_C = np.diff(counts_CG.indptr).astype(np.int64)
        stem = self.folder / f"part_{self.n_parts:06d}"
        np.save(stem.with_suffix(".values.npy"), counts_CG.data.astype(dtype))
        np.save(stem.with_suffix(".indices.npy"), counts_CG.indices.astype(index_dtype(counts_CG.shape[1])))
        self.row_lengths.append(row_lengths_C)
        self.n_parts += 1
        self.n_elements += int(row_lengths_C.sum())

    def __iter__(self) -> Iterator[Part]:
        for number, row_lengths_C in enumerate(self.row_lengths):
            stem = self.folder / f"part_{number:06d}"
            yield Part(
                np.load(stem.with_suffix(".values.npy"), allow_pickle=False),
                np.load(stem.with_suffix(".indices.npy"), allow_pickle=False),
                row_lengths_C,
            )

    def indptr(self) -> np.ndarray:
        """Row pointers of the whole source, shape (n_cells + 1,)."""
        lengths = np.concatenate([np.zeros(1, np.int64), *self.row_lengths])
        return np.cumsum(lengths)


def canonical(counts_CG: sparse.csr_matrix) -> sparse.csr_matrix:
    """Give the same counts with genes ascending in every row, each at most once, and no stored zeros.

    Sums are taken in 64 bits: two counts of 200 in one byte would make 144.
    """
    if not counts_CG.has_canonical_format:
        counts_CG = counts_CG.astype(np.float64 if counts_CG.dtype.kind == "f" else np.int64)
        counts_CG.sum_duplicates()
    if counts_CG.nnz and counts_CG.data.min() == 0:
        counts_CG = counts_CG.copy()
        counts_CG.eliminate_zeros()
    return counts_CG
