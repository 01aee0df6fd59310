"""Figures as Vega-Lite: loss, calibration, histograms and coverage of genes. The page's style sheet colours them.

Names from files are in a figure's data alone, never in an expression, where they would be a program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scnym.base.text import displayed

LONGEST_NAME = 40
"""Characters of a name that an axis shows."""
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
"""Colours that all can tell apart (Okabe and Ito 2008); without yellow, which a white page hides, and with grey in
place of black, which a dark one hides."""
ACCENT, RIGHT, WRONG, QUIET, INK = (f"var(--{name})" for name in ("accent", "right", "wrong", "quiet", "ink"))
CLASS_AXIS: dict[str, Any] = {"labelExpr": "names[datum.value]", "grid": False}
COUNT_AXIS: dict[str, Any] = {
    "tickCount": 4,
    "tickMinStep": 1,
    "labelExpr": "datum.value < 10000 ? format(datum.value, ',') : format(datum.value, '~s')",
}
LEGEND_ABOVE: dict[str, Any] = {"orient": "top", "title": None}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure."""

    name: str
    """Where it goes on the page."""
    description: str
    """What a screen reader says of it."""
    spec: dict[str, Any]
    """As Vega-Lite has it, but for its data."""
    columns: dict[str, list[Any]]
    """Its data, by columns, which take less room than rows."""
    caption: str = ""
    """What stands below it."""
    renderer: str = "svg"
    """`canvas` for very many marks."""
    min_width: int = 0
    """In pixels, below which a narrow screen has to be scrolled."""
    max_width: int | None = None
    """In pixels; None for all there is."""


def scale(low: float, high: float, span: Sequence[float] | None = None) -> dict[str, Any]:
    """Return a scale from one value to another, and what they become."""
    return {"domain": [low, high], **({} if span is None else {"range": list(span)})}


def series(names: Sequence[str]) -> dict[str, Any]:
    """Return a colour to each of a few names."""
    return {"domain": list(names), "range": [SERIES[number % len(SERIES)] for number in range(len(names))]}


def told(field: str, number_format: str | None = None, title: str | None = None) -> dict[str, Any]:
    """Return a line of what is shown of a mark that is hovered over."""
    quantity = {} if number_format is None else {"format": number_format, "type": "quantitative"}
    return {"field": field, "title": title or field, **quantity}


def named(names: Sequence[str]) -> list[str]:
    """Return names as an axis shows them."""
    shown = [displayed(name) for name in names]
    return [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in shown]


def curve_chart(name: str, description: str, logs: Mapping[str, pd.DataFrame], column: str) -> Chart:
    """Draw one column of the logs of all folds against the epoch."""
    table = pd.concat([log.assign(fold=fold) for fold, log in logs.items()], ignore_index=True)
    colours = series(list(logs))
    return Chart(
        name=name,
        description=description,
        spec={
            "height": 240,
            "mark": {"type": "line", "strokeWidth": 1.6, "point": {"size": 14}},
            "encoding": {
                "x": {
                    "field": "epoch",
                    "type": "quantitative",
                    "title": "epoch",
                    "axis": {"tickMinStep": 1, "grid": False},
                },
                "y": {"field": "loss", "type": "quantitative", "title": "loss", "scale": {"zero": False}},
                "color": {"field": "fold", "type": "nominal", "scale": colours, "legend": LEGEND_ABOVE},
                "tooltip": [told("fold"), told("epoch"), told("loss", ".4f")],
            },
        },
        columns={
            "fold": table["fold"].tolist(),
            "epoch": table["epoch"].tolist(),
            "loss": [round(float(value), 5) for value in table[column]],
        },
    )


