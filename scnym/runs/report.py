"""The page that a person reads: one HTML file that needs nothing else."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd

from scnym.base.display import displayed
from scnym.results.metrics import Metrics
from scnym.runs.families import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE, INDEX_TEMPLATE = "report.html", "tissues.html"
DPI = 130
LONGEST_NAME = 40
"""Characters of a class's name that a figure shows."""


def write_report(path: Path, summary: dict[str, Any], judged: Metrics, logs: dict[str, pd.DataFrame]) -> None:
    """Write a training run's page.

    Parameters
    ----------
    path
        The HTML file.
    summary
        The content of ``metrics.json``.
    judged
        On held-out cells, or on selection cells if there was no cross-validation.
    logs
        The epochs of each fold.
    """
    page = _template(TEMPLATE).render(
        title=title_of(summary["family"], summary["tissue"]),
        summary=summary,
        judged=judged,
        per_class=judged.per_class.reset_index(names="name").to_dict(orient="records"),
        confusion=_as_data_url(confusion_figure(judged, summary["classes"])),
        curves=_as_data_url(curves_figure(logs)),
    )
    path.write_text(page, encoding="utf-8")


def write_index(path: Path, rows: list[dict[str, Any]], tissue_column: str) -> None:
    """Write the page that leads to the report of every tissue.

    Parameters
    ----------
    path
        The HTML file.
    rows
        One for every tissue: tissue, folder, n_cells, n_classes, reason (empty if it has a model), accuracy, macro_f1
        and their standard deviations over folds, None where they are not known.
    tissue_column
        Where the tissues stood.
    """
    path.write_text(_template(INDEX_TEMPLATE).render(rows=rows, tissue_column=tissue_column), encoding="utf-8")


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    return jinja2.Environment(loader=loader, autoescape=True).get_template(name)


def confusion_figure(judged: Metrics, classes: list[str]) -> "Figure":
    """Draw the confusion matrix; shades are shares of each true class, numbers are cells."""
    from matplotlib.figure import Figure

    cells_KK = judged.confusion_KK
    shares_KK = cells_KK / np.maximum(cells_KK.sum(axis=1, keepdims=True), 1)
    names = [displayed(name) for name in classes]
    names = [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names]
    side = 1.5 + 0.42 * len(classes) + 0.09 * max(map(len, names))  # inches: cells, and the longest name
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    # Drawn as squares: as an image, it would be blown up to the figure's pixels several times over.
    corners = np.arange(len(classes) + 1) - 0.5
    axes.pcolormesh(corners, corners, shares_KK, cmap="Blues", vmin=0, vmax=1)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    # A dollar sign in a class's name is a dollar sign, not the start of a formula.
    axes.set_xticks(range(len(classes)), names, rotation=90, parse_math=False)
    axes.set_yticks(range(len(classes)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.argwhere(cells_KK):
        colour = "white" if shares_KK[row, column] > 0.5 else "black"
        text = f"{cells_KK[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    return figure


def curves_figure(logs: dict[str, pd.DataFrame]) -> "Figure":
    """Draw training and selection loss of every fold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, column, title in zip(panels, ("train_loss", "selection_loss"), ("training", "selection"), strict=True):
        for name, log in logs.items():
            axes.plot(log["epoch"], log[column], label=name, linewidth=1.2)
        axes.set_title(f"loss on {title} cells")
        axes.set_xlabel("epoch")
        axes.set_yscale("log")
    panels[1].legend(fontsize=7)
    return figure


def _as_data_url(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
