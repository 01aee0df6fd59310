"""Whether two files hold cells of the same ids, in whatever spelling: their lists of ids are compared, not their names.

Two samples of 10x have some barcodes in common by chance: one in seven, if both are large.
"""

from pathlib import Path

import pandas as pd

from scnym.base.errors import ScnymError
from scnym.base.settings import ConvertSettings
from scnym.disk.cell_ids import LEAST_SHARE, cores
from scnym.disk.formats.block import Scattered
from scnym.disk.formats.sniff import open_source

FIRST_ELEMENTS = 2**20
"""Of a table that is read cell by cell, so many values are looked at: the ids of the first cells are enough."""


def share_ids(one: pd.Index | None, other: pd.Index | None) -> bool | None:
    """Return whether most cells of the smaller file are in the larger one, by their ids; None if one is not known."""
    if one is None or other is None:
        return None
    fewer, more = sorted((one, other), key=len)
    return _are_most_in(fewer, more) or _are_most_in(pd.Index(cores(fewer)), pd.Index(cores(more)))


def ids_in(path: Path) -> pd.Index | None:
    """Return the ids of a file's cells, of a long text table those of the first; None if it cannot be read."""
    try:
        source = open_source(path, ConvertSettings())
        obs = source.obs
        if obs is not None or isinstance(source, Scattered):
            return None if obs is None else pd.Index(obs.index)
        return next(iter(source.blocks(FIRST_ELEMENTS))).cells
    except (ScnymError, OSError, StopIteration):
        return None


def _are_most_in(fewer: pd.Index, more: pd.Index) -> bool:
    fewer = fewer.unique()
    return bool(len(fewer) and fewer.isin(more).mean() >= LEAST_SHARE)
