"""A table of cell annotations (CSV or TSV), joined to the cells of a store by their ids."""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from pathlib import Path

import pandas as pd

from scnym.base.errors import MAX_EXAMPLES, DataError, FormatError, MissingInputError, examples
from scnym.base.text_columns import unguarded
from scnym.disk.cell_ids import BARE_BARCODE, IdMatch, match_ids
from scnym.disk.formats.csv_lines import LOOKED_AT, MARKS, UTF16_MARKS, is_marked_header, separator_among

SAMPLE_COLUMN = "sample"
ROW_NAMES = "row_name"
"""Name of the column in which R writes the names of rows without naming it."""
MISSING = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""What stands for a missing value in tables: all that pandas takes for one. R writes NA where nothing is known."""
QUOTED = re.compile(r'"[^"]*"( +("[^"]*"|[^" ]+))*')
"""A line as ``write.table`` of R writes it: blanks part fields, and quotes stand around text."""
MAX_ABOVE = 1000
"""Lines that may stand above a header."""
ALLOWED_BYTES, MAX_RATIO, PIECE_BYTES = 2**28, 200, 2**20
"""Text of so many bytes may have any ratio; tables of annotations pack 3 to 30 bytes into one."""


ENDING = re.compile(r"\.(h5ad|h5|loom|zarr|csv|tsv|txt|npy|mtx)(\.gz)?$|\.mtx\.gz$", re.IGNORECASE)
"""Of the names of files that may be samples."""
FEW = 0.1
"""Part of the cells with a row below which it is asked whether a table is the right one."""


def read_annotations(path: Path, say: Callable[[str], None]) -> pd.DataFrame:
    """Read a table with one row per cell; see `read_table`.

    Parameters
    ----------
    path
        The table.
    say
        Is told which words were taken for missing values, if any: a cell type may be called so.
    """
    table = read_table(path, "check --training_metadata", words=MISSING)
    is_missing = table.isin(MISSING)
    is_word = is_missing & (table != "")
    said = [
        f"{examples(table[name][is_word[name]].unique())} in column {name}" for name in table if is_word[name].any()
    ]
    if said:
        say(
            f"{path.name}: taken for missing values: {'; '.join(said[:MAX_EXAMPLES])}. A cell type of this name needs "
            "another one, or must come in an h5ad, where names mean themselves"
        )
    return table.mask(is_missing)


def read_table(path: Path, way_out: str, *, words: Collection[str] = ()) -> pd.DataFrame:
    """Read a table of text; missing values are NaN.

    Parameters
    ----------
    path
        CSV or TSV, plain or gzipped.
    way_out
        What an error advises if it is not there.
    words
        Names such as ``NA`` that mean themselves here, and not that a value is missing.

    Raises
    ------
    MissingInputError, FormatError
        If it is not there, or cannot be read.
    """
    if not path.is_file():
        raise MissingInputError("there is no such file", where=path, way_out=way_out)
    try:
        require_bounded(path)
        return _parsed(path, MISSING - set(words))
    except (ValueError, OSError, EOFError, zlib.error, csv.Error) as fault:
        if isinstance(fault, FormatError):
            raise
        if isinstance(fault, UnicodeDecodeError):
            raise FormatError(
                f"it is not written in UTF-8 ({fault})", where=path, way_out="save it as CSV in UTF-8"
            ) from fault
        raise FormatError(f"the table cannot be read ({fault})", where=path, way_out="write it as CSV") from fault


def require_bounded(path: Path) -> None:
    """Refuse a gzipped text that is read whole, and grows out of all proportion.

    Raises
    ------
    FormatError
        Before more of it is unpacked.
    """
    if not _is_gzip(path):
        return
    limit, n_bytes = max(ALLOWED_BYTES, MAX_RATIO * path.stat().st_size), 0
    with gzip.open(path) as file:
        while piece := file.read(PIECE_BYTES):
            n_bytes += len(piece)
            if n_bytes > limit:
                raise FormatError(
                    f"{path.stat().st_size:,} bytes that unpack to more than {limit:,}, as no table does",
                    where=path,
                    way_out="look at what it is, or give it unpacked",
                )


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a table is written."""

    encoding: str
    separator: str
    n_above: int
    """Lines above the header."""


