"""Which cells train, validate and test in each fold, and what all folds share. Split before any balancing.

C cells of the store, K classes.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from scnym.base.errors import DataError, examples
from scnym.base.settings import RunSettings, SplitSettings
from scnym.disk.store import Store
from scnym.feed.plan import digest
from scnym.model.distributed import ALONE, Processes
from scnym.model.trainer import TrainingResult
from scnym.results.labels import label_table
from scnym.results.metrics import Metrics
from scnym.results.scored_cells import Judged
from scnym.runs.inputs import CellLabels, Context
from scnym.runs.output_tree import FINAL_FOLDER, Family, stretches

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
    selection_by: Literal["cell", "group", "training"] = "cell"
    """Whether selection cells share no group with training cells, are drawn one by one, or are the training cells
    themselves: where every class has one cell left to learn from, no other is there."""
    not_judged: frozenset[int] = frozenset()
    """Codes of the classes of which no fold of the split has a cell to judge by, the same for all its folds."""

    @property
    def train(self) -> np.ndarray:
        """Rows that the network learns from, ascending."""
        return self._rows(Part.TRAIN)

    @property
    def selection(self) -> np.ndarray:
        """Rows that choose the best epoch and the temperature, ascending; those of training where no other is left."""
        return self._rows(Part.TRAIN if self.selection_by == "training" else Part.SELECTION)

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

    A class with fewer cells than there are folds is held out in as many folds as it has cells, each of which keeps a
    cell to learn from; one of a single cell is learnt from in all of them, and never judged.

    Parameters
    ----------
    codes_C
        Class of every row of the store, -1 for rows without a label; shape (C,).
    classes
        Names of the classes.
    settings
        Number of folds, sizes, seed.
    groups_C
        Group of every row (donor, data set), shape (C,): no group is both held out and learnt from. Where a group holds
        all cells of a class with fewer cells than there are folds, these have no part in the fold that holds it out.

    Returns
    -------
    list of Fold
        The folds, then ``all_data``. Every labelled cell that can be is held out exactly once over the folds. A fold
        that would hold out nothing, or learn one class only, is left out.

    Raises
    ------
    DataError
        If there is one class only, if no class has two cells, if there are fewer groups than folds, or if the groups
        leave nothing to judge.
    """
    rows = np.flatnonzero(codes_C != UNUSED)
    _require_enough(np.bincount(codes_C[rows], minlength=len(classes)), classes)
    cells = _Cells(codes_C, groups_C, settings)
    parts = list(cells.held_out_parts(rows)) if settings.n_folds else []
    if settings.n_folds and not parts:
        raise DataError(
            "no fold has both a cell to hold out and two classes to learn from",
            where="--cv_group",
            way_out="give a column whose groups have classes in common, or --n_folds 0 for the final model alone",
            mend={"--n_folds": 0},
        )
    folds = [cells.fold(f"fold{k:02d}", rest, held_out, k) for k, (rest, held_out) in enumerate(parts)]
    folds.append(cells.fold(FINAL_FOLDER, rows, rows[:0], settings.n_folds))
    judged = np.concatenate([fold.judged_rows for fold in folds[:-1] or folds])
    not_judged = frozenset(range(len(classes))) - frozenset(codes_C[judged].tolist())
    return [replace(fold, not_judged=not_judged) for fold in folds]


def classes_of_one_group(codes_C: np.ndarray, classes: tuple[str, ...], groups_C: np.ndarray) -> list[str]:
    """Name the classes all of whose cells are in one group: no model can know them in the fold that holds it out."""
    labelled = codes_C != UNUSED
    pairs = pd.DataFrame({"code": codes_C[labelled], "group": groups_C[labelled]}).drop_duplicates()
    n_groups_K = np.bincount(pairs["code"].to_numpy(), minlength=len(classes))
    return [name for name, n_groups in zip(classes, n_groups_K, strict=True) if n_groups == 1]


