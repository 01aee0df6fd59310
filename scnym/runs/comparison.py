"""Which family of models is best for which tissue: held-out cells that all of them have judged, fold by fold."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.errors import DataError, FormatError, MissingInputError, OutputExistsError, examples
from scnym.base.text import parse_json
from scnym.disk.atomic import nothing_at
from scnym.results.metrics import figures_over_folds
from scnym.runs.output_tree import (
    COMMANDS,
    FAMILIES,
    FINAL_FOLDER,
    FOLDERS,
    HELD_OUT_FILE,
    METRICS_FILE,
    TISSUES_FILE,
    TRAINED,
    Family,
    flat,
    is_run,
    read_own_table,
    without_nan,
    write_table,
)
from scnym.runs.reports.page import optional_json

COMPARISON_FILE = "comparison.csv"
OVERALL = "overall"
NOT_COMPARED = ("baseline", "overwrite", "resume", "convert", "tissue_column")
"""Settings that may differ between families without a word: they do not change what is learnt."""
COLUMNS = (
    *("scope", "tissue", "family", "n_cells", "n_folds", "accuracy", "accuracy_sd", "macro_f1", "macro_f1_sd"),
    *("winner", "within_spread"),
)


@dataclass(frozen=True)
class Comparison:
    """Which family is best for which tissue."""

    path: Path
    """Where the table is written."""
    table: pd.DataFrame
    """A row per tissue and family, then one per family for all cells together (`scope`: tissue or overall).

    n_cells are those that every family of the tissue has held out; figures are mean and standard deviation over folds.
    `winner` marks the highest macro-F1; `within_spread` marks every other family that is no further behind than the
    larger of the two standard deviations.
    """
    remarks: tuple[str, ...]
    """What a reader should know: other folds, other settings, cells or tissues that one family leaves out."""

    def verdicts(self) -> dict[str, tuple[str, list[str]]]:
        """Give, for each tissue and for all cells (``overall``), the winner and the families that tie with it."""
        found = {}
        for (scope, tissue), rows in self.table.groupby(["scope", "tissue"], sort=False):
            name = OVERALL if scope == OVERALL else str(tissue)
            found[name] = (rows["family"][rows["winner"]].iloc[0], list(rows["family"][rows["within_spread"]]))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"file": str(self.path), "rows": without_nan(self.table), "remarks": list(self.remarks)}


@dataclass(frozen=True)
class _Contestant:
    """What a family of a run says of the cells that it held out."""

    held_out: pd.DataFrame
    """By cell_id: fold, cell_type (the true one), predicted, tissue."""
    parameters: dict[str, Any]
    """Settings and data of its models."""
    skipped: Mapping[str, str]
    """Tissues that have no model, and why."""
    not_judged: Mapping[str, Sequence[str]]
    """Classes of which no cell was held out, by tissue where each has a model; older runs do not say."""


def compare(run: str | Path) -> Comparison:
    """Compare the families of a run on the cells that they have held out; write ``RUN/comparison.csv``.

    Parameters
    ----------
    run
        The output folder in which at least two of ``tissue_independent/``, ``tissue_dependent/`` and ``tissues/``
        stand, cross-validated.

    Raises
    ------
    MissingInputError
        If there are no two families.
    DataError
        If they disagree about what the cells are, or have none in common.
    """
    run = Path(run)
    found = {family: _read(run / FOLDERS[family], family) for family in FAMILIES if (run / FOLDERS[family]).is_dir()}
    _require_two(run, found)
    tables = _with_tissues({family: one.held_out for family, one in found.items()}, run)
    table = pd.DataFrame([*_by_tissue(tables), *_overall(tables)], columns=list(COLUMNS))
    if not len(table):
        raise DataError(
            "no cell was held out by all families",
            where=run,
            way_out="train them on the same data, with the same columns",
        )
    replace_own(run / COMPARISON_FILE, table)
    return Comparison(run / COMPARISON_FILE, table, tuple(_remarks(found, tables)))


def _read(folder: Path, family: Family) -> _Contestant:
    """Read the held-out cells of a family.

    Raises
    ------
    MissingInputError, FormatError
        If they are not there, or damaged.
    """
    if family != "specific":
        return _Contestant(_held_out(folder), _parameters(folder), {}, {"": _not_judged(folder)})
    table = read_own_table(folder / TISSUES_FILE)
    if not {"tissue", "folder", "status", "reason"} <= {*table}:
        raise FormatError("not the summary of tissues", where=folder / TISSUES_FILE, way_out="train it again")
    summary = table.to_dict(orient="records")
    trained = [row for row in summary if row["status"] == TRAINED]
    if not trained:
        raise MissingInputError("no tissue has a model", where=folder, way_out="train it again, with more cells")
    return _Contestant(
        pd.concat([_held_out(folder / row["folder"]).assign(tissue=row["tissue"]) for row in trained]),
        _parameters(folder / trained[0]["folder"]),
        {row["tissue"]: row["reason"] for row in summary if row["status"] != TRAINED},
        {row["tissue"]: _not_judged(folder / row["folder"]) for row in trained},
    )


def _not_judged(folder: Path) -> Sequence[str]:
    """Return the classes that a run has learnt, but could not judge; none for an older run."""
    named = optional_json(folder / METRICS_FILE).get("not_judged", [])
    return [str(name) for name in named] if isinstance(named, list) else []


def _held_out(folder: Path) -> pd.DataFrame:
    path = folder / HELD_OUT_FILE
    if is_run(folder) and not path.is_file():
        fault = "was trained without cross-validation, so no cell was held out"
        raise MissingInputError(fault, where=folder, way_out="train it with --n_folds 5")
    table = read_own_table(path)
    column = _parameters(folder)["settings"]["tissue_column"]
    own = f"{column}_input" if f"{column}_input" in table else column
    if not {"cell_id", "fold", "cell_type", "predicted"} <= {*table}:
        raise FormatError("not a table of held-out predictions", where=path, way_out="train it again")
    table["tissue"] = table[own].replace("", None) if own in table else pd.Series(None, table.index, dtype=object)
    return table.set_index("cell_id")[["fold", "cell_type", "predicted", "tissue"]]


def _parameters(folder: Path) -> dict[str, Any]:
    path = folder / FINAL_FOLDER / f"{FINAL_FOLDER}_parameters.json"
    try:
        parameters = parse_json(path.read_bytes())
        return {**parameters, "settings": {"tissue_column": None, **parameters["settings"]}}
    except (OSError, ValueError, LookupError, TypeError) as fault:
        raise FormatError("the run's parameters cannot be read", where=path, way_out="train it again") from fault


def _require_two(run: Path, found: Mapping[str, _Contestant]) -> None:
    if len(found) >= 2:
        return
    missing = [f"scnym {COMMANDS[family]}" for family in FAMILIES if family not in found]
    raise MissingInputError(
        f"only {FOLDERS[next(iter(found))]} is there" if found else "there is no family of models",
        where=run,
        way_out=f"two are compared: train another into the same --out_path with {' or '.join(missing)}",
    )


def replace_own(path: Path, table: pd.DataFrame) -> None:
    """Write the table; a file that is none of ours is not replaced."""
    if path.exists() and path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] != ",".join(COLUMNS):
        raise OutputExistsError("something else stands there, which is not overwritten", where=path, way_out="move it")
    aside = nothing_at(path.with_name(f".{path.name}.partial"))
    write_table(aside, table)
    aside.replace(path)


def _with_tissues(tables: Mapping[str, pd.DataFrame], run: Path) -> dict[str, pd.DataFrame]:
    """Return the tissue of every cell, from whichever family knows it.

    Raises
    ------
    DataError
        If families disagree about cells, or none knows tissues.
    """
    together = pd.concat(tables.values())
    for column, what in (("cell_type", "true class"), ("tissue", "tissue")):
        several = together.groupby(level=0)[column].nunique()
        if (several > 1).any():
            raise DataError(
                f"the families give {int((several > 1).sum()):,} cells more than one {what} each, such as "
                f"{examples(several.index[several > 1])}",
                where=run,
                way_out="train them on the same data, with the same columns",
            )
    tissues = together.groupby(level=0)["tissue"].first()
    if tissues.isna().all():
        raise DataError("no family knows the tissues of its cells", where=run, way_out="train with --upper_group")
    return {family: table.assign(tissue=tissues[table.index]) for family, table in tables.items()}


def _by_tissue(tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Yield a row per tissue and family that has judged cells of it."""
    for tissue in sorted({tissue for table in tables.values() for tissue in table["tissue"].dropna()}):
        cells = {family: table[table["tissue"] == tissue] for family, table in tables.items()}
        own = {family: table for family, table in cells.items() if len(table)}
        yield from _judged(own, _judged_classes(tables), "tissue", tissue)


