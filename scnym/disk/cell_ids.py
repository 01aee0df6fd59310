"""Ids of the same cells in two files, also where these spell them otherwise: joined where no doubt is left.

R makes ``AAAC.1`` of ``AAAC-1``, and ``X10X_AAAC`` of ``10X_AAAC``; others leave out ``-1``, or write the name of a
sample in front or behind. Where several ids of one file would be the same id of the other, none of them is guessed at.

C cells.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from scnym.base.errors import examples
from scnym.base.text_columns import as_numbers

MOST_COLUMNS = 8
"""Columns in which ids are looked for that are spelt otherwise: each is read many times, and they stand in front."""
UNNAMED = "Unnamed: "
"""How pandas begins the name of a column that has none."""
LEAST_SHARE = 0.5
"""Least part of the ids that must be the same for a join on what is left of them: any two samples of 10x have some
barcodes in common."""
BARCODE, SHORT_BARCODE = (
    re.compile(rf"(?<![A-Z0-9])[ACGTN]{{{n_letters},}}(?=X?(?![A-Z0-9]))") for n_letters in (8, 4)
)
"""With the x that velocyto puts behind it."""
BARE_BARCODE = re.compile(r"[ACGTNacgtn]{8,}([-.]\d+)?")
"""A barcode that does not name its sample."""
MOST_TRIED, HITS = 5000, 200
_OTHERS = re.compile(r"[\W_]+")
_X_OF_R = re.compile(r"^X(?=[\d.])")

Respelling = Callable[[Iterable[str]], list[str]]


@dataclass(frozen=True, kw_only=True)
class IdMatch:
    """Which id of a table is that of each cell."""

    column: str = ""
    """The table's column with the ids; empty if none has any."""
    ids_C: np.ndarray
    """The table's spelling of each cell's id, None for cells that it does not have; shape (C,)."""
    n_found: int = 0
    """Cells that the table has."""
    remark: str = ""
    """In what the spellings differ; empty if they do not."""
    why: str = ""
    """Why no cell is found; empty if one is."""
    fault: str = ""
    """The same, with ids of both sides."""


@dataclass(frozen=True)
class _Spelling:
    """A way to bring the ids of both sides into one form."""

    words: str
    """What it takes away or adds."""
    of_cells: Respelling
    of_ids: Respelling
    leaves_out: bool = False
    """Whether it takes away what may tell samples apart."""


def match_ids(cells: pd.Index, table: pd.DataFrame, sample: str | None = None) -> IdMatch:
    """Find the column of a table that holds the ids of cells, and the id of each.

    The mildest spelling that finds any cell counts, unless another one finds more than twice as many.

    Parameters
    ----------
    cells
        Ids of the cells.
    table
        A row per cell; all columns hold text.
    sample
        What the cells are from, which may stand in front of their ids, or behind them.
    """
    best, doubts = _matched_alike(cells, table, sample), list[str]()
    some, rows = _some(cells, len(table)), _some_rows(table, len(cells))
    sizes = {str(name): table[name].nunique() for name in table}
    columns = [name for name, n_ids in sizes.items() if 2 * n_ids >= len(table) and _may_be_ids(table[name])]
    columns = columns[:MOST_COLUMNS]
    most = min(len(cells), max((sizes[name] for name in columns), default=0))
    for spelling, names in _spellings(some, rows, columns, sample):
        if 2 * best.n_found >= most:
            break
        for name in names:
            if not _may_match(some, rows[name], spelling):
                continue
            found = _matched(cells, table[name], spelling)
            if found.fault:
                doubts.append(found.fault)
            elif found.n_found > 2 * best.n_found:
                best = found
    chance = _chance(cells, table, best)
    if best.n_found and not chance:
        return best
    doubts = [*filter(None, [chance]), *doubts]
    why = doubts[0] if doubts else "even without signs, case, and what all begin or end with, none is the same"
    return IdMatch(
        ids_C=np.array([None] * len(cells), dtype=object), why=why, fault=_with_both_sides(why, cells, table, columns)
    )


def _some(ids: pd.Index, n_others: int) -> pd.Index:
    """Return ids drawn at random, the same each time; all if they are few.

    Each spelling is tried on them before it is tried on all. So many are drawn of both sides that `HITS` are expected
    to be drawn twice where all are the same.
    """
    n_drawn = max(MOST_TRIED, math.ceil(math.sqrt(HITS * max(len(ids), n_others))))
    if len(ids) <= n_drawn:
        return ids
    return ids[np.sort(np.random.default_rng(len(ids)).choice(len(ids), n_drawn, replace=False))]


def _some_rows(table: pd.DataFrame, n_others: int) -> pd.DataFrame:
    return table.iloc[_some(pd.RangeIndex(len(table)), n_others)]


