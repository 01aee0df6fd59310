"""Which cells train, which select the model, which are held out. Leak-free: made before any balancing.

C cells of the store.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from scnym.base.errors import DataError, SettingsError, examples
from scnym.base.settings import SplitSettings

UNUSED = -1


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One split of the labelled cells; row numbers, ascending."""

    name: str
    """``fold00`` and on, or ``all_data`` for the final model."""
    train: np.ndarray
    """Cells the network learns from."""
    selection: np.ndarray
    """Cells that choose the best epoch and the temperature."""
    held_out: np.ndarray
    """Cells that only judge the result; none for ``all_data``."""


def make_folds(codes_C: np.ndarray, classes: tuple[str, ...], settings: SplitSettings) -> list[Fold]:
    """Split the labelled cells, every class in proportion.

    Parameters
    ----------
    codes_C
        Class of every row of the store, -1 for rows without a label; shape (C,).
    classes
        Names of the classes.
    settings
        Number of folds, sizes, seed.

    Returns
    -------
    list of Fold
        The folds, then ``all_data``. Every labelled cell is held out exactly once over the folds.

    Raises
    ------
    DataError
        If a class has fewer cells than there are folds, or fewer than two.
    """
    rows = np.flatnonzero(codes_C != UNUSED)
    _require_enough(np.bincount(codes_C[rows], minlength=len(classes)), classes, settings)
    folds: list[Fold] = []
    if settings.n_folds:
        splitter = StratifiedKFold(settings.n_folds, shuffle=True, random_state=settings.seed)
        for number, (rest, held_out) in enumerate(splitter.split(rows, codes_C[rows])):
            folds.append(_fold(f"fold{number:02d}", rows[rest], rows[held_out], codes_C, settings, number))
    folds.append(_fold("all_data", rows, rows[:0], codes_C, settings, settings.n_folds))
    return folds


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
        )


def _fold(
    name: str,
    rest: np.ndarray,
    held_out: np.ndarray,
    codes_C: np.ndarray,
    settings: SplitSettings,
    number: int,
) -> Fold:
    random = np.random.default_rng([settings.seed, number])
    chosen = _stratified_share(codes_C[rest], settings.selection_fraction, random)
    return Fold(name=name, train=rest[~chosen], selection=rest[chosen], held_out=np.sort(held_out))


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