def _overall(tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    known = {family: table[table["tissue"].notna()] for family, table in tables.items()}
    yield from _judged(known, _judged_classes(tables), OVERALL, "")


def _judged_classes(tables: Mapping[str, pd.DataFrame]) -> set[str]:
    """Return the classes of which a cell was held out; what else a cell may be called was learnt, and never judged."""
    return {name for table in tables.values() for name in table["cell_type"].unique()}


def _judged(
    tables: Mapping[str, pd.DataFrame], judged: Collection[str], scope: str, tissue: str
) -> Iterator[dict[str, Any]]:
    """Judge families on the cells that all of them have held out; of equals, the simpler family wins."""
    shared = set.intersection(*(set(table.index) for table in tables.values()))
    if not shared:
        return
    figures = {family: figures_over_folds(table[table.index.isin(shared)], judged) for family, table in tables.items()}
    best = max(figures, key=lambda family: figures[family]["macro_f1"])
    for family, own in figures.items():
        lead = figures[best]["macro_f1"] - own["macro_f1"]
        spread = np.nan_to_num([figures[best]["macro_f1_sd"], own["macro_f1_sd"]]).max()
        verdict = {"winner": family == best, "within_spread": bool(family != best and lead <= spread)}
        yield {"scope": scope, "tissue": tissue, "family": family, **own, **verdict}


def _remarks(found: Mapping[str, _Contestant], tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for contestant in found.values():
        yield from (f"{tissue}: no model of its own ({why})" for tissue, why in contestant.skipped.items())
    for family, contestant in found.items():
        for tissue, names in contestant.not_judged.items():
            if names:
                place = f"{family} in {tissue}" if tissue else family
                yield f"{place}: not judged, as no cell could be held out: {examples(names)}"
    every = set().union(*(table.index[table["tissue"].notna()] for table in tables.values()))
    for family, table in tables.items():
        n_lost = len(every - set(table.index))
        if n_lost:
            yield f"{n_lost:,} cells that others have held out are not among those of {family}: compared without them"
    for one, other in combinations(found, 2):
        yield from _differences(one, other, found)
    if "specific" in found:
        yield "specific models have folds of their own, made inside each tissue"


def _differences(one: str, other: str, found: Mapping[str, _Contestant]) -> Iterator[str]:
    """Return in what two families were not trained alike."""
    mine, theirs = (_compared(found[family].parameters) for family in (one, other))
    said = [
        f"{name} ({mine.get(name)}, {theirs.get(name)})"
        for name in {**mine, **theirs}
        if mine.get(name) != theirs.get(name)
    ]
    if said:
        yield f"{one} and {other} were not trained alike: {', '.join(said)}"
    if "specific" not in {one, other}:
        theirs_C = found[other].held_out["fold"].rename("fold_other")
        joined = found[one].held_out[["fold"]].join(theirs_C, how="inner")
        n_moved = int((joined["fold"] != joined["fold_other"]).sum())
        if n_moved:
            yield f"{n_moved:,} of {len(joined):,} cells are in another fold of {one} than of {other}"


def _compared(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a result, by names with dots in them."""
    settings = {name: value for name, value in parameters["settings"].items() if name not in NOT_COMPARED}
    return {**flat(settings), "data": parameters["data_hash"]}
