"""One figure of a page: Vega-Lite describes it, the page's style sheet gives it its colours.

Names from files stand in a figure's data alone, never in an expression, where they would be a program.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scnym.base.display import displayed

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
    """Give a scale from one value to another, and what they become."""
    return {"domain": [low, high], **({} if span is None else {"range": list(span)})}


def series(names: Sequence[str]) -> dict[str, Any]:
    """Give a colour to each of a few names."""
    return {"domain": list(names), "range": [SERIES[number % len(SERIES)] for number in range(len(names))]}


def told(field: str, number_format: str | None = None, title: str | None = None) -> dict[str, Any]:
    """Give a line of what is shown of a mark that is hovered over."""
    quantity = {} if number_format is None else {"format": number_format, "type": "quantitative"}
    return {"field": field, "title": title or field, **quantity}


def named(names: Sequence[str]) -> list[str]:
    """Give names as an axis shows them."""
    shown = [displayed(name) for name in names]
    return [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in shown]
