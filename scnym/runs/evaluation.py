"""Labels that any tool gave, against the truth: tables are read, columns found, cells joined by id, and measured."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scnym.base.errors import DataError, FormatError, MissingInputError, examples, meant
from scnym.base.progress import SILENT, Progress
from scnym.base.settings import ConvertSettings, EvaluateSettings
from scnym.base.text_columns import as_numbers
from scnym.disk.annotations import ROW_NAMES, read_table
from scnym.disk.atomic import aside
from scnym.disk.cell_ids import IdMatch, match_ids
from scnym.disk.formats.csv import SUFFIXES as TEXT_SUFFIXES
from scnym.disk.formats.detect import is_store, open_source
from scnym.disk.location import Location, require_folder, require_local
from scnym.disk.store import Store
from scnym.results.metrics import Scores, renamed, score
from scnym.runs.inputs import label_text, name_of, remarks_on_names
from scnym.runs.output_tree import METRICS_FILE, is_run, write_json, write_table

FOLDER = "evaluation"
LABEL_COLUMNS = ("cell_type", "cell_ontology_class", "celltype", "label", "labels", "annotation")
PREDICTED_COLUMNS = (
    *("scnym_cell_type", "majority_voting", "predicted_labels", "predicted_label", "predicted", "prediction"),
    *("predictions", "predicted.id", "pruned.labels", "cell_type", "label", "labels", "celltype"),
)
"""Names that scnym, CellTypist, Seurat, SingleR and others give to it. Those that may be the truth's come last: it
often stands beside the labels given, as in ``held_out_predictions.csv``."""
CONFIDENCE_COLUMNS = (
    *("confidence", "scnym_confidence", "conf_score", "prediction.score.max", "max_prob", "probability", "score"),
)
MAPPING_COLUMNS = ("from", "to")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good labels are, and which cells that is about."""

    scores: Scores
    columns: dict[str, str | None]
    """Which columns were compared."""
    n_unlabelled: int
    """Cells that have a prediction but no true label; left out."""
    n_without_truth: int
    """Cells of the predictions that the truth does not have; left out."""
    n_without_prediction: int
    """Cells of the truth that have no prediction; left out."""
    folder: Path | None
    """Where the tables are, if anywhere."""

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
        names = ("columns", "n_unlabelled", "n_without_truth", "n_without_prediction", "folder")
        return {**self.scores.to_json(), **{name: getattr(self, name) for name in names}}


