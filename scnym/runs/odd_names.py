"""Names of classes, tissues and groups that are probably one name written in two ways, or none at all."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator

from scnym.base.errors import MAX_EXAMPLES, examples
from scnym.disk.annotations import MISSING

NO_NAMES = frozenset(word.casefold() for word in MISSING if word) | {"nat"}
"""What missing values become where a column is made text."""


def remarks_on_names(names: Iterable[str], what: str) -> Iterator[str]:
    """Say which names differ only in blanks, case or the like, and which are those of missing values.

    Nothing is merged or left out: a reader may have meant it so.

    Parameters
    ----------
    names
        As they stand in the data.
    what
        What they are names of, in the plural, and where.
    """
    alike, missing = defaultdict[str, list[str]](list), []
    for name in sorted(set(names)):
        alike[_core(name).casefold()].append(name)
        if name.strip().casefold() in NO_NAMES:
            missing.append(name)
    several = [group for group in alike.values() if len(group) > 1]
    for group in several[:MAX_EXAMPLES]:
        yield (
            f"{what}: {examples(group)} differ only in {_difference(group)}, but stay {len(group)} different ones; if "
            "they are the same, give them one name"
        )
    if len(several) > MAX_EXAMPLES:
        yield f"{what}: {len(several) - MAX_EXAMPLES:,} more groups of names differ as little"
    if missing:
        yield (
            f"{what}: one is called {examples(missing)}, as missing values are once they have become text; where cells "
            "have none, leave it empty"
        )


def _core(name: str) -> str:
    """Return a name without blanks and characters that are not seen, each letter in its usual form."""
    usual = unicodedata.normalize("NFKC", name)
    return "".join(one for one in usual if not one.isspace() and unicodedata.category(one) not in {"Cf", "Cc"})


def _difference(names: Iterable[str]) -> str:
    """Return in what names differ of which the same is left."""
    if len({"".join(name.split()) for name in names}) == 1:
        return "blanks"
    if len({name.casefold() for name in names}) == 1:
        return "upper and lower case"
    if len({"".join(name.split()).casefold() for name in names}) == 1:
        return "blanks and case"
    return "characters that look alike or are not seen"
