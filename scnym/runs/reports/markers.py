"""The page of a search for markers: the best genes of every class, and what the class is without them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scnym.base.text_columns import as_numbers
from scnym.runs.output_tree import SUMMARY_FILE, read_own_json
from scnym.runs.reports.charts import Chart
from scnym.runs.reports.class_charts import dot_chart
from scnym.runs.reports.page import cost_of, read_columns, write_page

MAX_DOTTED_GENES = 150
"""Genes of a dot plot, shared out among the classes."""
MOST_OF_A_CLASS, LISTED_OF_A_CLASS = 5, 10
"""Genes of one class in the dot plot, and in the table, at most."""
COLUMNS = ["class", "rank", "gene", "score", "detected", "agreement"]


def write_markers_page(folder: Path, path: Path) -> None:
    """Write the page of the search for markers in a folder."""
    summary = read_own_json(folder / SUMMARY_FILE)
    classes = list(summary["top_genes"])
    size = "detected" if summary["deletions"] else "agreement"
    table = read_columns(folder / "markers.csv", COLUMNS)
    chart = _dots(table, classes, size)
    write_page(
        path,
        "markers.html",
        [] if chart is None else [chart],
        title="Marker genes",
        summary=summary,
        size=size,
        n_listed=LISTED_OF_A_CLASS,
        cost=cost_of(folder),
    )


def _dots(table: pd.DataFrame, classes: Sequence[str], size: str) -> Chart | None:
    """Draw the best genes of the classes, wherever a class lists them."""
    n_each = max(1, min(MOST_OF_A_CLASS, MAX_DOTTED_GENES // max(1, len(classes))))
    table = table.assign(**{column: as_numbers(table[column]) for column in ("rank", "score", size)})
    table = table[table["class"].isin(classes)].fillna({size: 0.0})
    best = table[(table["rank"] <= n_each) & (table["score"] > 0)]
    order = {gene: number for number, gene in enumerate(dict.fromkeys(best["gene"]))}
    shown = table[table["gene"].isin(order)]
    if shown.empty:
        return None
    return dot_chart(shown.sort_values("gene", key=lambda genes: genes.map(order), kind="stable"), classes, size)