def remarks_on_folds(
    folds: Sequence[Fold], codes_C: np.ndarray, classes: tuple[str, ...], settings: SplitSettings
) -> Iterator[str]:
    """Yield what becomes of classes with few cells, where the folds are not those that one would expect."""
    *parts, final = folds
    if len(parts) < settings.n_folds:
        yield (
            f"{len(parts)} folds in place of {settings.n_folds}: others would hold out nothing, or learn one class only"
        )
    n_held_out_K = np.zeros(len(classes), int)
    for fold in parts:
        n_held_out_K[np.unique(codes_C[fold.held_out])] += 1
    is_rare_K = np.bincount(codes_C[codes_C != UNUSED], minlength=len(classes)) < settings.n_folds
    some = [
        f"{name} ({n_folds} of {len(parts)})"
        for name, n_folds, is_rare in zip(classes, n_held_out_K, is_rare_K, strict=True)
        if is_rare and 0 < n_folds < len(parts)
    ]
    why = "no cell can be held out, and others learnt from" if parts else "no cell can be spared for selection"
    never = {f"not judged, as {why}": [classes[code] for code in sorted(final.not_judged)]}
    told = {**never, "held out in some folds only, having few cells": some}
    said = [f"{words}: {examples(names)}" for words, names in told.items() if names]
    if said:
        yield f"classes that are {'; '.join(said)}"
    by_training = [fold.name for fold in folds if fold.selection_by == "training"]
    if by_training:
        yield f"every class has one cell left to learn from, which also chooses the epoch: {examples(by_training)}"


