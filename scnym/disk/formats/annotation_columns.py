"""Which columns of a text table are annotations by their names: words for them, and names unlike all others."""

import re
from collections.abc import Callable, Sequence

from scnym.disk.annotation_names import (
    COORDINATES,
    OF_CELLS,
    OF_CELLS_AMONG_GENES,
    OF_GENES,
    OF_GENES_AMONG_CELLS,
    UNNAMED,
    is_measure,
    plain,
)
from scnym.disk.formats.axes import kind_of_names
from scnym.disk.formats.known_names import CELL, GENE, GENE_ID, SYMBOL, TRANSGENE

SAMPLED_NAMES = 1000
LEAST_OF_SCHEME, SHARE_OF_SCHEME = 3, 0.9
"""So many names, and such a share of them, make a column of another name stand out."""


def named_beside(names: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells by its name that a column before or behind the counts is an annotation."""
    names = _both_ends(names)
    by_name = OF_GENES | OF_CELLS
    others = [name for name in names if plain(name) not in by_name and not is_measure(name)]
    found = kind_of_names(others)
    if found:
        by_name |= OF_GENES_AMONG_CELLS if found.kind == "cells" else OF_CELLS_AMONG_GENES
        together = [pair for pair in COORDINATES if pair <= {plain(name) for name in names}]
        by_name |= frozenset().union(*together) if found.kind == "genes" else frozenset()
    are_cells, are_ids = (_is_scheme_of(names, scheme) for scheme in (CELL, GENE_ID))

    def is_beside(name: str) -> bool:
        if plain(name) in by_name or is_measure(name) or UNNAMED.fullmatch(name):
            return True
        is_odd_id = are_ids and not any(kind.fullmatch(name) for kind in (GENE, TRANSGENE, SYMBOL))
        return is_odd_id or (are_cells and CELL.fullmatch(name) is None)

    return is_beside


def _both_ends(names: Sequence[str]) -> Sequence[str]:
    """Return names, of many a sample in which the first and the last are whole."""
    if len(names) <= 3 * SAMPLED_NAMES:
        return names
    between = names[SAMPLED_NAMES:-SAMPLED_NAMES]
    return [*names[:SAMPLED_NAMES], *between[:: 1 + len(between) // SAMPLED_NAMES], *names[-SAMPLED_NAMES:]]


def _is_scheme_of(names: Sequence[str], scheme: re.Pattern[str]) -> bool:
    """Return whether nearly all names between the first and the last of a scheme are of it, and they are most names."""
    fits = [scheme.fullmatch(name) is not None for name in names]
    if sum(fits) < max(LEAST_OF_SCHEME, len(names) / 2):
        return False
    between = len(names) - fits.index(True) - fits[::-1].index(True)
    return sum(fits) >= SHARE_OF_SCHEME * between
