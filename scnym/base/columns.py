"""Names of columns: under which they can be stored, and what they were called before."""

import re
from collections.abc import Iterable, Sequence

MAX_NAME_BYTES = 200
"""Longest name of a column, which becomes a folder; file systems take 255 bytes."""
RESERVED = re.compile(r"(_index|\.{0,2}|zarr\.json|__.*)", re.DOTALL)
"""Names that AnnData or Zarr use themselves, or that are none."""
UNSAFE = re.compile(r"[/\\\x00-\x1f]")


def safe_names(names: Iterable[object], max_bytes: int | None = MAX_NAME_BYTES) -> list[str]:
    """Give every column a name of its own under which AnnData can store it: its own name wherever that is possible.

    A slash would make a folder of it, so it becomes an underscore, as do control characters; a name that is reserved,
    empty or taken gets an underscore behind it or `column` in front; one that is too long is cut.

    Parameters
    ----------
    names
        What the columns are called.
    max_bytes
        Longest name, in bytes of UTF-8; None for no limit.
    """
    texts = [str(name) for name in names]
    wanted = [_safe(text, max_bytes) for text in texts]
    kept = {text for text, safe in zip(texts, wanted, strict=True) if text == safe}
    given: list[str] = []
    taken: set[str] = set()
    for text, safe in zip(texts, wanted, strict=True):
        free = safe if text == safe and safe not in taken else free_name(safe, kept | taken)
        given.append(free)
        taken.add(free)
    return given


def original_names(columns: Sequence[str], renamed: dict[str, str]) -> list[str]:
    """Give columns the names they had before `storable`, but for those that would stand twice."""
    names: list[str] = []
    kept = {name for name in columns if name not in renamed}
    for name in columns:
        old = renamed.get(name, name)
        names.append(name if old != name and old in kept | set(names) else old)
    return names


def _safe(name: str, max_bytes: int | None) -> str:
    name = UNSAFE.sub("_", name)
    if RESERVED.fullmatch(name):
        name = f"{name}_" if name.strip("_") and not name.startswith("_") else f"column{name}"
    return name if max_bytes is None else name.encode()[:max_bytes].decode(errors="ignore")


def free_name(name: str, taken: Iterable[str]) -> str:
    """Give `name`, with underscores behind it until it is not among those taken."""
    taken = set(taken)
    if name in taken and not name.strip("_"):
        name = f"column{name}"  # two underscores in front are reserved
    while name in taken:
        name += "_"
    return name
