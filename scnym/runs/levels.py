"""The tissue (any upper group) of new cells, as levels that a model knows.

C cells.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, examples
from scnym.base.schema import OWN_OBS_COLUMNS
from scnym.base.settings import UnknownTissue
from scnym.disk.store import Store
from scnym.runs.intake import label_text

NO_LEVEL = -1
MOST_LISTED = 30
"""Known levels that an error lists."""


def column_of(store: Store, column: str, option: str) -> pd.Series:
    """Read a column of the cells' annotations as text, None where there is none.

    Raises
    ------
    DataError
        If a source has no such column; lists those it has.
    """
    for dataset, source in zip(store.datasets, store.sources, strict=True):
        names = [name for name in dataset.columns if name not in OWN_OBS_COLUMNS]
        if column not in names:
            raise DataError(
                f"there is no column {column!r} among the cells' annotations",
                where=source.file,
                way_out=f"give {option} one of {', '.join(names)}"
                if names
                else "give a table of annotations with --training_metadata",
            )
    return store.column(column).map(label_text).astype(object)


def level_codes(
    names_C: pd.Series,
    known: Sequence[str],
    *,
    where: str | Path,
    unknown: UnknownTissue,
    reasons: Mapping[str, str] | None = None,
) -> np.ndarray:
    """Give the position of each cell's level among those known, -1 for others, int64, shape (C,).

    Parameters
    ----------
    names_C
        The cells' levels; None for a cell that has none, which counts as one that is not known.
    known
        Levels that the model knows.
    where
        Where the levels stand, for errors.
    unknown
        Whether levels that are not known are an error.
    reasons
        Why some levels are not known, for errors.

    Raises
    ------
    DataError
        Lists the levels that are not known, with their cells, and those that are.
    """
    codes_C = pd.Index(known).get_indexer(pd.Index(names_C)).astype(np.int64)
    if unknown == "zero" or (codes_C != NO_LEVEL).all():
        return codes_C
    offending = names_C[codes_C == NO_LEVEL].fillna("").value_counts()
    listed = [_in_words(str(name), int(count), (reasons or {}).get(str(name))) for name, count in offending.items()]
    more = f" and {len(known) - MOST_LISTED:,} more" if len(known) > MOST_LISTED else ""
    raise DataError(
        f"tissues that the model does not know: {', '.join(listed[:MOST_LISTED])}",
        where=where,
        way_out=f"it knows {', '.join(known[:MOST_LISTED])}{more}; rename them, leave these cells out, or give "
        "--unknown_tissue zero",
        mend={"--unknown_tissue": "zero"},
    )


def _in_words(name: str, count: int, reason: str | None) -> str:
    shown = examples([name]) if name else "no tissue"
    cells = "1 cell" if count == 1 else f"{count:,} cells"
    return f"{shown} ({cells}; {reason})" if reason else f"{shown} ({cells})"
