"""Numbers written as text by anyone.

Of ``1e2147483648`` pandas ends the process (version 2.3.3), ``1e4294967296`` it takes for 1: its exponents overflow.

Names that a spreadsheet would take for formulas: written with an apostrophe in front, read without.

Spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@``, in quotes or not (OWASP, CSV injection). Numbers are
none, and a lone sign is none. Of a name that has apostrophes before such a sign already, one more is told apart.
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
    """Give a column, of text perhaps, as numbers; for what is none give NaN, or raise a `ValueError`."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column
    text = column.astype(object)
    is_long = text.astype(str).str.contains(LONG_EXPONENT, regex=True)
    if errors == "raise" and is_long.any():
        raise ValueError(f"{text[is_long].iloc[0]} is too large or too small")
    return pd.to_numeric(text.mask(is_long, np.nan), errors=errors)
