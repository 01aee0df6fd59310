"""What all pages share: templates, what is done to text from files, and how a page is written."""

import html
import re
from pathlib import Path
from typing import Any

import jinja2

from scnym.base.display import displayed
from scnym.runs.handouts.bundle import javascript
from scnym.runs.handouts.chart import Chart

FOLDER = Path(__file__).parent / "templates"
_MARKUP = re.compile(r"([\\`*_\[\]|~$:@])")
"""What Markdown may take for something else than itself."""
MEASURES = (
    ("accuracy", "accuracy"),
    ("balanced_accuracy", "balanced accuracy"),
    ("macro_f1", "macro-F1"),
    ("mean_loss", "loss"),
    ("calibration_error", "calibration error"),
)
"""Figures of merit: their names in files, and in words."""
NO_FIGURE = "\N{EN DASH}"
"""Stands where there is no figure."""


def write_page(path: Path, template: str, charts: list[Chart], **content: Any) -> None:
    """Fill a template, and write what comes of it.

    Parameters
    ----------
    path
        The HTML file.
    template
        Name of the template.
    charts
        Its figures; those that it has no place for are left out.
    **content
        What the template asks for.
    """
    page = _environment().get_template(template)
    drawn = {chart.name: chart for chart in charts}
    # Libraries that nothing is drawn with are dead weight.
    text = page.render(charts=drawn, javascript=javascript() if drawn else None, **content)
    path.write_text(text, encoding="utf-8")


def filled(template: str, **content: Any) -> str:
    """Fill a template of a text that is no page."""
    return _environment().get_template(template).render(**content)


def _environment() -> jinja2.Environment:
    """Give the templates. Whatever they show is escaped, and control characters are spelled out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=jinja2.select_autoescape(["html"]),
        finalize=lambda shown: displayed(shown) if type(shown) is str else shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "figure": figure,
        "count": count,
        "share": share,
        "size": size,
        "duration": duration,
        "text": as_markdown,
    }
    return environment


def figure(value: float | None, sd: float | None = None, *, sign: bool = False) -> str:
    """Give a figure of merit, with its spread where there is one."""
    if value is None:
        return NO_FIGURE
    return f"{value:{'+' if sign else ''}.3f}" + ("" if sd is None else f"\u00a0±\u00a0{sd:.3f}")


def count(value: float | None) -> str:
    """Give a number of things."""
    return NO_FIGURE if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Give a part of a whole."""
    return NO_FIGURE if value is None else f"{value:.1%}"


def size(n_bytes: float | None) -> str:
    """Give a number of bytes."""
    if n_bytes is None:
        return NO_FIGURE
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def duration(seconds: float | None) -> str:
    """Give a time."""
    if seconds is None:
        return NO_FIGURE
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def as_markdown(name: object) -> str:
    """Give text from a file so that Markdown shows it as it is."""
    line = " ".join(displayed(str(name)).split())
    return _MARKUP.sub(r"\\\1", html.escape(line, quote=False))
