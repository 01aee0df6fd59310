"""Pieces: the rows of one class inside one aligned block of a store, which are read together.

C cells, K classes, P pieces.
"""

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one class, in the order of the store: 6 bytes for each, and none for a row."""

    codes_C: np.ndarray
    """Class of every row of the store, shared by all classes."""
    code: int
    """The class."""
    block_rows: int
    """Rows per aligned block."""
    blocks_P: np.ndarray
    """Block of each piece, ascending, uint32."""
    lengths_P: np.ndarray
    """Its number of rows."""

    def rows(self, pieces: np.ndarray) -> np.ndarray:
        """Return the rows of some pieces, one piece after the other."""
        rows = np.empty(int(self.lengths_P[pieces].sum(dtype=np.int64)), np.int64)
        _find_rows(rows, self.blocks_P[pieces], self.lengths_P[pieces], self.codes_C, self.code, self.block_rows)
        return rows


def class_sizes(codes_C: np.ndarray) -> np.ndarray:
    """Count the rows of every class up to the largest; rows of class -1 are not counted. Shape (K,)."""
    sizes_K = np.zeros(int(codes_C.max(initial=-1)) + 1, np.int64)
    _count_classes(sizes_K, codes_C)
    return sizes_K


def find_pieces(codes_C: np.ndarray, sizes_K: np.ndarray, block_rows: int) -> list[Pieces]:
    """Find the pieces of every class that has any; two passes over the codes, no sorting.

    Parameters
    ----------
    codes_C
        Class of every row, -1 for rows of none.
    sizes_K
        Rows of every class.
    block_rows
        Rows per aligned block.
    """
    n_pieces_K = np.zeros(len(sizes_K), np.int64)
    _count_pieces(n_pieces_K, codes_C, block_rows)
    bounds_K1 = np.concatenate([[0], np.cumsum(n_pieces_K)])
    blocks = np.empty(bounds_K1[-1], np.uint32)
    lengths = np.zeros(bounds_K1[-1], np.min_scalar_type(min(block_rows, len(codes_C))))
    _fill_pieces(blocks, lengths, bounds_K1[:-1].copy(), codes_C, block_rows)
    return [
        Pieces(codes_C, code, block_rows, blocks[start:stop], lengths[start:stop])
        for code, (start, stop) in enumerate(pairwise(bounds_K1.tolist()))
        if stop > start
    ]


def count_pieces(codes_C: np.ndarray, n_classes: int, block_rows: int) -> int:
    """Count the pieces of all classes."""
    n_pieces_K = np.zeros(n_classes, np.int64)
    _count_pieces(n_pieces_K, codes_C, block_rows)
    return int(n_pieces_K.sum())


@numba.njit(nogil=True, cache=True)
def _count_classes(sizes_K: np.ndarray, codes_C: np.ndarray) -> None:
    for code in codes_C:
        if code >= 0:
            sizes_K[code] += 1


@numba.njit(nogil=True, cache=True)
def _count_pieces(n_pieces_K: np.ndarray, codes_C: np.ndarray, block_rows: int) -> None:
    last_block_K = np.full(len(n_pieces_K), -1, np.int64)
    for row in range(len(codes_C)):
        code = codes_C[row]
        if code >= 0 and last_block_K[code] != row // block_rows:
            last_block_K[code] = row // block_rows
            n_pieces_K[code] += 1


@numba.njit(nogil=True, cache=True)
def _fill_pieces(
    blocks_P: np.ndarray, lengths_P: np.ndarray, next_K: np.ndarray, codes_C: np.ndarray, block_rows: int
) -> None:
    """Write the pieces of each class from position `next_K` on."""
    last_block_K = np.full(len(next_K), -1, np.int64)
    for row in range(len(codes_C)):
        code = codes_C[row]
        if code >= 0:
            if last_block_K[code] != row // block_rows:
                last_block_K[code] = row // block_rows
                blocks_P[next_K[code]] = row // block_rows
                next_K[code] += 1
            lengths_P[next_K[code] - 1] += 1


@numba.njit(nogil=True, cache=True)
def _find_rows(
    rows: np.ndarray, blocks_P: np.ndarray, lengths_P: np.ndarray, codes_C: np.ndarray, code: int, block_rows: int
) -> None:
    at = 0
    for piece in range(len(blocks_P)):
        row = np.int64(blocks_P[piece]) * block_rows
        for _ in range(lengths_P[piece]):
            while codes_C[row] != code:
                row += 1
            rows[at] = row
            at += 1
            row += 1
