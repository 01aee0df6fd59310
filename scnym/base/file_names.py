"""Names of files and folders made of names that come from data: safe on every system, still to be recognised."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

MAX_NAME_BYTES = 100
"""File systems allow 255, and more is added to names while work is under way."""
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{k}" for name in ("com", "lpt") for k in range(10))}
"""What Windows keeps for devices, with any suffix."""
_UNSAFE = re.compile(r"[^\w +.,()@=-]")


def safe_name(name: str) -> str:
    """Give a name without separators, control characters or dots at its ends, cut to 100 bytes.

    A name that is safe already stays as it is. Different names may give the same: `distinct_names` tells them apart.
    """
    kept = _cut(_UNSAFE.sub("_", unicodedata.normalize("NFC", name)))
    kept = re.sub(r"^[. ]+|[. ]+$", "_", kept)
    return f"{kept}_" if kept.partition(".")[0].strip().lower() in DEVICES else kept or "_"


def distinct_names(names: Sequence[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """Give each name a safe one, unlike all others and all taken in whatever case; the same in any order.

    A number at the end tells apart what would be alike.
    """
    found: dict[str, str] = {}
    used = {_alike(name) for name in taken}
    for name in sorted(names, key=lambda name: (safe_name(name) != name, name)):
        found[name] = _unlike(safe_name(name), used)
        used.add(_alike(found[name]))
    return tuple(found[name] for name in names)


def _cut(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


def _unlike(name: str, used: Iterable[str]) -> str:
    """Add a number to a name if it is used."""
    tried, number = name, 1
    while _alike(tried) in used:
        number += 1
        tried = f"{name}-{number}"
    return tried


def _alike(name: str) -> str:
    """Give what two names have in common that some file system holds to be one."""
    return unicodedata.normalize("NFKC", name).casefold()
