"""The page of a prediction: what the cells are, how sure the model is, and how much of its genes they have."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from scnym.runs.folder import SUMMARY_FILE, read_own_json
from scnym.runs.handouts.chart import ACCENT, QUIET, Chart
from scnym.runs.handouts.class_charts import class_colours, composition_chart, map_chart
from scnym.runs.handouts.document import write_page
from scnym.runs.handouts.files import cost_of, figures_of, map_of
from scnym.runs.handouts.measure_charts import coverage_chart, histogram_chart

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
    """Give share and weighted share of the genes of every model, the least first."""
    by_model = summary["coverage_by_tissue"] or {"the model": summary["coverage"]}
    found = [(name, one["share"], one["weighted_share"]) for name, one in by_model.items() if one["n_genes"]]
    return sorted(found, key=lambda one: one[1])[:MAX_MODELS]
