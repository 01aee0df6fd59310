"""File names made of names that come from data: safe on every system, and still to be recognised."""

import re

MAX_NAME_BYTES = 120
_UNSAFE = re.compile(r"[^\w +.,()@=-]")


def safe_name(name: str) -> str:
    """Give a name without separators, control characters or dots at its ends, cut to 120 bytes.

    Different names may give the same, and a name that a system keeps for itself stays one (``CON``): put a number
    before it.
    """
    plain = _UNSAFE.sub("_", name).strip(" .")
    return plain.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(" .") or "_"
