"""Text files as bytes: plain or gzipped, in bounded chunks of whole lines, with all their numbers parsed at once.

Whatever the file holds (UTF-16, lines that end in CR alone), what comes out is UTF-8 with lines that end in LF.

A wide table has so many columns that a parser with work to do per column and chunk spends its time there. Here the
numbers of a whole chunk are one long column, whatever the table's width.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numba
import numpy as np
import pandas as pd

from scnym.base.errors import FormatError, ScnymError
from scnym.base.numerals import has_long_exponent

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
