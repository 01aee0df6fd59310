"""The report of a training run, the page that leads to every tissue's, and the model card."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.text_columns import as_numbers
from scnym.disk.features import gene_naming
from scnym.model.snapshot import Snapshot
from scnym.runs.output_tree import FINAL_FOLDER, METRICS_FILE, SUMMARY_FILE, read_own_json, title_of
from scnym.runs.reports.charts import RIGHT, WRONG, Chart, curve_chart, histogram_chart, reliability_chart
from scnym.runs.reports.class_charts import class_colours, composition_chart, confusion_chart, map_chart
from scnym.runs.reports.page import MEASURES, cost_of, figures_of, filled, map_of, optional_json, write_page


def write_tissues_page(folder: Path, path: Path) -> None:
    """Write the page over the models of all tissues in a folder."""
    summary: dict[str, Any] = read_own_json(folder / SUMMARY_FILE)
    write_page(
        path,
        "tissues.html",
        [],
        title="Tissue specific training",
        rows=summary["tissues"],
        tissue_column=summary.get("tissue_column", "tissue"),
    )


CARD_FILE = "model_card.md"


def model_card(model: Path) -> str:
    """Return the card of a model file; of the final model in the folder of its run with what its folds have shown.

    Raises
    ------
    UserError
        If there is no model, or a damaged one.
    """
    card = Snapshot.load(model).card
    run = optional_json(model.parent.parent / METRICS_FILE) if model.parent.name == FINAL_FOLDER else {}
    held_out = (run.get("held_out") or {}) if tuple(run.get("classes", ())) == card.classes else {}
    return filled(
        "model_card.md",
        card=card,
        cells_of=dict(zip(card.classes, card.cells_per_class, strict=False)),
        naming=gene_naming(card.genes),
        file=model.name,
        sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        figures=MEASURES,
        held_out=held_out,
        per_class=held_out.get("per_class", {}),
        not_judged=run.get("not_judged", ()) if held_out else (),
        n_folds=len(run.get("folds", ())),
        spread=run.get("spread", {}),
        baseline=(run.get("baseline") or {}).get("held_out"),
    )


def write_model_card(model: Path, path: Path) -> None:
    """Write the card of a model file; see `model_card`."""
    path.write_text(model_card(model), encoding="utf-8")


HEADLINES = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro-F1"),
    ("balanced_accuracy", "balanced accuracy"),
    ("calibration_error", "calibration error"),
)


def write_training_page(folder: Path, path: Path) -> None:
    """Write the page of the training run in a folder."""
    summary = read_own_json(folder / METRICS_FILE)
    judged, figures = judged_of(summary), figures_of(folder)
    logs = {log.parent.name: _numbers_in(log) for log in sorted(folder.glob("*/*_log.csv"), key=_final_last)}
    cells = map_of(folder)
    write_page(
        path,
        "training.html",
        list(_charts(summary, judged, figures, logs, cells)),
        title=title_of(summary["family"], summary["tissue"]),
        summary=summary,
        judged=judged,
        measures=MEASURES,
        headlines=[_headline(summary, judged, name, words) for name, words in HEADLINES],
        parameters=optional_json(folder / FINAL_FOLDER / f"{FINAL_FOLDER}_parameters.json"),
        map_cells=cells,
        colours=class_colours(len(summary["classes"])),
        cost=cost_of(folder),
        epochs=_epochs(logs),
    )


def _numbers_in(log: Path) -> pd.DataFrame:
    """Read a fold's log."""
    return pd.read_csv(log, dtype=str).apply(as_numbers, errors="raise")


def judged_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the cells that a run was judged on: held out, or else those that chose the epoch."""
    return summary["held_out"] or summary["final_model_on_selection_cells"]


def _final_last(log: Path) -> tuple[bool, str]:
    return log.parent.name == FINAL_FOLDER, log.parent.name


def _headline(summary: Mapping[str, Any], judged: Mapping[str, Any], name: str, words: str) -> dict[str, Any]:
    """Return one figure with its spread over folds, and the baseline's beside it."""
    spread, baseline = (summary["spread"] or {}).get(name, {}), summary["baseline"]
    theirs = None if baseline is None else baseline["held_out"][name]
    return {"words": words, "value": judged[name], "sd": spread.get("sd"), "baseline": theirs}


def _charts(
    summary: Mapping[str, Any],
    judged: Mapping[str, Any],
    figures: Mapping[str, Any],
    logs: Mapping[str, pd.DataFrame],
    cells: pd.DataFrame | None,
) -> Iterator[Chart]:
    classes = summary["classes"]
    if "confusion" in judged:
        yield confusion_chart(np.array(judged["confusion"]), classes)
        yield composition_chart(
            {name: row["support"] for name, row in judged["per_class"].items()}, "cells that were judged"
        )
    if figures:
        yield reliability_chart(figures["reliability"])
        yield histogram_chart(figures["confidence"], (RIGHT, WRONG))
    if logs:
        for part in ("train", "selection"):
            words = f"Loss on {'training' if part == 'train' else part} cells by epoch, a line for each fold."
            yield curve_chart(f"{part}_curve", words, logs, f"{part}_loss")
    if cells is not None:
        told = {"cell_type": "class", "predicted": "predicted when held out"}
        yield map_chart(cells, classes, {column: words for column, words in told.items() if column in cells})


def _epochs(logs: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return how many epochs were trained, and how many cells a second."""
    if not logs:
        return {}
    speeds = pd.concat([log["cells_per_second"] for log in logs.values()])
    return {"count": sum(map(len, logs.values())), "cells_per_second": float(speeds.median())}
