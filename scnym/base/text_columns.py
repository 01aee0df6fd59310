"""Columns of text in tables: numbers that anyone may have written, and names that a spreadsheet would execute.

pandas 2.3.3 ends the process on ``1e2147483648``, and takes ``1e4294967296`` for 1, as its exponents overflow.
Spreadsheets execute what begins with ``=``, ``+``, ``-`` or ``@`` (OWASP, CSV injection): such names are written with
an apostrophe in front, and read without it.
"""

import re
from typing import Literal

import numpy as np
import pandas as pd

APOSTROPHE = "'"
_FORMULA = re.compile(r"'*[=+\-@\t\r].", re.DOTALL)
_NUMBER = re.compile(r"'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def guarded(text: object) -> object:
    """Put an apostrophe before a formula; whatever else stays as it is."""
    return f"{APOSTROPHE}{text}" if isinstance(text, str) and _is_formula(text) else text


def unguarded(text: object) -> object:
    """Take the apostrophe away again."""
    is_guarded = isinstance(text, str) and text.startswith(APOSTROPHE) and _is_formula(text[1:])
    return text[1:] if is_guarded and isinstance(text, str) else text


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


LONG_EXPONENT = r"[eE][+-]?0*[1-9]\d{4}"
"""No number that fits 64 bits has it."""
_LONG_IN_BYTES = re.compile(LONG_EXPONENT.encode())


def has_long_exponent(text: bytes) -> bool:
    """Whether text holds what pandas must not be given."""
    return (b"e" in text or b"E" in text) and _LONG_IN_BYTES.search(text) is not None


def as_numbers(column: pd.Series, *, errors: Literal["coerce", "raise"] = "coerce") -> pd.Series:
    """Return a column, of text perhaps, as numbers; for what is none give NaN, or raise a `ValueError`."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column
    text = column.astype(object)
    is_long = text.astype(str).str.contains(LONG_EXPONENT, regex=True)
    if errors == "raise" and is_long.any():
        raise ValueError(f"{text[is_long].iloc[0]} is too large or too small")
    return pd.to_numeric(text.mask(is_long, np.nan), errors=errors)
