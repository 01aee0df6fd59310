"""What the pages of runs read: the files that a run has left in its folder, those that are there."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.cost import COST_FILE
from scnym.base.formulas import unguarded
from scnym.base.numerals import as_numbers
from scnym.runs.folder import FIGURES_FILE, MAP_FILE, read_own_json, read_own_table

FEWEST_POINTS = 3
"""Cells without which a map shows nothing."""


def optional_json(path: Path) -> dict[str, Any]:
    """Read a file that older versions did not write; nothing if it is not there."""
    return read_own_json(path) if path.is_file() else {}


def figures_of(folder: Path) -> dict[str, Any]:
    """Give what the figures of a run are drawn from."""
    return optional_json(folder / FIGURES_FILE)


def cost_of(folder: Path) -> dict[str, Any]:
    """Give what a run has cost."""
    return optional_json(folder / COST_FILE)


def map_of(folder: Path) -> pd.DataFrame | None:
    """Give the cells of a run's map; None if it has none."""
    path = folder / MAP_FILE
    if not path.is_file():
        return None
    table = read_own_table(path)
    for name in ("x", "y", "confidence"):
        if name in table:
            table[name] = as_numbers(table[name], errors="raise")
    table = table.replace([np.inf, -np.inf], np.nan).dropna(subset=["x", "y"])
    return table if len(table) >= FEWEST_POINTS else None


def read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a long table that a run has written, as text; those that are not there are left out."""
    return pd.read_csv(path, usecols=lambda name: name in columns, dtype=str, keep_default_na=False).map(unguarded)
