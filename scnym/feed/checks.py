"""What a caller gives to a stream, checked: a code per cell, rows, and genes that the store has.

A wrong one would end in batches of other cells or other labels, without an error.

C cells of the store.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, examples
from scnym.disk.features import ENSEMBL_ID, PART, are_numbered, parts_of
from scnym.disk.store import Dataset
from scnym.feed.genes import ABSENT, CASE, EXACT, LEAST_SHARED, NAME_GENES, VERSION, GeneMap, map_genes


def require_shared(datasets: Sequence[Dataset], genes: Sequence[str], gene_maps: Iterable[GeneMap]) -> None:
    """Raise a DataError if there are no genes, or none that any source has: their batches would hold zeros alone."""
    if not genes:
        raise DataError("there are no genes", where="genes", way_out="give one or more, by name")
    if not any(gene_map.present_G.any() for gene_map in gene_maps):
        advice = mismatch_advice(datasets[0].genes, genes, source="the store", model="the list")
        raise DataError(f"the store has none of the {len(genes):,} genes", where="genes", way_out=advice)


def mismatch_advice(
    source_genes: Sequence[str], model_genes: Sequence[str], *, source: str = "the data", model: str = "the model"
) -> str:
    """Return why two gene lists share so little, and what to do.

    Parameters
    ----------
    source_genes, model_genes
        Genes that are offered, and genes that are wanted.
    source, model
        What has these genes, in words.
    """
    for what, genes in ((source, source_genes), (model, model_genes)):
        if are_numbered(genes):
            return f"the genes of {what} are only numbered, as {', '.join(genes[:3])}; {NAME_GENES}"
    theirs, ours = (_id_type(genes) for genes in (source_genes, model_genes))
    if theirs != ours and not any(parts_of(pd.Series(genes[:1])) for genes in (source_genes, model_genes)):
        return f"{source} names genes by {theirs}, {model} by {ours}; rename them, or give them a column of {ours}s"
    n_least = min(len({*source_genes}), len({*model_genes}))
    gene_map = map_genes(source_genes, model_genes)
    for rung, n_gained in gene_map.matched_by.items():
        if rung != EXACT and n_gained > n_least / 2:  # what a few share by chance is no reason
            pair = _example(gene_map, source_genes, model_genes)
            return _difference(rung, pair, source, model)
    n_shared = len({*source_genes} & {*model_genes})
    if n_shared >= max(1, LEAST_SHARED * n_least):
        lacking = examples(sorted({*model_genes} - {*source_genes}))
        is_panel = n_shared > len(source_genes) / 2 and len(source_genes) < len(model_genes) / 2
        panel = f"is a panel of {len(source_genes):,} genes: it " if is_panel else ""
        return f"{source} {panel}lacks {lacking}; give all genes that were measured"
    return f"{source} has {examples(source_genes[:3])}, {model} {examples(model_genes[:3])}; check the species"


def _id_type(genes: Sequence[str]) -> str:
    sample = genes[:: max(1, len(genes) // 1000)]
    if all(gene.isdecimal() for gene in sample):
        return "number"
    n_ensembl = sum(ENSEMBL_ID.fullmatch(gene) is not None for gene in sample)
    return "Ensembl id" if n_ensembl > len(sample) / 2 else "symbol"


def _example(gene_map: GeneMap, source_genes: Sequence[str], model_genes: Sequence[str]) -> tuple[str, str]:
    """Return what both call the first gene that they call differently."""
    places = ((s, int(g)) for s, g in enumerate(gene_map.table_S) if g != ABSENT)
    s, g = next((s, g) for s, g in places if source_genes[s] != model_genes[g])
    return source_genes[s], model_genes[g]


def _difference(rung: str, pair: tuple[str, str], source: str, model: str) -> str:
    """Return in what the names differ that a rung of the ladder matches, such as those of a pair."""
    theirs, ours = pair
    if rung == CASE:
        return "names differ in upper and lower case, as between human and mouse; check the species"
    if rung == VERSION:
        longer = source if len(theirs) > len(ours) else model
        return f"names differ in their version suffix (.1, .2); remove it from the genes of {longer}"
    if rung == PART:
        return "names differ in that some hold two names of a gene; keep one of them"
    way_out = next(
        (f"leave out what stands before or behind {a!r}" for a, b in ((theirs, ours), (ours, theirs)) if a in b),
        "name them alike",
    )
    return f"{source} calls genes {theirs!r} that {model} calls {ours!r}; {way_out}"


def matches_in_words(gene_maps: Iterable[GeneMap]) -> str | None:
    """Return by which rungs genes were matched; None where all had the same name."""
    n_matched: Counter[str] = Counter()
    for gene_map in gene_maps:
        n_matched.update(gene_map.matched_by)
    if not set(n_matched) - {EXACT}:
        return None
    return "genes matched by " + ", ".join(f"{rung}: {count:,}" for rung, count in n_matched.items())


Codes = np.ndarray | Sequence[int] | pd.Series | pd.Categorical
"""A whole number for each cell, -1 where there is none; or a category, whose codes are taken."""
Rows = np.ndarray | Sequence[int] | pd.Series
"""Row numbers, ascending, each once; or whether each cell is wanted."""
NO_CODE = -1
MAX_CLASSES = 10**6
"""More classes than anything has: an array as long as the largest code is made."""
MAX_EXACT = 2.0**53
"""Up to here a float names one whole number."""
CODES_WANTED = (
    f"give {NO_CODE} for a cell without a code",
    'give whole numbers; of names their codes, as of store.column("cell_type").cat.codes',
)
ROWS_WANTED = ("give the numbers of rows, from 0 on",) * 2
"""What to do about a value that is missing, and about one that is no number."""


def codes_of(codes_C: Codes, n_cells: int, name: str, *, n_classes: int | None = None) -> np.ndarray:
    """Return codes of cells in the smallest type of whole numbers, in memory of their own.

    Parameters
    ----------
    codes_C
        Whole numbers from 0 on, -1 where there is none, one for each cell: an array, a list, a pandas Series or a
        category, whose codes are taken. Shape (C,).
    n_cells
        Cells of the store.
    name
        What the argument is called, for errors.
    n_classes
        Every code must be below it; None for no bound.

    Raises
    ------
    DataError
        If it is not one such number for each cell.
    """
    numbers_C = _whole_numbers(_codes_of_category(codes_C, name), name, *CODES_WANTED)
    if len(numbers_C) != n_cells:
        raise DataError(
            f"{len(numbers_C):,} codes for {n_cells:,} cells",
            where=name,
            way_out=f"give one for each cell of the store, in its order, and {NO_CODE} for those that have none",
        )
    _refuse_first(numbers_C < NO_CODE, numbers_C, name, CODES_WANTED[0])
    if n_classes is not None:
        _refuse_first(numbers_C >= n_classes, numbers_C, name, "number the classes from 0, as pandas.factorize does")
    most = int(numbers_C.max(initial=0))
    return numbers_C.astype(np.min_scalar_type(-1 - most))


def rows_of(rows_C: Rows, n_cells: int, name: str) -> np.ndarray:
    """Return row numbers of a store as int64.

    Parameters
    ----------
    rows_C
        Row numbers, ascending, each once; or whether each cell is wanted, shape (C,).
    n_cells
        Cells of the store.
    name
        What the argument is called, for errors.

    Raises
    ------
    DataError
        If it is neither.
    """
    given = _one_dimensional(rows_C, name)
    if given.dtype == bool:
        if len(given) != n_cells:
            raise DataError(
                f"a mask of {len(given):,} for {n_cells:,} cells",
                where=name,
                way_out="give True or False for each cell of the store, or the numbers of rows",
            )
        return np.flatnonzero(given)
    rows = _whole_numbers(given, name, *ROWS_WANTED)
    way_out = f"the store has {n_cells:,} cells: give rows from 0 to {n_cells - 1:,}"
    _refuse_first((rows < 0) | (rows >= n_cells), rows, name, way_out)
    rows = rows.astype(np.int64, copy=False)
    turned = np.flatnonzero(rows[1:] <= rows[:-1])
    if len(turned):
        before, after = rows[turned[0] : turned[0] + 2].tolist()
        raise DataError(
            f"row {after:,} after row {before:,}, where every row is given once and in the order of the store",
            where=name,
            way_out="give numpy.unique(rows); each batch names its own in Batch.rows",
        )
    return rows


def _codes_of_category(codes_C: Any, name: str) -> Any:
    """Return the codes of a pandas category, and all else as it is."""
    if not isinstance(getattr(codes_C, "dtype", None), pd.CategoricalDtype):
        return codes_C
    if pd.api.types.is_numeric_dtype(codes_C.dtype.categories.dtype):
        raise DataError(
            "a category whose values are numbers: they, or their codes, could be meant",
            where=name,
            way_out="give .astype(int) or .cat.codes of it",
        )
    return pd.Categorical(codes_C).codes


def _whole_numbers(values: Any, name: str, if_missing: str, if_no_number: str) -> np.ndarray:
    """Return whole numbers as such, whatever type they are given in.

    Raises
    ------
    DataError
        If there are others.
    """
    given = _one_dimensional(values, name)
    if given.dtype == bool:
        raise DataError("True and False are no codes", where=name, way_out="give numpy.where(mask, codes, -1)")
    if given.dtype.kind == "f":
        given = given.astype(np.float64, copy=False)
        _refuse_first(~np.isfinite(given), given, name, if_missing)
        _refuse_first((given != np.floor(given)) | (np.abs(given) > MAX_EXACT), given, name, "give whole numbers")
        return given.astype(np.int64)
    if given.dtype.kind not in "iu":
        _refuse_first(pd.isna(given), given, name, if_missing)
        is_number = np.array([isinstance(value, int | float) for value in given])
        _refuse_first(~is_number | is_number.all(), given, name, if_no_number)
    if given.dtype == np.uint64:
        _refuse_first(given > np.iinfo(np.int64).max, given, name, "give whole numbers from 0 on")
    return given


def _one_dimensional(values: Any, name: str) -> np.ndarray:
    """Return one value for each cell as an array; numbers that are kept as objects as numbers.

    Raises
    ------
    DataError
        If it has another shape.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = [None if value is np.ma.masked else value for value in values]
    try:
        given = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise DataError(f"not a list of numbers ({fault})", where=name, way_out="give one number for each") from fault
    if given.ndim != 1:
        shape = f" of shape {given.shape}" if given.ndim else ""
        raise DataError(f"{type(values).__name__}{shape}", where=name, way_out="give a list or an array of numbers")
    if not given.size:
        return given.astype(np.int64) if given.dtype != bool else given
    return _unboxed(given) if given.dtype == object else given


def _unboxed(given: np.ndarray) -> np.ndarray:
    kinds = {"integer": np.int64, "boolean": bool, "floating": float, "mixed-integer-float": float}
    dtype = kinds.get(pd.api.types.infer_dtype(given, skipna=False), object)
    try:
        return given.astype(dtype)
    except OverflowError:
        return given.astype(float)


def _refuse_first(is_wrong: np.ndarray, values: np.ndarray, name: str, way_out: str) -> None:
    """Raise a DataError if anything is wrong, with the first value that is."""
    if is_wrong.any():
        at = int(is_wrong.argmax())
        shown = repr(str(values[at])) if isinstance(values[at], str) else values[at]
        raise DataError(f"{shown} at position {at:,}", where=name, way_out=way_out)
