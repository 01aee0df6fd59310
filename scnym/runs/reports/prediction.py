"""The report of a prediction, and the one over many samples."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.runs.output_tree import SUMMARY_FILE, read_own_json, read_own_table
from scnym.runs.reports.charts import ACCENT, QUIET, Chart, coverage_chart, histogram_chart
from scnym.runs.reports.class_charts import MAX_BARS, class_colours, composition_chart, map_chart, share_chart
from scnym.runs.reports.page import cost_of, figures_of, map_of, write_page

TABLE_FILE = "summary.csv"
"""What became of every sample."""
COUNT_PREFIX = "n_cells_"
"""Columns of the table with the cells of a type begin so."""
NUMBERS = ("n_cells", "n_unknown", "mean_confidence", "gene_coverage")


def write_samples_page(folder: Path, path: Path) -> None:
    """Write the page over the samples whose table is in a folder."""
    table = read_own_table(folder / TABLE_FILE)
    rows = [_with_numbers(row) for row in table.to_dict(orient="records")]
    chart = _shares([row for row in rows if row["n_cells"]])
    write_page(
        path,
        "samples.html",
        [] if chart is None else [chart],
        title="Cell types of many samples",
        rows=rows,
        n_failed=sum(row["n_cells"] is None for row in rows),
    )


def _with_numbers(row: dict[Any, Any]) -> dict[str, Any]:
    return {**row, **{name: float(row[name]) if row[name] else None for name in NUMBERS}}


def _shares(rows: Sequence[dict[str, Any]]) -> Chart | None:
    """Draw what samples are made of; the first of them, where they are many."""
    if not rows:
        return None
    cells = {
        row["sample"]: {
            name.removeprefix(COUNT_PREFIX): int(float(count or 0))
            for name, count in row.items()
            if name.startswith(COUNT_PREFIX)
        }
        for row in rows[:MAX_BARS]
    }
    return share_chart(cells)


MAX_MODELS = 40
"""Models whose gene coverage is drawn; those with the least come first."""


def write_prediction_page(folder: Path, path: Path) -> None:
    """Write the page of the prediction in a folder."""
    summary, figures, cells = read_own_json(folder / SUMMARY_FILE), figures_of(folder), map_of(folder)
    classes = list(summary["cells_by_type"])
    write_page(
        path,
        "prediction.html",
        list(_charts(summary, figures, cells, classes)),
        title="Cell type prediction",
        summary=summary,
        types=figures.get("types", []),
        map_cells=cells,
        classes=classes,
        colours=class_colours(len(classes)),
        cost=cost_of(folder),
    )


def _charts(
    summary: Mapping[str, Any], figures: Mapping[str, Any], cells: pd.DataFrame | None, classes: list[str]
) -> Iterator[Chart]:
    yield composition_chart(summary["cells_by_type"], "cells that were labelled")
    if figures:
        parts = {label: counts for label, counts in figures["confidence"].items() if any(counts)}
        if parts:
            yield histogram_chart(parts, (ACCENT, QUIET) if "labelled" in parts else (QUIET,))
    coverage = _coverage(summary)
    if coverage:
        yield coverage_chart(coverage)
    if cells is not None:
        yield map_chart(cells, classes, {"cell_type": "cell type"})


def _coverage(summary: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return share and weighted share of the genes of every model, the least first."""
    by_model = summary["coverage_by_tissue"] or {"the model": summary["coverage"]}
    found = [(name, one["share"], one["weighted_share"]) for name, one in by_model.items() if one["n_genes"]]
    return sorted(found, key=lambda one: one[1])[:MAX_MODELS]
