"""Text files as bytes: plain or gzipped, in bounded chunks of whole lines, with all their numbers parsed at once.

Whatever the file holds (UTF-16, lines that end in CR alone), what comes out is UTF-8 with lines that end in LF.

A parser that works per column and chunk is slow on a wide table. Here the numbers of a whole chunk are parsed as one
long column, whatever the table's width. Also which character separates the fields, and which lines are no table.
"""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numba
import numpy as np
import pandas as pd

from scnym.base.errors import FormatError, ScnymError
from scnym.base.text_columns import has_long_exponent

SEPARATORS = "part the fields by commas (.csv) or tabs (.tsv, .txt)"
"""What tables are to look like, as a way out."""
USUAL = (",", "\t")
BLANK = " "
MARKS = ("#", "%", "@", "!", "^")
"""What begins a line above the header: BD Rhapsody and featureCounts write #, Drop-seq # or @, GEO ! and ^."""
LOOKED_AT = 10
"""Lines by which a separator is found."""


def separator_of(path: Path) -> str:
    """Return what stands between the fields of a text table, by its name: a tab in .tsv and .txt, else a comma."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return "\t" if suffixes and suffixes[-1] in {".tsv", ".txt"} else ","


def fields_of(line: str, separator: str) -> list[str]:
    """Return the fields of a line; any number of blanks and tabs counts as one blank.

    Raises
    ------
    csv.Error
        If a field has no end, say.
    """
    if separator == BLANK:
        line = line.strip().replace("\t", BLANK)
    elif line and '"' not in line and "\r" not in line:
        return line.split(separator)  # ten times as fast
    return next(csv.reader([line], delimiter=separator, skipinitialspace=separator == BLANK), [])


def separator_among(lines: Sequence[str], path: Path, *, blanks: bool = True) -> str:
    """Return what parts the fields of some lines: as the file's name says, unless only another makes a table of them.

    Parameters
    ----------
    lines
        The first of the file, without those that begin with one of `MARKS`.
    path
        The file.
    blanks
        Whether blanks may part them, as R writes tables.
    """
    usual = separator_of(path)
    first, *below = lines[:LOOKED_AT] or [""]
    others = USUAL if any(one in first for one in USUAL) else (";",)
    present = [one for one in (usual, *others) if one in first]
    candidates = [*present, usual, *([BLANK] if blanks and BLANK in first.strip() else [])]
    fitting = [one for one in candidates if _makes_a_table(first, below, one)]
    return (fitting or present or [usual])[0]


def usual_width(widths: Sequence[int]) -> int:
    """Return the number of fields that most lines have; the first of several."""
    return Counter(widths).most_common(1)[0][0] if widths else 0


def is_marked_header(marked: str, below: str, separator: str) -> bool:
    """Return whether a marked line, as in ``#gene``, is the header of the line below: it has as many fields."""
    try:
        n_marked, n_below = (len(fields_of(line, separator)) for line in (marked, below))
    except csv.Error:
        return False
    return n_marked == n_below > 1


def _makes_a_table(first: str, below: Sequence[str], separator: str) -> bool:
    try:
        widths = [_width(line, separator) for line in (first, *below)]
    except csv.Error:
        return False
    usual = usual_width(widths[1:]) if below else widths[0]
    return usual > 1 and 2 * widths[1:].count(usual) >= len(below)


def _width(line: str, separator: str) -> int:
    is_plain = separator != BLANK and '"' not in line
    return line.count(separator) + 1 if is_plain else len(fields_of(line, separator))


GZIP_MAGIC = b"\x1f\x8b"
TEXT_FAULTS = (OSError, EOFError, zlib.error)
"""What reading a text file raises when it is cut off, or damaged."""
NUMBER_CHARACTERS = b"0123456789.eE+-"
ZERO = ord("0")
NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive, or an Excel file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
"""What a file is that begins so, whatever its name says."""
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PEEK_BYTES = 2**16
MAX_LINE_BYTES = 2**26
"""Three million cells across; a line must fit into memory several times."""
MAX_DIGITS = 18
"""Any number with so many digits fits 64 bits."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a text file, gzipped or not, behind its byte order mark; its first bytes decide, not its name.

    UTF-16 (a spreadsheet's "Unicode text") becomes UTF-8, and line ends of old Macs become those of Unix.

    Raises
    ------
    FormatError
        If the file turns out to be damaged, or not text, while it is read.
    """
    try:
        with path.open("rb") as raw:
            magic = raw.read(max(map(len, NO_TEXT)))
            _require_text(magic, path)
            raw.seek(0)
            yield _plain(cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if magic.startswith(GZIP_MAGIC) else raw)
    except UnicodeDecodeError as fault:
        raise FormatError(
            f"not text in UTF-8 ({fault})", where=path, way_out="save it as UTF-8; if it is damaged, copy it again"
        ) from fault
    except TEXT_FAULTS as damage:
        if isinstance(damage, ScnymError):
            raise
        raise FormatError(f"the file is damaged ({damage})", where=path, way_out="copy or write it again") from damage


