"""Which cells train, which select the model, which are held out. Leak-free: made before any balancing.

C cells of the store.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from scnym.base.errors import DataError, SettingsError, examples
from scnym.base.settings import SplitSettings
from scnym.runs.folder import FINAL_FOLDER

UNUSED = -1
MIN_GROUPS_FOR_SELECTION = 10
"""Least number of groups outside the held-out part for which whole ones are set aside for selection."""


class Part(IntEnum):
    """What a cell is for."""

    UNUSED = 0
    TRAIN = 1
    SELECTION = 2
    HELD_OUT = 3


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One split of the labelled cells; one byte for each cell of the store."""

    name: str
    """``fold00`` and on, or ``all_data`` for the final model."""
    parts_C: np.ndarray
    """`Part` of every cell of the store; uint8."""
    selection_by: Literal["cell", "group"] = "cell"
    """Whether selection cells share no group with training cells, or are drawn one by one."""

    @property
    def train(self) -> np.ndarray:
        """Rows that the network learns from, ascending."""
        return self._rows(Part.TRAIN)

    @property
    def selection(self) -> np.ndarray:
        """Rows that choose the best epoch and the temperature, ascending."""
        return self._rows(Part.SELECTION)

    @property
    def held_out(self) -> np.ndarray:
        """Rows that only judge the result, ascending; none for ``all_data``."""
        return self._rows(Part.HELD_OUT)

    @property
    def judged_rows(self) -> np.ndarray:
        """Rows that say how good the result is, ascending: those held out, or where there are none, selection."""
        return self._rows(Part.HELD_OUT if (self.parts_C == Part.HELD_OUT).any() else Part.SELECTION)

    @property
    def learnt(self) -> np.ndarray:
        """Rows of training and selection together, ascending."""
        return np.flatnonzero((self.parts_C == Part.TRAIN) | (self.parts_C == Part.SELECTION))

    @property
    def sizes(self) -> dict[str, int]:
        """Number of cells of each part."""
        return {part.name.lower(): int((self.parts_C == part).sum()) for part in Part if part}

    def _rows(self, part: Part) -> np.ndarray:
        return np.flatnonzero(self.parts_C == part)


def make_folds(
    codes_C: np.ndarray,
    classes: tuple[str, ...],
    settings: SplitSettings,
    groups_C: np.ndarray | None = None,
) -> list[Fold]:
    """Split the labelled cells, every class in proportion as far as can be.

    Parameters
    ----------
    codes_C
        Class of every row of the store, -1 for rows without a label; shape (C,).
    classes
        Names of the classes.
    settings
        Number of folds, sizes, seed.
    groups_C
        Group of every row (donor, data set), shape (C,): no group is both held out and learnt from.

    Returns
    -------
    list of Fold
        The folds, then ``all_data``. Every labelled cell is held out exactly once over the folds.

    Raises
    ------
    DataError
        If a class has fewer cells than there are folds, or fewer than two; if there are fewer groups than folds, or
        they cannot be dealt to folds so that every class is left to learn from.
    """
    rows = np.flatnonzero(codes_C != UNUSED)
    _require_enough(np.bincount(codes_C[rows], minlength=len(classes)), classes, settings)
    cells = _Cells(codes_C, groups_C, classes, settings)
    parts = cells.held_out_parts(rows)
    folds = [cells.fold(f"fold{k:02d}", rest, held_out, k) for k, (rest, held_out) in enumerate(parts)]
    return [*folds, cells.fold(FINAL_FOLDER, rows, rows[:0], settings.n_folds)]


def classes_of_one_group(codes_C: np.ndarray, classes: tuple[str, ...], groups_C: np.ndarray) -> list[str]:
    """Name the classes all of whose cells are in one group: no model can know them in the fold that holds it out."""
    labelled = codes_C != UNUSED
    pairs = pd.DataFrame({"code": codes_C[labelled], "group": groups_C[labelled]}).drop_duplicates()
    n_groups_K = np.bincount(pairs["code"].to_numpy(), minlength=len(classes))
    return [name for name, n_groups in zip(classes, n_groups_K, strict=True) if n_groups == 1]


def _require_enough(sizes: np.ndarray, classes: tuple[str, ...], settings: SplitSettings) -> None:
    least = max(2, settings.n_folds)
    small = [f"{name} ({size})" for name, size in zip(classes, sizes, strict=True) if size < least]
    if len(classes) < 2:
        raise DataError(
            f"one class only ({examples(classes)})",
            where="--lower_group",
            way_out="give a column with two or more",
        )
    if small:
        raise DataError(
            f"classes with fewer than {least} cells: {examples(small)}",
            where="--lower_group",
            way_out=f"leave them out with --min_cells_per_class {least}, or take fewer folds with --n_folds",
            mend={"--min_cells_per_class": least} if (sizes >= least).sum() > 1 else None,
        )


