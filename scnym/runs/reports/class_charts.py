"""Figures about classes: which are mistaken for which, how many cells each has, where these lie, what marks them.

K classes, N cells of a matrix that hold anything.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scnym.base.text import displayed
from scnym.runs.reports.charts import (
    ACCENT,
    CLASS_AXIS,
    COUNT_AXIS,
    INK,
    LEGEND_ABOVE,
    QUIET,
    RIGHT,
    SERIES,
    WRONG,
    Chart,
    named,
    scale,
    told,
)
from scnym.runs.reports.page import NO_FIGURE

MAX_BARS = 40
"""Bars of a chart; what is more is summed up in words."""
MAX_SHARES = 6
"""Classes that a sample is shown to be made of, beside all others."""
MAX_NUMBERED = 14
"""Classes of a confusion matrix whose cells are wide enough for numbers."""
MAX_DESCRIBED = 30
"""Classes of a confusion matrix whose cells are described one by one to a screen reader."""


def confusion_chart(counts_KK: np.ndarray, classes: Sequence[str]) -> Chart:
    """Draw true against predicted classes: the darker a cell, the larger its share of the true class."""
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    true_N, given_N = np.nonzero(counts_KK)
    step = 40 if len(classes) <= MAX_NUMBERED else 20 if len(classes) <= MAX_DESCRIBED else 12
    position = {"sort": None, "scale": {"domain": list(range(len(classes)))}, "type": "ordinal"}
    axis = {**CLASS_AXIS, "labelOverlap": len(classes) > MAX_DESCRIBED}
    encoding = {
        "x": {"field": "given", **position, "title": "predicted", "axis": {**axis, "labelAngle": -50}},
        "y": {"field": "true", **position, "title": "true", "axis": axis},
    }
    return Chart(
        name="confusion",
        min_width=130 + 25 * len(classes) if len(classes) <= MAX_NUMBERED else 0,
        max_width=260 + 2 * step * len(classes),
        description="Confusion matrix: cells by true and predicted class. The table of classes sums it up in figures.",
        spec={
            "height": step * len(classes),
            "params": [{"name": "names", "value": named(classes)}],
            "transform": [
                {"calculate": f"names[datum.{code}]", "as": words}
                for code, words in (("true", "true class"), ("given", "predicted class"))
            ],
            "encoding": encoding,
            "layer": _confusion_layers(len(classes)),
        },
        columns={
            "true": true_N.tolist(),
            "given": given_N.tolist(),
            "cells": counts_KK[true_N, given_N].tolist(),
            "share": np.round(shares_KK[true_N, given_N], 4).tolist(),
        },
    )


def _confusion_layers(n_classes: int) -> list[dict[str, Any]]:
    cells = {
        "mark": {"type": "rect", "cornerRadius": 2, "aria": n_classes <= MAX_DESCRIBED},
        "encoding": {
            "color": {"condition": {"test": "datum.true === datum.given", "value": RIGHT}, "value": WRONG},
            "opacity": {"field": "share", "type": "quantitative", "scale": scale(0, 1, [0.12, 1]), "legend": None},
            "tooltip": [
                told("true class"),
                told("predicted class"),
                told("cells", ","),
                told("share", ".1%", "of the true class"),
            ],
        },
    }
    numbers = {
        "mark": {"type": "text", "fontSize": 11, "aria": False, "tooltip": None},
        "encoding": {
            "text": {"field": "cells", "format": ","},
            "color": {"condition": {"test": "datum.share > 0.55", "value": "var(--on-accent)"}, "value": INK},
        },
    }
    return [cells, numbers] if n_classes <= MAX_NUMBERED else [cells]


def composition_chart(cells: Mapping[str, int], what: str) -> Chart:
    """Draw how many cells each class has, the largest first."""
    ordered = sorted(cells.items(), key=lambda item: -item[1])
    shown, others = ordered[:MAX_BARS], ordered[MAX_BARS:]
    total = max(1, sum(cells.values()))
    bars = {"mark": {"type": "bar", "color": ACCENT, "cornerRadiusEnd": 2, "height": {"band": 0.72}}}
    numbers = {
        "mark": {"type": "text", "align": "left", "dx": 5, "color": QUIET, "fontSize": 11, "aria": False},
        "encoding": {"text": {"field": "cells", "format": ","}},
    }
    return Chart(
        name="composition",
        description=f"Cells of each class among the {what}, the largest class first.",
        caption=_left_out(others),
        spec={
            "height": 22 * len(shown),
            "params": [{"name": "names", "value": named([name for name, _ in shown])}],
            "transform": [{"calculate": "names[datum.code]", "as": "class"}],
            "encoding": {
                "y": {"field": "code", "type": "ordinal", "title": None, "axis": CLASS_AXIS},
                "x": {
                    "field": "cells",
                    "type": "quantitative",
                    "title": "cells",
                    "scale": {"domainMax": max((n for _, n in shown), default=1) * 1.12, "nice": False},
                    "axis": COUNT_AXIS,
                },
                "tooltip": [told("class"), told("cells", ","), told("share", ".1%")],
            },
            "layer": [bars, numbers],
        },
        columns={
            "code": list(range(len(shown))),
            "cells": [n for _, n in shown],
            "share": [round(n / total, 4) for _, n in shown],
        },
    )


def _left_out(others: Sequence[tuple[str, int]]) -> str:
    """Return what the bars leave out; as a bar of its own it would make the others too short to be compared."""
    cells = sum(n for _, n in others)
    return f"The {MAX_BARS} largest; {len(others):,} others have {cells:,} cells together." if others else ""


def share_chart(cells: Mapping[str, Mapping[str, int]]) -> Chart:
    """Draw what samples are made of: shares of their most frequent classes, and of all others together."""
    totals = Counter[str]()
    for counts in cells.values():
        totals.update(counts)
    kept = [name for name, n in totals.most_common(MAX_SHARES) if n]
    rows = [
        (sample, code, n, n / max(1, sum(counts.values())))
        for sample, counts in enumerate(cells.values())
        for code, n in enumerate([*(counts.get(name, 0) for name in kept), _others(counts, kept)])
        if n
    ]
    return Chart(
        name="shares",
        description="Shares of cell types in every sample, as bars one beside the other.",
        spec={
            "height": 24 * len(cells),
            "params": [
                {"name": "names", "value": named(list(cells))},
                {"name": "classes", "value": [*named(kept), "others"]},
            ],
            "transform": [
                {"calculate": "names[datum.row]", "as": "sample"},
                {"calculate": "classes[datum.code]", "as": "cell type"},
            ],
            "mark": {"type": "bar", "height": {"band": 0.76}},
            "encoding": _share_encoding(len(kept), has_others=any(code == len(kept) for _, code, _, _ in rows)),
        },
        columns={
            "row": [row for row, _, _, _ in rows],
            "code": [code for _, code, _, _ in rows],
            "cells": [n for _, _, n, _ in rows],
            "share": [round(share, 4) for _, _, _, share in rows],
        },
    )


def _others(counts: Mapping[str, int], kept: Sequence[str]) -> int:
    return sum(n for name, n in counts.items() if name not in kept)


def _share_encoding(n_kept: int, *, has_others: bool) -> dict[str, Any]:
    return {
        "y": {"field": "row", "type": "ordinal", "title": None, "axis": CLASS_AXIS},
        "x": {
            "field": "share",
            "type": "quantitative",
            "title": "share of the cells",
            "scale": scale(0, 1),
            "axis": {"format": ".0%", "tickCount": 5},
        },
        "color": {
            "field": "code",
            "type": "ordinal",
            "scale": {"domain": list(range(n_kept + has_others)), "range": [*class_colours(n_kept), QUIET]},
            "legend": {**LEGEND_ABOVE, "labelExpr": "classes[datum.value]"},
        },
        "order": {"field": "code"},
        "tooltip": [told("sample"), told("cell type"), told("cells", ","), told("share", ".1%")],
    }


def map_chart(cells: pd.DataFrame, classes: Sequence[str], fields: Mapping[str, str]) -> Chart:
    """Draw cells as points, coloured by class; what is hovered over says what it is.

    Parameters
    ----------
    cells
        A row per cell: cell_id, x, y, cell_type, confidence, and any of `fields`.
    classes
        Names of the classes, in the order of their colours.
    fields
        Columns that a point tells, and what they are called.
    """
    code_of = {name: code for code, name in enumerate(classes)}
    tooltip = [{"field": "id", "title": "cell"}, *(told(words) for words in fields.values())]
    words_of = {words: f"datum.{c} < 0 ? '{NO_FIGURE}' : names[datum.{c}]" for c, words in fields.items()}
    if "confidence" in cells:
        words_of["sure"] = f"isValid(datum.confidence) ? format(datum.confidence, '.1%') : '{NO_FIGURE}'"
        tooltip.append(told("sure", title="confidence"))
    codes = {column: [code_of.get(name, -1) for name in cells[column]] for column in fields}
    return Chart(
        name="map",
        description="Cells by two principal components of the network's last hidden layer, coloured by class.",
        renderer="canvas",
        spec={
            "height": 460,
            "params": [
                {"name": "names", "value": named(classes)},
                {"name": "chosen", "value": -1},
            ],
            "transform": [{"calculate": how, "as": words} for words, how in words_of.items()],
            "mark": {"type": "circle", "size": 18 if len(cells) > 3000 else 36, "aria": False},
            "encoding": _map_encoding(len(classes), tooltip),
        },
        columns={
            "id": [displayed(name) for name in cells["cell_id"]],
            "x": [round(float(value), 2) for value in cells["x"]],
            "y": [round(float(value), 2) for value in cells["y"]],
            **({"confidence": [_rounded(v) for v in cells["confidence"]]} if "confidence" in cells else {}),
            **codes,
        },
    )


def _rounded(confidence: float) -> float | None:
    """Return a confidence as it is shown; none of a cell that was never held out."""
    return None if np.isnan(confidence) else round(float(confidence), 3)


def _map_encoding(n_classes: int, tooltip: list[dict[str, Any]]) -> dict[str, Any]:
    place = {"type": "quantitative", "axis": None, "scale": {"zero": False, "nice": False}}
    return {
        "x": {"field": "x", **place},
        "y": {"field": "y", **place},
        "color": {
            "field": "cell_type",
            "type": "ordinal",
            "scale": {"domain": list(range(n_classes)), "range": class_colours(n_classes)},
            "legend": None,
        },
        "opacity": {
            "condition": {"test": "chosen < 0 || chosen === datum.cell_type", "value": 0.72},
            "value": 0.05,
        },
        "tooltip": tooltip,
    }


def class_colours(n_classes: int) -> list[str]:
    """Return a colour to every class: seven that all can tell apart, then paler and darker ones of the same."""
    tints = (lambda part: part, lambda part: (part + 255) // 2, lambda part: part * 6 // 10)
    found = []
    for number in range(n_classes):
        colour, tint = SERIES[number % len(SERIES)], tints[number // len(SERIES) % len(tints)]
        parts = [tint(int(colour[start : start + 2], 16)) for start in (1, 3, 5)]
        found.append("#" + "".join(f"{part:02x}" for part in parts))
    return found


def dot_chart(markers: pd.DataFrame, classes: Sequence[str], size: str) -> Chart:
    """Draw the best genes of every class in all classes that list them.

    Parameters
    ----------
    markers
        A row per class and gene: gene, class, score, and the column `size`, both from 0 to 1.
    classes
        Names of the classes.
    size
        The column that the size of a dot shows.
    """
    genes = list(dict.fromkeys(markers["gene"]))
    row_of, code_of = ({name: code for code, name in enumerate(names)} for names in (genes, classes))
    words = {"detected": "share of cells that have it", "agreement": "share of restarts that agree"}[size]
    return Chart(
        name="dots",
        description="Dot plot of markers: the best genes of every class, and what they score in the other classes.",
        spec={
            "height": 18 * len(genes),
            "params": [{"name": "names", "value": named(classes)}, {"name": "genes", "value": named(genes)}],
            "transform": [
                {"calculate": "names[datum.code]", "as": "class"},
                {"calculate": "genes[datum.row]", "as": "gene"},
            ],
            "mark": {"type": "circle", "color": ACCENT, "opacity": 1},
            "encoding": _dot_encoding(len(classes), words),
        },
        columns={
            "row": [row_of[gene] for gene in markers["gene"]],
            "code": [code_of[name] for name in markers["class"]],
            "rank": markers["rank"].astype(int).tolist(),
            "score": [round(float(value), 4) for value in markers["score"]],
            "part": [round(float(value), 4) for value in markers[size]],
        },
    )


def _dot_encoding(n_classes: int, words: str) -> dict[str, Any]:
    return {
        "x": {
            "field": "code",
            "type": "ordinal",
            "title": None,
            "scale": {"domain": list(range(n_classes))},
            "axis": {
                **CLASS_AXIS,
                "labelAngle": -50,
                "labelOverlap": n_classes > MAX_DESCRIBED,
                "orient": "top",
                "grid": True,
            },
        },
        "y": {
            "field": "row",
            "type": "ordinal",
            "title": None,
            "axis": {**CLASS_AXIS, "labelExpr": "genes[datum.value]", "grid": True},
        },
        "size": {
            "field": "part",
            "type": "quantitative",
            "scale": scale(0, 1, [4, 200]),
            "legend": {"title": words, "orient": "bottom", "values": [0.25, 0.5, 0.75, 1], "format": ".0%"},
        },
        "fillOpacity": {
            "field": "score",
            "type": "quantitative",
            "scale": scale(0, 1, [0.15, 1]),
            "legend": None,
        },
        "tooltip": [
            told("gene"),
            told("class"),
            told("score", ".3f"),
            told("rank"),
            told("part", ".0%", words),
        ],
    }
