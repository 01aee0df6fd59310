"""The output tree: the folders of the three training modes, what each file is called, and how it is written."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

import numpy as np
import pandas as pd

from scnym.base.errors import FormatError, MissingInputError
from scnym.base.text import distinct_names, parse_json
from scnym.base.text_columns import guarded, unguarded

Family = Literal["independent", "dependent", "specific"]
"""independent: all cells, whatever their tissue; dependent: the tissue is read beside the genes; specific: a model for
each tissue."""
FAMILIES: tuple[Family, ...] = get_args(Family)
FOLDERS: dict[str, str] = {
    "independent": "tissue_independent",
    "dependent": "tissue_dependent",
    "specific": "tissues",
}
"""Folder of each family below the output folder."""
COMMANDS: dict[str, str] = {family: f"train_tissue_{family}" for family in FAMILIES}
TISSUES_FILE = "summary.csv"
"""In the folder of the specific family: every tissue, with its folder and its figures, or why it has none."""
TRAINED, SKIPPED = "trained", "skipped"
"""What became of a tissue there: column `status`."""
CATEGORIES_FILE = "tissue_categories.csv"
"""In the folder of the dependent family: code and name of each tissue."""
TAKEN = {TISSUES_FILE, "report.html", "summary.json"}
"""File names that no tissue's folder may have."""


def title_of(family: Family, tissue: str | None = None) -> str:
    """Return the heading of a run's report."""
    return f"Tissue {family} training" + (f": {tissue}" if tissue is not None else "")


def folder_names(tissues: Sequence[str]) -> tuple[str, ...]:
    """Return a folder name for each tissue: safe on every file system, unlike all others in whatever case."""
    return distinct_names(tissues, TAKEN)


BEST_WEIGHTS = "00_best_model_weights.pkl"
HELD_OUT_FILE = "held_out_predictions.csv"
METRICS_FILE = "metrics.json"
SUMMARY_FILE = "summary.json"
MODEL_FILE = "model.safetensors"
FIGURES_FILE = "figures.json"
"""What a report's figures are drawn from, beside the metrics or the summary."""
MAP_FILE = "cell_map.csv"
"""Where cells lie in the network's last hidden layer."""
REPORT_FILE = "report.html"
FINAL_FOLDER = "all_data"
"""Of the final model, beside the folds."""
CHECKPOINT_NAME = "model_weights_{:03d}.pkl"
CHECKPOINTS_KEPT = 2
TABLE_CELLS = 2**16
"""Cells that are put into words at a time."""


def is_run(path: Path) -> bool:
    """Whether a path is a folder that a finished run has written."""
    return any((path / name).is_file() for name in (METRICS_FILE, SUMMARY_FILE))


def final_model(path: Path) -> Path:
    """Return the model file behind a path: of a run's folder that of its final model, of a fold's its own."""
    if not path.is_dir():
        return path
    return next((file for file in (path / FINAL_FOLDER / MODEL_FILE, path / MODEL_FILE) if file.is_file()), path)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV with a header and no row numbers."""
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, table)


def write_tables(path: Path, tables: Iterable[pd.DataFrame]) -> None:
    """Write tables of the same columns one below the other, as `write_table` writes one; so a long one need not be."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, table in enumerate(tables):
            write_csv(file, table, header=number == 0)


def stretches(n_cells: int) -> Iterator[slice]:
    """Yield the cells of a long table a few at a time; of none, none at once."""
    for start in range(0, max(1, n_cells), TABLE_CELLS):
        yield slice(start, min(start + TABLE_CELLS, n_cells))


def write_csv(file: TextIO, table: pd.DataFrame, *, header: bool = True) -> None:
    """Add a table to an open CSV; names that a spreadsheet would run are guarded (`scnym.base.text_columns`)."""
    columns = {number: _guarded(table.iloc[:, number]) for number in range(table.shape[1])}  # two may have one name
    guarded_table = pd.DataFrame(columns).set_axis([guarded(name) for name in table.columns], axis="columns")
    guarded_table.to_csv(file, index=False, header=header, float_format="%.6g", lineterminator="\n")


def _guarded(column: pd.Series) -> pd.Series:
    if column.dtype.kind in "biuf":
        return column
    if isinstance(column.dtype, pd.CategoricalDtype):  # few names of many cells
        return column.cat.rename_categories(guarded)
    return column.map(guarded)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain)
    path.write_text(text + "\n", encoding="utf-8")


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by names with dots in them."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def without_nan(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as plain values; None where there is none."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict(orient="records")]


def _require_there(path: Path) -> None:
    if not path.is_file():
        raise MissingInputError("there is no such file", where=path, way_out="see whether the run is finished")


def read_own_table(path: Path) -> pd.DataFrame:
    """Read a CSV that a run has written, as text; what is empty is empty text.

    Raises
    ------
    MissingInputError, FormatError
        If it is not there, or damaged.
    """
    _require_there(path)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=unguarded).map(unguarded)
    except (ValueError, OSError) as fault:
        raise FormatError(f"the table cannot be read ({fault})", where=path, way_out="train again") from fault


def read_own_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that a run has written.

    Raises
    ------
    MissingInputError, FormatError
        If it is not there, or damaged.
    """
    _require_there(path)
    try:
        return dict(parse_json(path.read_bytes()))
    except (ValueError, TypeError, OSError) as fault:
        raise FormatError(f"the file cannot be read ({fault})", where=path, way_out="run the command again") from fault


def write_rows(path: Path, cell_ids: np.ndarray, rows: np.ndarray) -> None:
    """Write an index file: the id and the row number in the input of each cell."""
    parts = (rows[some] for some in stretches(len(rows)))
    write_tables(path, (pd.DataFrame({"cell_id": cell_ids[part].astype(object), "row": part}) for part in parts))


def drop_old_checkpoints(folder: Path) -> None:
    """Keep only the last periodic checkpoints."""
    for old in sorted(folder.glob("model_weights_*.pkl"), key=lambda path: (len(path.name), path.name))[
        :-CHECKPOINTS_KEPT
    ]:
        old.unlink()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Path, np.ndarray)):
        return str(value) if isinstance(value, Path) else value.tolist()
    raise TypeError(f"{type(value)} has no place in JSON")
