"""Batches put together: rows are aligned and normalised as soon as they are decoded, dense or CSR.

B cells of the batch, G genes.
"""

import warnings
from abc import ABC, abstractmethod

import numpy as np
import torch

from scnym.feed.kernel import copy_csr, count_kept, fill_csr, fill_dense, sort_rows
from scnym.feed.pool import BufferPool
from scnym.feed.reader import Stretch

DENSE_ARRAYS_KEPT = 2
"""The batch in use, and the one being made."""
CSR_ARRAYS_KEPT = 6
"""Genes and values of the batch in use, of the one being made, and of a piece of one."""


class BatchStack(ABC):
    """Takes the rows of a batch, part by part, and gives them as one tensor.

    A batch is its holder's for as long as it is held; the memory of one that is gone serves for the next.

    Parameters
    ----------
    n_genes
        Genes of the model.
    """

    def __init__(self, n_genes: int) -> None:
        self._n_genes = n_genes

    @abstractmethod
    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""

    @abstractmethod
    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on, behind those already there; `part` is not needed afterwards."""

    @abstractmethod
    def tensor(self) -> torch.Tensor:
        """Give the batch, shape (B, G), float32."""


class DenseStack(BatchStack):
    """Makes dense batches."""

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self._pool = BufferPool(DENSE_ARRAYS_KEPT)

    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""
        self._batch_BG = self._pool.empty((size, self._n_genes), np.float32)

    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on."""
        for at, rows, decoded in part.by_source():
            fill_dense(self._batch_BG, first + at, rows, *decoded.matrix, *decoded.scaling)

    def tensor(self) -> torch.Tensor:
        """Return the batch."""
        batch_BG = torch.from_numpy(self._batch_BG)
        del self._batch_BG  # from here on it is the caller's
        return batch_BG


class CsrStack(BatchStack):
    """Makes CSR batches with genes ascending in every row."""

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self._pool = BufferPool(CSR_ARRAYS_KEPT)

    def begin(self, size: int) -> None:
        """Begin a batch of `size` cells."""
        self._lengths_B = np.empty(size, np.int32)
        self._indices: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def add(self, part: Stretch, first: int) -> None:
        """Put rows into the batch from row `first` on."""
        lengths = self._lengths_B[first : first + len(part)]
        for at, rows, decoded in part.by_source():
            if decoded.gene_map.is_whole:
                lengths[at] = decoded.counts.indptr_C1[rows + 1] - decoded.counts.indptr_C1[rows]
            else:
                count_kept(lengths, at, rows, *decoded.matrix[:2], decoded.gene_map.table_S)
        indptr = _indptr(lengths)
        indices, values = self._empty(int(indptr[-1]))
        for at, rows, decoded in part.by_source():
            if decoded.gene_map.is_identity:
                copy_csr(indptr, indices, values, at, rows, *decoded.matrix, decoded.factors, decoded.is_log)
                continue
            fill_csr(indptr, indices, values, at, rows, *decoded.matrix, *decoded.scaling)
            if not decoded.gene_map.is_monotone:
                sort_rows(indptr, indices, values, at, self._n_genes)
        self._indices.append(indices)
        self._values.append(values)

    def tensor(self) -> torch.Tensor:
        """Give the batch."""
        if len(self._indices) > 1:
            indices, values = self._empty(sum(map(len, self._indices)))
            self._indices = [np.concatenate(self._indices, out=indices)]
            self._values = [np.concatenate(self._values, out=values)]
        indptr, shape = _indptr(self._lengths_B), (len(self._lengths_B), self._n_genes)
        (indices,), (values,) = self._indices, self._values
        self._indices, self._values = [], []  # from here on they are the batch's
        return csr_tensor(indptr, indices, values, shape)

    def _empty(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self._pool.empty((n,), np.int32), self._pool.empty((n,), np.float32)


def _indptr(lengths: np.ndarray) -> np.ndarray:
    indptr = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=indptr[1:])
    return indptr


def csr_tensor(
    indptr: np.ndarray, indices: np.ndarray, values: np.ndarray | torch.Tensor, shape: tuple[int, int]
) -> torch.Tensor:
    """Give a torch CSR tensor over the same memory."""
    with warnings.catch_warnings():
        # torch calls CSR tensors a beta feature on every first use; what is used here is tested here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            torch.from_numpy(indptr),
            torch.from_numpy(indices),
            torch.from_numpy(values) if isinstance(values, np.ndarray) else values,
            size=shape,
            check_invariants=False,
        )