def _require_text(magic: bytes, path: Path) -> None:
    for start, what in NO_TEXT.items():
        if magic.startswith(start):
            raise FormatError(f"no text, but {what}", where=path, way_out="unpack it, or save it as CSV in UTF-8")


def _plain(file: BinaryIO) -> BinaryIO:
    """Return the file behind its byte order mark, translated where it is not UTF-8 with ends of lines in LF."""
    mark = file.read(len(codecs.BOM_UTF8))
    if mark.startswith(UTF16_MARKS):
        file.seek(0)
        return _translated(file, "utf-16", "utf-8")
    start = len(mark) if mark == codecs.BOM_UTF8 else 0
    file.seek(start)
    has_cr = _ends_lines_in_cr(file)
    file.seek(start)
    return _translated(file, "latin-1", "latin-1") if has_cr else file  # Latin-1 leaves every byte as it is


def _ends_lines_in_cr(file: BinaryIO) -> bool:
    """Return whether the first line ends in CR alone, as old Macs and Excel for them wrote it."""
    while piece := file.read(PEEK_BYTES):
        ends = re.search(rb"[\r\n]", piece)
        if ends:
            behind = piece[ends.end() : ends.end() + 1] or file.read(1)
            return ends[0] == b"\r" and behind != b"\n"
    return False


def _translated(file: BinaryIO, found: str, wanted: str) -> BinaryIO:
    text = io.TextIOWrapper(file, encoding=found, newline=None)  # any end of line becomes LF
    return cast("BinaryIO", io.BufferedReader(_Translation(text, wanted)))


class _Translation(io.RawIOBase):
    """Reads text in another encoding."""

    def __init__(self, text: io.TextIOWrapper, encoding: str) -> None:
        self._text, self._encoding = text, encoding
        self.name = text.name

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer of 4 bytes or more; a character takes 4 at most."""
        piece = self._text.read(len(buffer) // 4).encode(self._encoding)
        buffer[: len(piece)] = piece
        return len(piece)


def chunks(file: BinaryIO, max_bytes: int) -> Iterator[bytes]:
    """Yield whole lines, `max_bytes` at a time at most, one line at least; line ends of Windows become plain ones."""
    rest = b""
    while text := rest + file.read(max_bytes - len(rest)):
        end = text.rfind(b"\n") + 1
        if not end:
            text += file.readline(MAX_LINE_BYTES)
            if len(text) > MAX_LINE_BYTES:
                raise FormatError(
                    f"a line of more than {MAX_LINE_BYTES:,} bytes", where=file.name, way_out="copy or write it again"
                )
            end = len(text)
        yield text[:end].replace(b"\r\n", b"\n") if b"\r" in text else text[:end]
        rest = text[end:]


def numbers_in(text: bytes, form: bytes, n_lines: int) -> np.ndarray | None:
    r"""Parse lines of numbers that all have the same form.

    Parameters
    ----------
    text
        The lines, each with its end.
    form
        What a line is without its numbers, such as ``b",,\n"``; one byte per number.
    n_lines
        How many lines there are.

    Returns
    -------
    np.ndarray or None
        The numbers, shape (n_lines * len(form),): int64 if all are whole, else float64. None if a line has another
        form or a field is not plainly a number.
    """
    numbers = np.empty(n_lines * len(form), np.int64)
    if _fill_whole(np.frombuffer(text, np.uint8), np.frombuffer(form, np.uint8), numbers):
        return numbers
    if text.translate(None, NUMBER_CHARACTERS) != form * n_lines:
        return None
    column = text[:-1].translate(bytes.maketrans(form, b"," * len(form)))
    if b",," in b",%b," % column or has_long_exponent(column):
        return None
    try:
        return _fractions(column)
    except ValueError:
        return None


@numba.njit(nogil=True, cache=True)
def _fill_whole(text: np.ndarray, form: np.ndarray, numbers: np.ndarray) -> bool:
    """Parse numbers made of digits alone; say whether there was nothing else, and as many as there is room for."""
    n_columns, column, n_found, n_digits, value = len(form), 0, 0, 0, 0
    for character in text:
        digit = character - ZERO
        if 0 <= digit <= 9:
            value = value * 10 + digit
            n_digits += 1
        elif character == form[column] and 0 < n_digits <= MAX_DIGITS and n_found < len(numbers):
            numbers[n_found] = value
            n_found += 1
            column = column + 1 if column + 1 < n_columns else 0
            n_digits = value = 0
        else:
            return False
    return n_found == len(numbers) and n_digits == 0


def _fractions(column: bytes) -> np.ndarray:
    frame = pd.read_csv(
        io.BytesIO(column),
        sep=" ",
        lineterminator=",",
        header=None,
        dtype=np.float64,
        na_filter=False,
    )
    return frame.to_numpy().ravel()