def _parsed(path: Path, missing: Collection[str]) -> pd.DataFrame:
    """Read a table; R writes lines with one field more than the header, the row's name in front."""
    layout = _layout(path)
    read = partial(
        pd.read_csv,
        path,
        compression="gzip" if _is_gzip(path) else None,
        sep=layout.separator,
        skiprows=layout.n_above,
        dtype=str,
        encoding=layout.encoding,
        keep_default_na=False,
        na_values=sorted(missing),
    )
    has_row_names = _has_row_names(path, layout)
    table = read().rename_axis(ROW_NAMES).reset_index() if has_row_names else read(index_col=False)
    return table.rename(columns=unguarded).map(unguarded)


def _layout(path: Path) -> _Layout:
    """Find out how a table is written, by its first lines."""
    opener = gzip.open if _is_gzip(path) else open
    with opener(path, "rb") as file:
        encoding = "utf-16" if file.read(2) in UTF16_MARKS else "utf-8-sig"
    with opener(path, "rt", encoding=encoding) as text:
        above = list(islice(takewhile(lambda line: line.startswith(MARKS) or line.isspace(), text), MAX_ABOVE))
    with opener(path, "rt", encoding=encoding) as text:
        below = [line.rstrip("\n") for line in islice(text, len(above), len(above) + LOOKED_AT)]
    is_quoted = bool(below) and all(map(QUOTED.fullmatch, filter(str.strip, below)))
    separator = separator_among(below, path, blanks=is_quoted)
    is_header = bool(above and below) and is_marked_header(above[-1].strip(), below[0], separator)
    return _Layout(encoding, separator, len(above) - is_header)


def _has_row_names(path: Path, layout: _Layout) -> bool:
    """Whether every line has one field more than the header.

    Raises
    ------
    FormatError
        If lines differ in their number of fields, names the first.
    """
    opener = gzip.open if _is_gzip(path) else open
    first_lines: dict[int, int] = {}
    with opener(path, "rt", encoding=layout.encoding, newline="") as text:
        reader = csv.reader(map(_without_nul, islice(text, layout.n_above, None)), delimiter=layout.separator)
        width = len(next(reader, []))
        for fields in filter(None, reader):
            first_lines.setdefault(len(fields), layout.n_above + reader.line_num)
    if set(first_lines) == {width + 1}:
        return True
    wrong = {n_fields: line for n_fields, line in first_lines.items() if n_fields != width}
    if wrong:
        n_fields, line = next(iter(wrong.items()))
        raise FormatError(
            f"{n_fields} fields where the header has {width}",
            where=f"{path}, line {line}",
            way_out="put quotes around a field that holds a comma",
        )
    return False


def _without_nul(line: str) -> str:
    """Return a line as it is; pandas would cut a field at a NUL byte without a word."""
    if "\0" in line:
        raise ValueError("it holds a NUL byte")
    return line


Rows = tuple[Hashable, ...]
"""Rows of a table, by its index."""


@dataclass(frozen=True)
class Joined:
    """Cells with the columns of a table."""

    obs: pd.DataFrame
    remarks: tuple[str, ...] = ()
    """How cells and rows were brought together, and which cells have no row; nothing where none has one."""
    why_not: str = ""
    """Why no cell has a row; empty if any has one."""
    rows: Rows = ()
    """The rows of the table that cells have."""