class _Cells:
    """The cells that are split, by whole groups if they have any."""

    def __init__(
        self, codes_C: np.ndarray, groups_C: np.ndarray | None, classes: tuple[str, ...], settings: SplitSettings
    ) -> None:
        self._codes_C, self._groups_C, self._classes, self._settings = codes_C, groups_C, classes, settings
        self._lonely = set() if groups_C is None else set(classes_of_one_group(codes_C, classes, groups_C))

    def held_out_parts(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give the rest and the held-out rows of every fold."""
        n_folds, seed = self._settings.n_folds, self._settings.seed
        if not n_folds:
            return
        if self._groups_C is None:
            splitter, groups = StratifiedKFold(n_folds, shuffle=True, random_state=seed), None
        else:
            splitter, groups = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed), self._groups_C[rows]
            _require_enough_groups(len(np.unique(groups)), n_folds)
        for rest, held_out in splitter.split(rows, self._codes_C[rows], groups):
            self._require_sound(rows[rest], rows[held_out])
            yield rows[rest], rows[held_out]

    def _require_sound(self, rest: np.ndarray, held_out: np.ndarray) -> None:
        """Refuse a fold that tests nothing, or has classes to name that it could have learnt and did not."""
        known = set(np.unique(self._codes_C[rest]).tolist())
        missing = [name for code, name in enumerate(self._classes) if code not in known and name not in self._lonely]
        faults = {
            f"no cell of {examples(missing)} to learn from": bool(missing),
            "one class only to learn from": len(known) < 2,
            "nothing to hold out": not len(held_out),
        }
        for fault in (words for words, holds in faults.items() if holds):
            raise DataError(
                f"the groups leave {fault} in one fold",
                where="--cv_group",
                way_out="take other folds with --n_folds or --seed, or leave small classes out with "
                "--min_cells_per_class",
            )

    def fold(self, name: str, rest: np.ndarray, held_out: np.ndarray, number: int) -> Fold:
        """Set cells for selection aside from the rest, by whole groups where there are enough of them."""
        random = np.random.default_rng([self._settings.seed, number])
        codes, fraction = self._codes_C[rest], self._settings.selection_fraction
        chosen, selection_by = None, "group"
        if self._groups_C is not None:
            chosen = _share_of_groups(codes, self._groups_C[rest], fraction, random)
        if chosen is None:
            chosen, selection_by = _stratified_share(codes, fraction, random), "cell"
        parts_C = np.full(len(self._codes_C), Part.UNUSED, np.uint8)
        parts_C[rest] = np.where(chosen, Part.SELECTION, Part.TRAIN)
        parts_C[held_out] = Part.HELD_OUT
        return Fold(name=name, parts_C=parts_C, selection_by=selection_by)


def _require_enough_groups(n_groups: int, n_folds: int) -> None:
    if n_groups < n_folds:
        raise DataError(
            f"{n_groups:,} groups with labelled cells are fewer than {n_folds} folds",
            where="--cv_group",
            way_out=f"give --n_folds {n_groups}" if n_groups > 1 else "give a column with two groups or more",
            mend={"--n_folds": n_groups} if n_groups > 1 else None,
        )


def _share_of_groups(
    codes: np.ndarray, groups: np.ndarray, fraction: float, random: np.random.Generator
) -> np.ndarray | None:
    """Mark whole groups with about `fraction` of the cells, so that every class keeps some that are not marked.

    None if there are too few groups, or if no choice leaves every class.
    """
    n_groups, largest_class = len(np.unique(groups)), int(np.bincount(codes).max())
    if n_groups < MIN_GROUPS_FOR_SELECTION:
        return None
    n_parts = int(np.clip(round(1 / fraction), 2, min(n_groups, largest_class)))
    splitter = StratifiedGroupKFold(n_parts, shuffle=True, random_state=int(random.integers(2**31)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # it need not be in every part
        parts = list(splitter.split(codes, codes, groups))
    n_classes = len(np.unique(codes))
    possible = [part for rest, part in parts if len(part) and len(np.unique(codes[rest])) == n_classes]
    if not possible:
        return None
    chosen = np.zeros(len(codes), bool)
    chosen[min(possible, key=lambda part: abs(len(part) - fraction * len(codes)))] = True
    return chosen


def _stratified_share(codes: np.ndarray, fraction: float, random: np.random.Generator) -> np.ndarray:
    """Mark about `fraction` of every class, always leaving one cell of it unmarked; one cell in all at least."""
    chosen = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        members = random.permutation(np.flatnonzero(codes == code))
        share = min(int(np.floor(fraction * len(members) + 0.5)), len(members) - 1)
        chosen[members[:share]] = True
    if not chosen.any():
        largest = np.flatnonzero(codes == np.bincount(codes).argmax())
        if len(largest) < 2:
            raise SettingsError("too few cells to set any aside for selection", way_out="give more labelled cells")
        chosen[random.choice(largest)] = True
    return chosen
