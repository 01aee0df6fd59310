"""Cells that are in two inputs of a store, found by their ids and counts. The user is warned.

Samples of 10x share barcodes by chance, and numbered cells share numbers: the same id is not enough. Where what should
tell cells apart is the same for most, as totals of normalised counts are, it tells nothing.

C cells.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scnym.disk.cell_ids import LEAST_SHARE, cores
from scnym.disk.formats.source import NAMES_AT_A_TIME

ID, TOTAL, GENES = "id", "total", "genes"
MARKS = np.dtype([(ID, "<u8"), (TOTAL, "<f8"), (GENES, "<f8")])
"""What tells a cell from others: a hash of what is left of its id in every spelling, its total, and its genes."""
WORDS = {TOTAL: "the same total counts", GENES: "the same number of genes"}
LEAST_CELLS = 10
MOST_BY_CHANCE = 0.1
LEAST_CORRELATION = 0.8
TOLERANCE = 1e-5
SHOWN = 3


def marks_of(cells: pd.Index, totals_C: np.ndarray, n_genes_C: np.ndarray) -> np.ndarray:
    """Return what tells cells from others, shape (C,) of `MARKS`."""
    marks_C = np.empty(len(cells), MARKS)
    for start in range(0, len(cells), NAMES_AT_A_TIME):
        some = np.array(cores(cells[start : start + NAMES_AT_A_TIME]), dtype=object)
        marks_C[ID][start : start + len(some)] = pd.util.hash_array(some, categorize=False)
    marks_C[TOTAL], marks_C[GENES] = totals_C, n_genes_C
    return marks_C


def remarks_on_doubled(samples: Sequence[str], marks: Sequence[np.ndarray]) -> list[str]:
    """Return warnings of inputs that hold the same cells.

    Parameters
    ----------
    samples
        Names of the inputs.
    marks
        Of the cells of each, see `marks_of`; they may be on disk.
    """
    found = list(_doubled(marks))
    said = [
        f"WARNING: {one.n_cells:,} cells stand in {samples[one.first]!r} and again in {samples[one.second]!r}: they "
        f"have the same ids and {one.words}; what is learnt from one is no test on the other: give one of the two"
        for one in found[:SHOWN]
    ]
    more = len(found) - SHOWN
    return [*said, *([f"WARNING: so do cells of {more:,} other pairs of inputs"] if more > 0 else [])]


@dataclass(frozen=True, slots=True)
class _Pair:
    first: int
    second: int
    n_cells: int
    words: str


def _doubled(marks: Sequence[np.ndarray]) -> Iterator[_Pair]:
    inputs_C, marks_C = _with_shared_ids(marks)
    by_kind = {kind: _alike(inputs_C, marks_C, kind) for kind in (TOTAL, GENES)}
    beside = _beside(inputs_C, marks_C)
    for first, second in sorted({*by_kind[TOTAL], *by_kind[GENES], *beside}):
        sides = [marks_C[inputs_C == number] for number in (first, second)]
        n_least = min(len(marks[first]), len(marks[second]))
        n_shared = len(np.intersect1d(sides[0][ID], sides[1][ID]))
        for kind, pairs in by_kind.items():
            n_alike = pairs[first, second]
            is_enough = n_alike >= max(min(LEAST_CELLS, n_least), LEAST_SHARE * n_shared)
            if is_enough and _by_chance(sides[0][kind], sides[1][kind]) < MOST_BY_CHANCE:
                yield _Pair(first, second, n_alike, WORDS[kind])
                break
        else:
            if n_shared >= max(2 * LEAST_CELLS, LEAST_SHARE * n_least) and _are_correlated(*sides):
                yield _Pair(first, second, n_shared, "nearly the same numbers of genes")


def _with_shared_ids(marks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells whose ids stand twice or more: their inputs and marks, shape (C,)."""
    ids_C = np.sort(np.concatenate([one[ID] for one in marks]))
    twice = np.unique(ids_C[1:][ids_C[1:] == ids_C[:-1]])
    del ids_C
    rows = [np.flatnonzero(np.isin(one[ID], twice)) for one in marks]
    inputs_C = np.repeat(np.arange(len(marks)), [len(own) for own in rows])
    return inputs_C, np.concatenate([one[own] for one, own in zip(marks, rows, strict=True)])


def _alike(inputs_C: np.ndarray, marks_C: np.ndarray, kind: str) -> Counter[tuple[int, int]]:
    """Count the cells of each pair of inputs with the same id and the same value; cells without counts do not count."""
    order_C = np.lexsort((inputs_C, marks_C[kind], marks_C[ID]))
    values_C = marks_C[kind][order_C]
    is_same = np.isclose(values_C[1:], values_C[:-1], rtol=TOLERANCE, atol=0) & (values_C[1:] > 0)
    return _pairs(inputs_C[order_C], marks_C[ID][order_C], is_same)


def _beside(inputs_C: np.ndarray, marks_C: np.ndarray) -> Counter[tuple[int, int]]:
    """Count the ids that each pair of inputs shares."""
    order_C = np.lexsort((inputs_C, marks_C[ID]))
    return _pairs(inputs_C[order_C], marks_C[ID][order_C], np.ones(max(0, len(order_C) - 1), bool))


def _pairs(inputs_C: np.ndarray, ids_C: np.ndarray, is_wanted: np.ndarray) -> Counter[tuple[int, int]]:
    one, other = inputs_C[:-1], inputs_C[1:]
    is_wanted = is_wanted & (ids_C[1:] == ids_C[:-1]) & (one != other)
    pairs = np.stack([np.minimum(one, other)[is_wanted], np.maximum(one, other)[is_wanted]])
    found, times = np.unique(pairs, axis=1, return_counts=True)
    return Counter(
        {
            (int(first), int(second)): int(n)
            for first, second, n in zip(*found, times, strict=True)
            if n >= 2  # one cell is chance
        }
    )


def _by_chance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of cells that have the same value by chance."""
    values, at = np.unique(np.round(np.concatenate([one, other]), 3), return_inverse=True)
    times = [np.bincount(part, minlength=len(values)) / max(1, len(part)) for part in (at[: len(one)], at[len(one) :])]
    return float(times[0] @ times[1])


def _are_correlated(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether cells of the same ids have many genes in both or few in both, as where one input has fewer genes."""
    _, at, at_other = np.intersect1d(one[ID], other[ID], return_indices=True)
    sides = one[GENES][at], other[GENES][at_other]
    if min(map(np.std, sides)) == 0:
        return False
    return float(np.corrcoef(*sides)[0, 1]) >= LEAST_CORRELATION