def evaluate(
    predictions: str | Path | AnnData,
    truth: str | Path | AnnData,
    settings: EvaluateSettings | None = None,
    *,
    out_path: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Measure labels that scnym or any other tool gave against true ones.

    Parameters
    ----------
    predictions
        CSV or TSV with cell ids and labels, and a confidence if there is one; or an AnnData with these in obs, such as
        `scnym.predict` gives.
    truth
        CSV or TSV with cell ids and labels; or an h5ad, another raw input, a store or an AnnData with a column of
        labels.
    settings
        Names of columns, where they cannot be found out; a mapping of label names.
    out_path
        Folder in which ``evaluation/`` is made, with ``metrics.json``, ``per_class.csv`` and ``confusion.csv``.
    overwrite
        Whether an existing one is replaced.
    progress
        Where to say what was compared.

    Raises
    ------
    UserError
        If files, columns or cells do not fit.
    """
    settings = settings or EvaluateSettings()
    target = None if out_path is None else require_folder(out_path) / FOLDER
    compared = _Compared.read(predictions, truth, settings)
    for line in compared.remarks():
        progress.say(line)
    table = compared.table
    scores = score(table["truth"], table["given"], table.get("confidence"), settings.unknown)
    found = Evaluation(scores=scores, columns=compared.columns, folder=target, **compared.counts)
    if target is not None:
        with aside(target, overwrite=overwrite, is_replaceable=is_run) as folder:
            write_json(folder / METRICS_FILE, {**found.to_json(), "settings": asdict(settings)})
            write_table(folder / "per_class.csv", scores.per_class.rename_axis("class").reset_index())
            write_table(folder / "confusion.csv", scores.confusion.rename_axis("truth").reset_index())
    return found


@dataclass(frozen=True)
class _Compared:
    """Cells that have both a true label and a prediction."""

    table: pd.DataFrame
    """Columns truth, given and, if there is one, confidence."""
    columns: dict[str, str | None]
    counts: dict[str, int]
    respelt: str
    """How ids of the predictions differ from the truth's; empty if they do not."""

    @classmethod
    def read(cls, given: str | Path | AnnData, truth: str | Path | AnnData, settings: EvaluateSettings) -> "_Compared":
        mapping, predictions = _read_mapping(settings.mapping), name_of(given)
        true_C, label_column = _truth_of(truth, settings)
        table = _table_of(given, words={*true_C.dropna(), *true_C.index})
        named = settings.cell_column
        cells = None if named is None else _named(table, named, (), predictions, "--cell_column")
        ids = match_ids(true_C.index, table if cells is None else table[[cells]])
        cells = cells or ids.column or str(table.columns[0])
        table = _one_row_per_cell(_with_ids_of(true_C.index, ids, table), cells, predictions)
        true_C = renamed(true_C, mapping)
        true_C = true_C.where(true_C != settings.unknown, None)
        given_column = _predicted_column(table, predictions, settings, set(true_C.dropna()))
        given_C = renamed(table[given_column].map(label_text), mapping).fillna(settings.unknown)
        shared = table.index[table.index.isin(true_C.index)]
        joined = pd.DataFrame({"truth": true_C.reindex(shared), "given": given_C.reindex(shared)})
        confidence = _confidence_column(table, predictions, settings)
        if confidence is not None:
            joined["confidence"] = _confidences(table[confidence], predictions).reindex(shared)
        labelled = joined[joined["truth"].notna()]
        if not len(labelled):
            raise DataError(
                f"none of the {len(table):,} cells, such as {examples(table.index[:3])}, has a label in the truth, "
                f"which names cells such as {examples(true_C.index[:3])}{': ' if ids.why else ''}{ids.why}",
                where=predictions,
                way_out="give the truth of the same cells; or name the column of the ids with --cell_column",
            )
        counts = {
            "n_unlabelled": len(joined) - len(labelled),
            "n_without_truth": len(table) - len(joined),
            "n_without_prediction": int((~true_C.index.isin(shared) & true_C.notna()).sum()),
        }
        names = {"cell": cells, "truth": label_column, "predicted": given_column, "confidence": confidence}
        return cls(labelled, names, counts, ids.remark)

    def remarks(self) -> list[str]:
        """Return what was compared, and what was left out."""
        named = ", ".join(f"{role}: {name}" for role, name in self.columns.items() if name)
        words = {
            "n_unlabelled": "cells without a true label are left out",
            "n_without_truth": "cells of the predictions are not in the truth",
            "n_without_prediction": "labelled cells of the truth have no prediction, and are not counted",
        }
        return [
            f"columns compared: {named}",
            *([f"cells have other ids in the predictions: {self.respelt}"] if self.respelt else []),
            *(f"{self.counts[key]:,} {said}" for key, said in words.items() if self.counts[key]),
            *self._stranger_labels(),
            *remarks_on_names({*self.table["truth"], *self.table["given"]}, "labels"),
        ]

    def _stranger_labels(self) -> list[str]:
        """Return a warning if the two sides have no name in common: then every metric is 0 and means nothing."""
        true, given = (sorted(set(self.table[side])) for side in ("truth", "given"))
        if set(true) & set(given):
            return []
        return [
            f"no label given, such as {examples(given)}, is one of the truth, such as {examples(true)}: name other "
            "columns, or rename labels with --mapping"
        ]


def _table_of(predictions: str | Path | AnnData, words: Collection[str]) -> pd.DataFrame:
    """Read predictions, or the annotations of cells in memory, with the ids in a column."""
    if isinstance(predictions, AnnData):
        return _obs_of(predictions).astype(object).reset_index(names=ROW_NAMES)
    return read_table(Path(predictions), "check PREDICTIONS", words=words)


def _truth_of(truth: str | Path | AnnData, settings: EvaluateSettings) -> tuple[pd.Series, str]:
    """Read the true label of every cell, by its id."""
    path = name_of(truth)
    if not isinstance(truth, AnnData) and not path.exists():
        raise MissingInputError("there is no such file", where=path, way_out="check TRUTH")
    if isinstance(path, Path) and path.is_file() and path.name.lower().endswith(TEXT_SUFFIXES):
        table = read_table(path, "check TRUTH")
        column = _named(table, settings.label_column, LABEL_COLUMNS, path, "--lower_group")
        named = settings.cell_column
        cells = named if named is not None and named in table else _id_column(table, column)
        obs = _one_row_per_cell(table, cells, path)
    else:
        obs = _obs_of(truth) if isinstance(truth, AnnData) else _annotations_of(path)
        column = _named(obs, settings.label_column, LABEL_COLUMNS, path, "--lower_group")
    return obs[column].map(label_text).astype(object).rename_axis(None), column


def _obs_of(adata: AnnData) -> pd.DataFrame:
    return adata.obs if isinstance(adata.obs, pd.DataFrame) else adata.obs.to_memory()


def _annotations_of(path: Location) -> pd.DataFrame:
    obs = Store(path).obs if is_store(path) else open_source(require_local(path), ConvertSettings()).obs
    if obs is None:
        raise FormatError("it holds no labels", where=path, way_out="give a table of cells and labels")
    return obs


def _with_ids_of(known: pd.Index, ids: IdMatch, table: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with the truth's ids where theirs are spelt otherwise."""
    if not ids.remark:
        return table
    known_as = {own: cell for cell, own in zip(known, ids.ids_C, strict=True) if own is not None}
    return table.assign(**{ids.column: table[ids.column].map(lambda own: known_as.get(own, own))})


def _id_column(table: pd.DataFrame, label_column: str) -> str:
    """Find the column that names every cell once; the first such, as all tools write it in front."""
    others = [str(name) for name in table.columns if name != label_column]
    return next((name for name in others if table[name].notna().all() and table[name].is_unique), ROW_NAMES)


def _one_row_per_cell(table: pd.DataFrame, cells: str, path: Location) -> pd.DataFrame:
    if cells not in table:
        raise DataError("no column names every cell once", where=path, way_out="name one with --cell_column")
    repeated = table[cells][table[cells].duplicated()].unique()
    if len(repeated):
        raise DataError(f"cell {examples(repeated)} stands twice", where=path, way_out="keep one row per cell")
    return table.set_index(cells)


def _predicted_column(table: pd.DataFrame, path: Location, settings: EvaluateSettings, labels: set[str]) -> str:
    """Find the labels: by their column's name, else by the names in it."""
    if settings.predicted_column is None and not set(PREDICTED_COLUMNS) & set(table.columns):
        held = {str(name): int(table[name].isin(labels).sum()) for name in table.columns}
        best = max(held, key=lambda name: held[name], default="")
        if best and held[best]:
            return best
    return _named(table, settings.predicted_column, PREDICTED_COLUMNS, path, "--predicted_column")


def _confidence_column(table: pd.DataFrame, path: Location, settings: EvaluateSettings) -> str | None:
    if settings.confidence_column is None and not set(CONFIDENCE_COLUMNS) & set(table.columns):
        return None
    return _named(table, settings.confidence_column, CONFIDENCE_COLUMNS, path, "--confidence_column")


def _named(table: pd.DataFrame, named: str | None, usual: Sequence[str], path: Location, option: str) -> str:
    """Return the column that was named, or the first of the usual names that there is."""
    found = [name for name in (usual if named is None else [named]) if name in table]
    if found:
        return found[0]
    raise DataError(
        f"there is no column {named!r}" if named else f"no column has one of the usual names, such as {usual[0]!r}",
        where=path,
        way_out=f"give {option} one of {', '.join(map(str, table.columns)) or 'nothing: it has no columns'}",
        mend=meant(option, named, table.columns) if named else None,
    )


def _confidences(column: pd.Series, path: Location) -> pd.Series:
    numbers = as_numbers(column)
    wrong = numbers.index[(numbers.isna() & column.notna()) | (numbers < 0) | (numbers > 1)]
    if len(wrong):
        raise DataError(
            f"confidence {column[wrong[0]]!r} of cell {wrong[0]} is no number from 0 to 1",
            where=f"{path}, column {column.name}",
            way_out="name another --confidence_column",
        )
    return numbers.astype(np.float64)


def _read_mapping(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    table = read_table(Path(path), "check --mapping")
    if not set(MAPPING_COLUMNS) <= set(table.columns):
        raise DataError("it lacks a column from or to", where=path, way_out="write a header from,to")
    repeated = table["from"][table["from"].duplicated()].unique()
    if len(repeated):
        raise DataError(f"{examples(repeated)} stands twice", where=path, way_out="rename every label once")
    return dict(zip(table["from"], table["to"].fillna(""), strict=True))
