"""Figures about measures: how a loss fell, whether confidence means what it says, how much of the genes is there."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scnym.runs.handouts.chart import CLASS_AXIS, COUNT_AXIS, LEGEND_ABOVE, QUIET, Chart, named, scale, series, told


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
