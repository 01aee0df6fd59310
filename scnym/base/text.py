"""Text that comes from data, made safe: shown on a terminal, used as a file name, or parsed as JSON."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line end, and marks of the direction of writing."""
MAX_WORD, MAX_TEXT = 200, 2000
"""Most characters of a name or a value, and of all that is said: one of a million hides what is said of it."""


def displayed(text: str) -> str:
    r"""Return text with every control character as an escape, such as ``\x1b``."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str) -> str:
    """Return text of which no word, nor the whole, is too long to be read."""
    if len(text) <= MAX_WORD:
        return text
    words = " ".join(_cut(word, MAX_WORD) for word in text[: MAX_TEXT * MAX_WORD].split())
    return _cut(words, MAX_TEXT)


def _cut(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else f"{text[: n_characters // 2]}…{text[-(n_characters // 8) :]}"


def parse_json(document: bytes | str) -> Any:
    """Parse JSON as `json.loads` does; what is nested too deeply for that is a fault of the document as well.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        return json.loads(document)
    except RecursionError as fault:
        raise ValueError("it is nested too deeply") from fault


MAX_NAME_BYTES = 100
"""File systems allow 255, and more is added to names while work is under way."""
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}
"""What Windows keeps for devices, with any suffix."""
_UNSAFE = re.compile(r"[^\w +.,()@=-]")


def safe_name(name: str) -> str:
    """Return a name without separators, control characters or dots at its ends, cut to 100 bytes.

    A name that is safe already stays as it is. Different names may give the same: `distinct_names` tells them apart.
    """
    kept = _cut_name(_UNSAFE.sub("_", unicodedata.normalize("NFC", name)))
    kept = re.sub(r"^[. ]+|[. ]+$", "_", kept)
    return f"{kept}_" if kept.partition(".")[0].strip().lower() in DEVICES else kept or "_"


def distinct_names(names: Sequence[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Return a safe name for each name, unlike all others and all taken in whatever case; the same in any order.

    A number at the end tells apart what would be alike.
    """
    found: dict[str, str] = {}
    used = {_alike(name) for name in taken}
    for name in sorted(names, key=lambda name: (safe_name(name) != name, name)):
        found[name] = _unlike(safe_name(name), used)
        used.add(_alike(found[name]))
    return tuple(found[name] for name in names)


def _cut_name(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def _unlike(name: str, used: Iterable[str]) -> str:
    """Add a number to a name if it is used."""
    tried, number = name, 1
    while _alike(tried) in used:
        number += 1
        tried = f"{name}-{number}"
    return tried


def _alike(name: str) -> str:
    """Return what two names have in common that some file system holds to be one."""
    return unicodedata.normalize("NFKC", name).casefold()