def reliability_chart(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """Draw how often labels are right against how sure they are; a perfect model lies on the diagonal."""
    rows = [{"kind": kind, **row} for kind, bins in kinds.items() for row in bins]
    unit = {"type": "quantitative", "scale": scale(0, 1), "axis": {"tickCount": 5, "format": ".0%"}}
    diagonal = {
        "data": {"values": [{"confidence": 0, "accuracy": 0}, {"confidence": 1, "accuracy": 1}]},
        "mark": {"type": "line", "color": QUIET, "strokeDash": [4, 4], "strokeWidth": 1, "aria": False},
    }
    lines = {
        "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 50, "filled": True}},
        "encoding": {
            "color": {"field": "kind", "type": "nominal", "scale": series(list(kinds)), "legend": LEGEND_ABOVE},
            "tooltip": [told("kind"), told("cells", ","), told("confidence", ".1%"), told("accuracy", ".1%")],
        },
    }
    return Chart(
        name="reliability",
        description="Reliability diagram: share of labels that are right by confidence; the diagonal is perfect.",
        spec={
            "height": 280,
            "encoding": {
                "x": {"field": "confidence", **unit, "title": "confidence"},
                "y": {"field": "accuracy", **unit, "title": "share that is right"},
            },
            "layer": [diagonal, lines],
        },
        columns={
            "kind": [row["kind"] for row in rows],
            "cells": [row["n_cells"] for row in rows],
            **{name: [round(row[name], 4) for row in rows] for name in ("confidence", "accuracy")},
        },
    )


def histogram_chart(parts: Mapping[str, Sequence[int]], colours: Sequence[str]) -> Chart:
    """Draw how many cells are how sure, in bins from 0 to 1, one part upon the other."""
    n_bins = len(next(iter(parts.values())))
    rows = [(part, number, n) for part, counts in parts.items() for number, n in enumerate(counts) if n]
    return Chart(
        name="confidence",
        description="Histogram of the confidence: cells by how sure the model is of their label.",
        spec={
            "height": 280,
            "mark": {"type": "bar", "binSpacing": 1},
            "encoding": {
                "x": {
                    "field": "start",
                    "type": "quantitative",
                    "bin": {"binned": True, "step": 1 / n_bins},
                    "scale": scale(0, 1),
                    "title": "confidence",
                    "axis": {"format": ".0%", "tickCount": 5, "grid": False},
                },
                "x2": {"field": "end"},
                "y": {
                    "field": "cells",
                    "type": "quantitative",
                    "title": "cells",
                    "axis": COUNT_AXIS,
                },
                "color": {
                    "field": "label",
                    "type": "nominal",
                    "scale": {"domain": list(parts), "range": list(colours)},
                    "legend": LEGEND_ABOVE if len(parts) > 1 else None,
                },
                "order": {"field": "label", "sort": "descending"},
                "tooltip": [told("label"), told("start", ".0%"), told("end", ".0%"), told("cells", ",")],
            },
        },
        columns={
            "label": [part for part, _, _ in rows],
            "start": [round(number / n_bins, 4) for _, number, _ in rows],
            "end": [round((number + 1) / n_bins, 4) for _, number, _ in rows],
            "cells": [n for _, _, n in rows],
        },
    )


def coverage_chart(rows: Sequence[tuple[str, float, float]]) -> Chart:
    """Draw the share of a model's genes that the data has: name of the model, share, share weighted by importance."""
    kinds = ("of its genes", "weighted by importance")
    return Chart(
        name="coverage",
        description="Share of the model's genes that the data has, and the same weighted by importance to the network.",
        spec={
            "height": 44 * len(rows),
            "params": [{"name": "names", "value": named([name for name, _, _ in rows])}],
            "transform": [{"calculate": "names[datum.code]", "as": "model"}],
            "mark": {"type": "bar", "cornerRadiusEnd": 2},
            "encoding": {
                "y": {"field": "code", "type": "ordinal", "title": None, "axis": CLASS_AXIS if len(rows) > 1 else None},
                "yOffset": {"field": "kind", "sort": list(kinds)},
                "x": {
                    "field": "share",
                    "type": "quantitative",
                    "title": "share that the data has",
                    "scale": scale(0, 1),
                    "axis": {"format": ".0%", "tickCount": 5},
                },
                "color": {"field": "kind", "type": "nominal", "scale": series(kinds), "legend": LEGEND_ABOVE},
                "tooltip": [told("model"), told("kind"), told("share", ".1%")],
            },
        },
        columns={
            "code": [code for code in range(len(rows)) for _ in kinds],
            "kind": [kind for _ in rows for kind in kinds],
            "share": [round(part, 4) for _, *parts in rows for part in parts],
        },
    )