def _may_match(cells: pd.Index, column: pd.Series, spelling: _Spelling) -> bool:
    """Whether a spelling makes any of some ids the same."""
    return bool(({*spelling.of_cells(cells)} & {*spelling.of_ids(column.dropna())}) - {""})


def _chance(cells: pd.Index, table: pd.DataFrame, found: IdMatch) -> str:
    """Return why bare barcodes that are the same may be of other cells all the same; nothing if most are the same."""
    n_ids = table[found.column].nunique() if found.column else 0
    if not found.n_found or found.n_found >= LEAST_SHARE * min(len(cells), n_ids):
        return ""
    shared = [one for one in found.ids_C if one is not None]
    if not all(BARE_BARCODE.fullmatch(one) for one in shared):
        return ""
    return (
        f"no more than {found.n_found:,} of {len(cells):,} cells and of {n_ids:,} rows have the same barcode, such as "
        f"{shared[0]!r}, as those of other samples do by chance"
    )


def _may_be_ids(column: pd.Series) -> bool:
    """Whether a column holds anything but measured numbers, to judge from its first values."""
    some = column.dropna().astype(str).iloc[:1000]
    return not (some.str.contains(".", regex=False).any() and as_numbers(some).notna().all())


def _with_both_sides(why: str, cells: pd.Index, table: pd.DataFrame, columns: list[str]) -> str:
    what = f"no column holds the ids of the cells, such as {examples(cells[:3])}"
    name = next(iter(columns or map(str, table)), None)
    if name is None or not len(table):
        return f"{what}: the table has no rows"
    place = "a column without a name" if name.startswith(UNNAMED) else f"column {name!r}"
    return f"{what}; {place} holds such as {examples(table[name].dropna()[:3])}: {why}"


def _matched_alike(cells: pd.Index, table: pd.DataFrame, sample: str | None) -> IdMatch:
    """Match ids that are spelt alike, as they are or as ``SAMPLE:ID``."""
    forms = [cells, *([cells.map(lambda cell: f"{sample}:{cell}")] if sample else [])]
    counts = [(int(table[name].dropna().isin(form).sum()), form, str(name)) for form in forms for name in table.columns]
    n_rows, form, name = max(counts, key=lambda one: one[0], default=(0, cells, ""))
    if not n_rows:
        return IdMatch(ids_C=np.array([None] * len(cells), dtype=object))
    is_there_C = form.isin(table[name].dropna())
    ids_C = np.array([one if is_there else None for one, is_there in zip(form, is_there_C, strict=True)], dtype=object)
    return IdMatch(column=name, ids_C=ids_C, n_found=int(is_there_C.sum()))


def _spellings(
    cells: pd.Index, table: pd.DataFrame, columns: list[str], sample: str | None
) -> Iterator[tuple[_Spelling, list[str]]]:
    """Yield ways to spell ids, the mildest first, and the columns to which they apply."""
    yield _Spelling("blanks or quotes around them", _bare, _bare), columns
    yield _Spelling("the signs in them", _plain, _plain), columns
    yield _Spelling("signs and case", _folded, _folded), columns
    if sample is not None:
        for before, after in ((f"{sample}.", ""), ("", f".{sample}")):
            yield _Spelling(f"the sample's name {sample!r}", partial(_with, before, after), _folded), columns
    yield _Spelling("what stands around the barcode", _barcodes, _barcodes, leaves_out=True), columns
    for strip in _strippers(_folded(cells)):
        yield _Spelling("what all ids begin or end with", strip, _folded, leaves_out=True), columns
    for name in columns:
        for strip in _strippers(_folded(table[name].dropna())):
            yield _Spelling("what all ids begin or end with", _folded, strip, leaves_out=True), [name]


def cores(ids: Iterable[str]) -> list[str]:
    """Return what is left of ids in every spelling: their barcodes; of those without one, all but signs and case."""
    ids = list(map(str, ids))
    return [barcode or folded for barcode, folded in zip(_barcodes(ids), _folded(ids), strict=True)]


def _bare(ids: Iterable[str]) -> list[str]:
    return [str(one).strip(" \t\u00a0'\"") for one in ids]


def _plain(ids: Iterable[str]) -> list[str]:
    """Return ids as R makes names of them, but without the X that it puts in front."""
    return [_X_OF_R.sub("", _OTHERS.sub(".", one)).strip(".") for one in _bare(ids)]


def _folded(ids: Iterable[str]) -> list[str]:
    return [one.casefold() for one in _plain(ids)]


def _with(before: str, after: str, ids: Iterable[str]) -> list[str]:
    return _folded(f"{before}{one}{after}" for one in ids)


