"""The page over many samples: what each is made of, and the way to its own page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scnym.runs.folder import read_own_table
from scnym.runs.handouts.chart import Chart
from scnym.runs.handouts.class_charts import MAX_BARS, share_chart
from scnym.runs.handouts.document import write_page

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