def _require_enough(sizes: np.ndarray, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise DataError(
            f"one class only ({examples(classes)})",
            where="--lower_group",
            way_out="give a column with two or more",
        )
    if sizes.max() < 2:
        raise DataError(
            f"each of the {len(classes):,} classes has one cell only, so none is left to choose or judge a model by",
            where="--lower_group",
            way_out="give a column whose classes have several cells",
        )


class _Cells:
    """The cells that are split, by whole groups if they have any."""

    def __init__(self, codes_C: np.ndarray, groups_C: np.ndarray | None, settings: SplitSettings) -> None:
        self._codes_C, self._groups_C, self._settings = codes_C, groups_C, settings

    def held_out_parts(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rest and the held-out rows of every fold that has two classes to learn from and a cell to judge."""
        sizes_K = np.bincount(self._codes_C[rows])
        is_rare_K = sizes_K < self._settings.n_folds
        alone = rows[sizes_K[self._codes_C[rows]] == 1] if self._groups_C is None else rows[:0]
        for rest, held_out in self._dealt(np.setdiff1d(rows, alone, assume_unique=True)):
            is_known_K = np.bincount(self._codes_C[rest], minlength=len(sizes_K)) > 0
            lost = held_out[(is_rare_K & ~is_known_K)[self._codes_C[held_out]]]
            judged = np.setdiff1d(held_out, lost, assume_unique=True)
            learnt = np.union1d(rest, alone)
            if len(judged) and len(np.unique(self._codes_C[learnt])) > 1:
                yield learnt, judged

    def _dealt(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Deal all rows to folds, or all groups of them; give the other rows and its own for every fold."""
        n_folds, codes, n_rows = self._settings.n_folds, self._codes_C[rows], len(rows)
        groups = None
        if self._groups_C is not None:
            groups = np.unique(self._groups_C[rows], return_inverse=True)[1]
            _require_enough_groups(int(groups.max()) + 1, n_folds)
        if np.bincount(codes).max() < n_folds:
            # scikit-learn deals no classes all of which have fewer cells than there are folds; so another one is put
            # behind them, which has a cell in each.
            codes = np.append(codes, np.full(n_folds, int(codes.max()) + 1))
            groups = None if groups is None else np.append(groups, groups.max() + 1 + np.arange(n_folds))
        splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(
            n_folds, shuffle=True, random_state=self._settings.seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # it need not be in every fold
            for rest, held_out in splitter.split(codes, codes, groups):
                yield rows[rest[rest < n_rows]], rows[held_out[held_out < n_rows]]

    def fold(self, name: str, rest: np.ndarray, held_out: np.ndarray, number: int) -> Fold:
        """Set cells for selection aside from the rest, by whole groups where there are enough of them."""
        random = np.random.default_rng([self._settings.seed, number])
        codes, fraction = self._codes_C[rest], self._settings.selection_fraction
        chosen, selection_by = None, "group"
        if self._groups_C is not None:
            chosen = _share_of_groups(codes, self._groups_C[rest], fraction, random)
        if chosen is None:
            chosen = _stratified_share(codes, fraction, random)
            selection_by = "cell" if chosen.any() else "training"
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
    if n_groups < MIN_GROUPS_FOR_SELECTION or largest_class < 2:
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
    """Mark about `fraction` of every class, but never the last cell of one; one cell in all, where that can be."""
    chosen = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        members = random.permutation(np.flatnonzero(codes == code))
        share = min(int(np.floor(fraction * len(members) + 0.5)), len(members) - 1)
        chosen[members[:share]] = True
    if not chosen.any():
        largest = np.flatnonzero(codes == np.bincount(codes).argmax())
        if len(largest) > 1:
            chosen[random.choice(largest)] = True
    return chosen


@dataclass(frozen=True)
class Job:
    """What every fold of a run shares."""

    store: Store
    labels: CellLabels
    genes: Sequence[str]
    settings: RunSettings
    device: torch.device
    columns: Sequence[str]
    """Names of the cells' annotations."""
    family: Family = "independent"
    context: Context | None = None
    """Tissues of the cells, where they are known; only the dependent family reads them."""
    groups: Context | None = None
    """What cross-validation keeps whole, if anything."""
    tissue: str | None = None
    """The one tissue whose cells have labels here, for the specific family."""
    processes: Processes = ALONE
    """Who trains together."""

    @property
    def tissues(self) -> tuple[str, ...]:
        """Levels that the network reads as a one-hot beside the genes."""
        return self.context.levels if self.context and self.family == "dependent" else ()

    @property
    def conditions_C(self) -> np.ndarray | None:
        """Tissue of every cell, as the network reads it."""
        return self.context.codes_C if self.context and self.tissues else None

    def true_tables(self, cell_ids: np.ndarray, rows: np.ndarray) -> Iterator[pd.DataFrame]:
        """Yield the class of each of some labelled cells, some cells at a time: cell_id, cell_type."""
        for part in (rows[some] for some in stretches(len(rows))):
            yield pd.DataFrame({"cell_id": cell_ids[part].astype(object), "cell_type": self.true_classes(part)})

    def true_classes(self, rows: np.ndarray) -> pd.Series:
        """Return the class of each of some labelled cells, as a name."""
        names = pd.CategoricalDtype(pd.Index(self.labels.classes))
        return pd.Series(pd.Categorical.from_codes(self.labels.codes_C[rows], dtype=names))


@dataclass(frozen=True)
class FoldResult:
    """What one fold, or the final model, gave."""

    fold: Fold
    n_genes: int
    """Genes that the network reads."""
    training: TrainingResult
    metrics: Metrics
    """On held-out cells; for the final model on its selection cells, before it learned from them too."""
    judged: Judged
    """What the network says of these cells."""

    @property
    def judged_rows(self) -> np.ndarray:
        """Cells that `metrics` is about, ascending."""
        return self.fold.judged_rows

    def tables(self, cell_ids: np.ndarray, classes: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Put what the network says of the judged cells into words, some cells at a time; see `label_table`."""
        rows = self.judged_rows
        for some in stretches(len(rows)):
            yield label_table(cell_ids[rows[some]], self.judged.ranked.part(some), classes)

    def state_dict(self) -> dict[str, Any]:
        """Return all from which the result can be had again, as tensors and plain values."""
        return {
            "n_genes": self.n_genes,
            "best_epoch": self.training.best_epoch,
            "temperature": self.training.temperature,
            "log": [asdict(record) for record in self.training.log],
            "cells": digest(self.judged_rows),
            "judged": {one.name: torch.from_numpy(getattr(self.judged, one.name)) for one in fields(Judged)},
        }