def join_annotations(
    obs: pd.DataFrame, table: pd.DataFrame, path: Path, *, sample: str | None = None, has_cell_ids: bool = True
) -> Joined:
    """Add the table's columns to obs; cells are matched by id.

    The id column is the one that holds the most ids of cells, as they are, as ``SAMPLE:ID``, or spelt otherwise without
    a doubt (see `scnym.disk.cell_ids`). Where the table has a column `sample` that names this sample, only those rows
    count; a sample that is called by its file may be named without the file's ending. Rows about other cells are
    ignored, and a cell without a row has missing values; columns of the table replace columns of obs that have the same
    name. Cells without ids of their own are matched by order, unless the table has every id that they were given.

    Raises
    ------
    DataError
        If an id stands twice, or cells without ids are not as many as the rows.
    """
    names = list(dict.fromkeys([sample, ENDING.sub("", sample)])) if sample is not None else []
    for name in names if SAMPLE_COLUMN in table else ():
        if (table[SAMPLE_COLUMN] == name).any():
            table = table[table[SAMPLE_COLUMN] == name]
            break
    first, *others = names or [None]
    found = match_ids(obs.index, table, first)
    if others and 2 * found.n_found < len(obs):  # the name of the file may be in none of the ids
        found = max(found, match_ids(obs.index, table, others[0]), key=lambda one: one.n_found)
    if not has_cell_ids and (found.remark or found.n_found < len(obs)):
        return Joined(_by_order(obs, table, path))
    rows = table.iloc[:0].reindex([None] * len(obs)) if found.fault else _rows_of(found, table, path)
    others = obs.drop(columns=[name for name in rows if name in obs])
    joined = pd.concat([others, rows.set_axis(obs.index)], axis="columns")
    own = () if found.fault else tuple(_own_rows(found, table).index)
    return Joined(joined, tuple(_remarks(obs.index, found, path)), found.fault, own)


def remark_on_shared_rows(rows_of: Sequence[tuple[str, Rows]], table: pd.DataFrame, path: Path) -> str | None:
    """Return a warning where one row of a table is taken for a cell of two inputs.

    Parameters
    ----------
    rows_of
        Each input's name, and the rows that it takes.
    table
        The table of annotations.
    path
        Where it is from.

    Raises
    ------
    DataError
        If it holds barcodes alone, which all samples of 10x share.
    """
    of_row: dict[Hashable, int] = {}
    for number, (name, rows) in enumerate(rows_of):
        for row in rows:
            first = of_row.setdefault(row, number)
            if first != number:
                values = [str(value) for value in table.loc[[row]].to_numpy()[0]]
                ids = [value for value in values if BARE_BARCODE.fullmatch(value)]
                sample = ENDING.sub("", name)
                said = f"the row of {(ids or values)[0]!r} fits a cell of {rows_of[first][0]!r} and one of {name!r}"
                way_out = (
                    f"say of which sample each row is, in a column {SAMPLE_COLUMN!r}, as {sample!r}, or in the ids, as "
                    f"'{sample}:ID'; if both hold the same cells, give one of them"
                )
                if ids:
                    raise DataError(said, where=path, way_out=way_out)
                return f"WARNING: {path.name}: {said}, and both get its annotations; if these are two cells, {way_out}"
    return None


def none_found(why: str, path: Path) -> DataError:
    """Return the error of a table that has no cell at all."""
    return DataError(
        why, where=path, way_out="add a column with the cell ids of the count matrix, spelt as they are there"
    )


def _own_rows(found: IdMatch, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are of cells."""
    return table[table[found.column].isin([one for one in found.ids_C if one is not None])]


def _rows_of(found: IdMatch, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the row of each cell, without its id."""
    table = _own_rows(found, table)
    ids = table[found.column]
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise DataError(f"cell {examples(repeated)} stands twice", where=path, way_out="keep one row per cell")
    return table.set_index(found.column).reindex(found.ids_C)


def _remarks(cells: pd.Index, found: IdMatch, path: Path) -> Iterator[str]:
    """Yield how the ids of both sides were brought together, and how many cells have no row."""
    if found.remark:
        yield f"cells have other ids in {path.name}: {found.remark}"
    lost = cells[pd.isna(found.ids_C)]
    if not len(lost) or found.fault:
        return
    said = f"{len(lost):,} of {len(cells):,} cells have no row in {path.name}, such as {examples(lost[:3])}"
    few = found.n_found < FEW * len(cells)
    yield f"{said}: is it the table of these cells?" if few else f"{said}; they stay without its annotations"


def _by_order(obs: pd.DataFrame, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if len(table) != len(obs):
        raise DataError(
            f"the table has {len(table):,} rows, but there are {len(obs):,} cells, which have no ids",
            where=path,
            way_out="give it one row per cell, in the order of the cells",
        )
    return pd.concat([obs, table.set_axis(obs.index)], axis="columns")
