"""Names that a spreadsheet would take for formulas: written with an apostrophe in front, read without.

Spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@``, in quotes or not (OWASP, CSV injection). Numbers are
none, and a lone sign is none. Of a name that has apostrophes before such a sign already, one more is told apart.
"""

import re

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
