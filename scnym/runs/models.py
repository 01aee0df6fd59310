"""Which models label which cells: one for all, or one for each tissue, behind whatever path a user gives.

C cells of the store, K classes of all models together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, FormatError, MissingInputError, examples
from scnym.base.schema import OWN_OBS_COLUMNS
from scnym.base.settings import PredictSettings, UnknownTissue
from scnym.disk.store import Store
from scnym.model.snapshot import Snapshot
from scnym.runs.inputs import label_text
from scnym.runs.output_tree import FINAL_FOLDER, MODEL_FILE, TISSUES_FILE, final_model, read_own_table

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
    """Return the position of each cell's level among those known, -1 for others, int64, shape (C,).

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


DEFAULT_COLUMN = "tissue"
UPPER_GROUP = "--upper_group"


@dataclass(frozen=True)
class ModelSet:
    """One model, or one for each tissue; they are read when they are needed, so that only one is in memory."""

    path: Path
    """As it was given."""
    paths: Mapping[str | None, Path]
    """File of each tissue's model; that of the only model under None."""
    training_gene_names: str | Path | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why tissues have no model."""

    @property
    def is_by_tissue(self) -> bool:
        """Whether every tissue has a model of its own."""
        return None not in self.paths

    def load(self, tissue: str | None) -> Snapshot:
        """Read the model of a tissue, or the only one."""
        return Snapshot.load(self.paths[tissue], self.training_gene_names)


@dataclass(frozen=True)
class Assignment:
    """Cells that one model labels."""

    tissue: str | None
    """The model's tissue, if every tissue has its own."""
    rows_C: np.ndarray
    """Their rows in the store, ascending."""
    levels_C: np.ndarray | None = None
    """For a model that reads the tissue: its number for every cell of the store, -1 for none."""


@dataclass(frozen=True)
class Routing:
    """Which model labels which cells."""

    assignments: tuple[Assignment, ...]
    tissues_C: pd.Series | None
    """Tissue of every cell, where models depend on it."""


def find_models(path: str | Path, training_gene_names: str | Path | None = None) -> ModelSet:
    """Find the model, or the models, behind a path.

    Parameters
    ----------
    path
        A model file; the folder of a run, whose final model counts; or the folder of tissue-specific runs.
    training_gene_names
        For bare weights: text file with the network's genes, one a line.

    Raises
    ------
    MissingInputError, FormatError
        If there is no model.
    """
    path = Path(path)
    if not path.is_dir():
        return ModelSet(path, {None: path}, training_gene_names)
    file = final_model(path)
    if file.is_file():
        return ModelSet(path, {None: file}, training_gene_names)
    if (path / TISSUES_FILE).is_file():
        return _models_of_tissues(path)
    inside = sorted(
        {run.parent.name for pattern in (f"*/{FINAL_FOLDER}", "*/summary.csv") for run in path.glob(pattern)}
    )
    raise MissingInputError(
        "there is no model in this folder",
        where=path,
        way_out=f"give one of the folders in it: {', '.join(inside)}"
        if inside
        else f"give the folder of a training run, or its {FINAL_FOLDER}/{MODEL_FILE}",
        mend={"--model_path": path / inside[0]} if len(inside) == 1 else None,
    )


def _models_of_tissues(folder: Path) -> ModelSet:
    table = read_own_table(folder / TISSUES_FILE)
    if not {"tissue", "folder"} <= set(table.columns):
        raise FormatError(
            "not the summary of tissue-specific runs: it lacks a column tissue or folder",
            where=folder / TISSUES_FILE,
            way_out="give the folder that train_tissue_specific wrote",
        )
    paths: dict[str | None, Path] = {}
    reasons: dict[str, str] = {}
    for line in table.to_dict("records"):
        file = folder / str(line["folder"]) / FINAL_FOLDER / MODEL_FILE
        if line["folder"] and file.is_file():
            paths[str(line["tissue"])] = file
        else:
            reasons[str(line["tissue"])] = str(line.get("reason", "")) or "no model"
    if not paths:
        raise MissingInputError("no tissue has a model", where=folder, way_out="train with more cells")
    return ModelSet(folder, paths, reasons=reasons)


def route(models: ModelSet, store: Store, settings: PredictSettings) -> Routing:
    """Find the model of every cell.

    Cells of a tissue that has no model are left to no one, if that is allowed.

    Raises
    ------
    DataError
        If there is no column with the tissues, or tissues in it are not known.
    """
    if models.is_by_tissue:
        known = [str(tissue) for tissue in models.paths]
        column = settings.upper_group or models.load(known[0]).card.tissue_column or DEFAULT_COLUMN
        tissues_C, codes_C = _levels(store, column, known, models.reasons, settings)
        parts = [Assignment(tissue, np.flatnonzero(codes_C == code)) for code, tissue in enumerate(known)]
        return Routing(tuple(part for part in parts if len(part.rows_C)), tissues_C)
    card, all_rows = models.load(None).card, np.arange(store.n_cells)
    if not card.tissues:
        return Routing((Assignment(None, all_rows),), None)
    column = settings.upper_group or card.tissue_column or DEFAULT_COLUMN
    tissues_C, codes_C = _levels(store, column, card.tissues, {}, settings)
    return Routing((Assignment(None, all_rows, codes_C),), tissues_C)


def _levels(
    store: Store, column: str, known: Sequence[str], reasons: Mapping[str, str], settings: PredictSettings
) -> tuple[pd.Series, np.ndarray]:
    """Read the cells' tissues, and the number of each among those that are known."""
    tissues_C = column_of(store, column, UPPER_GROUP)
    files = ", ".join(source.file for source in store.sources[:3])
    where = f"{files}, column {column}"
    return tissues_C, level_codes(tissues_C, known, where=where, unknown=settings.unknown_tissue, reasons=reasons)


def loaded(models: ModelSet, routing: Routing) -> Iterator[tuple[Assignment, Snapshot]]:
    """Yield every model that labels any cell, one after the other."""
    for assignment in routing.assignments:
        yield assignment, models.load(assignment.tissue)