def _barcodes(ids: Iterable[str]) -> list[str]:
    """Return the barcodes in ids; those without one stay empty, which is no id."""
    upper = (one.upper() for one in _plain(ids))
    return [".".join(BARCODE.findall(one) or SHORT_BARCODE.findall(one)) for one in upper]


def _strippers(ids: list[str]) -> Iterator[Respelling]:
    """Yield what takes away that with which all ids begin or end, up to a sign between letters and digits."""
    if len(set(ids)) < 2:
        return
    front = _common_start(ids)
    front = front[: front.rfind(".") + 1]
    back = _common_start([one[::-1] for one in ids])[::-1]
    back = back[back.find(".") :] if "." in back else ""
    for start, end in dict.fromkeys([(front, ""), ("", back), (front, back)]):
        if start or end:
            yield lambda ids, start=start, end=end: [_stripped(one, start, end) for one in _folded(ids)]


def _common_start(texts: list[str]) -> str:
    """Return that with which all texts begin."""
    first, last = min(texts), max(texts)
    return first[
        : next((k for k, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    ]


def _stripped(name: str, start: str, end: str) -> str:
    """Return an id without a beginning and an end; nothing of one that is only a number then, as numbers are no ids."""
    left = name.removeprefix(start).removesuffix(end)
    return "" if left.isdecimal() else left


def _matched(cells: pd.Index, column: pd.Series, spelling: _Spelling) -> IdMatch:
    """Match ids that a spelling makes the same; with a fault where it makes several the same, or too few."""
    ids = column.dropna().drop_duplicates()
    keys_of_cells, keys_of_ids = spelling.of_cells(cells), spelling.of_ids(ids)
    none = np.array([None] * len(cells), dtype=object)
    shared = {*keys_of_cells} & {*keys_of_ids} - {""}
    if not shared:
        return IdMatch(ids_C=none)
    cells_of, ids_of = (_by_key(keys, names, shared) for keys, names in ((keys_of_cells, cells), (keys_of_ids, ids)))
    place = f"column {column.name!r}"
    for key, own in cells_of.items():
        if len(own) > 1 or len(ids_of[key]) > 1:
            words = f"without regard to {spelling.words}, {examples(own)} and {examples(ids_of[key])}"
            return IdMatch(ids_C=none, fault=f"{words} of {place} are the same")
    if spelling.leaves_out:
        doubt = _doubt(cells_of, ids_of, keys_of_cells, dict(zip(map(str, ids), keys_of_ids, strict=True)), place)
        if doubt:
            return IdMatch(ids_C=none, fault=doubt)
    ids_C = np.array([ids_of[key][0] if key in shared else None for key in keys_of_cells], dtype=object)
    first = next(key for key in keys_of_cells if key in shared)
    remark = f"{cells_of[first][0]!r} is {ids_of[first][0]!r} there: they differ in {spelling.words}"
    return IdMatch(column=str(column.name), ids_C=ids_C, n_found=len(shared), remark=remark)


def _by_key(keys: Iterable[str], names: Iterable[str], wanted: set[str]) -> dict[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for key, name in zip(keys, names, strict=True):
        if key in wanted:
            found[key].append(str(name))
    return found


def _doubt(
    cells_of: Mapping[str, list[str]],
    ids_of: Mapping[str, list[str]],
    keys_of_cells: list[str],
    key_of_ids: Mapping[str, str],
    place: str,
) -> str:
    """Return why ids of which the same is left may be of other cells all the same; nothing if there is no doubt."""
    pairs = {(_around(cells_of[key][0], key), _around(ids_of[key][0], key)) for key in cells_of}
    of_cells, of_ids = ({pair[side] for pair in pairs} for side in (0, 1))
    sides = [[key for key in keys if key] for keys in (keys_of_cells, key_of_ids.values())]
    if not len(pairs) == len(of_cells) == len(of_ids) and any(len(set(keys)) < len(keys) for keys in sides):
        shown = examples(sorted(of_cells)), examples(sorted(of_ids))
        return f"around the same barcodes stands {shown[0]} at the cells, and {shown[1]} in {place}, of several samples"
    n_like = sum(_around(one, key) in of_ids for one, key in key_of_ids.items() if key)
    if len(cells_of) < LEAST_SHARE * min(len(keys_of_cells), n_like):
        cell, one = next((cells_of[key][0], ids_of[key][0]) for key in cells_of)
        return (
            f"no more than {len(cells_of):,} look alike, such as {cell!r} and {one!r} of {place}, as barcodes of other "
            "cells do by chance"
        )
    return ""


def _around(name: str, key: str) -> str:
    """Return an id with a star in place of what is left of it."""
    return _folded([name])[0].replace(key.casefold(), "*")
