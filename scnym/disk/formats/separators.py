"""What parts the fields of a text table, and which lines above its header are none of it."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
