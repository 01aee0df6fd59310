"""What all reports share: templates, Vega's JavaScript, safe text from files, and the files of a run that they read."""

import html
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from scnym.base.progress import COST_FILE
from scnym.base.text import displayed
from scnym.base.text_columns import as_numbers, unguarded
from scnym.runs.output_tree import FIGURES_FILE, MAP_FILE, read_own_json, read_own_table
from scnym.runs.reports.charts import Chart

VEGA_LITE = "6.4"
_PROGRAM = f"import sys, vl_convert; sys.stdout.write(vl_convert.javascript_bundle(vl_version={VEGA_LITE!r}))"
SECONDS = 120
"""After which a process that does not answer is given up."""


@cache
def javascript() -> str | None:
    """Return the libraries; None where they cannot be had.

    They come out of vl-convert, which needs no network. But it holds a JavaScript engine that takes 140 MB, claims
    64 GB of address space, and ends its process where that is limited, as on some clusters. So it works in a process
    of its own.
    """
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and a program that nobody else writes
            [sys.executable, "-c", _PROGRAM], capture_output=True, timeout=SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Inside a page the text must not end the element that it stands in.
    return done.stdout.decode().replace("</script", "<\\/script").replace("<!--", "<\\!--")


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
    """Return the templates. Whatever they show is escaped, and control characters are spelled out."""
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
    """Return a figure of merit, with its spread where there is one."""
    if value is None:
        return NO_FIGURE
    return f"{value:{'+' if sign else ''}.3f}" + ("" if sd is None else f"\u00a0±\u00a0{sd:.3f}")


def count(value: float | None) -> str:
    """Return a number of things."""
    return NO_FIGURE if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """Return a part of a whole."""
    return NO_FIGURE if value is None else f"{value:.1%}"


def size(n_bytes: float | None) -> str:
    """Return a number of bytes."""
    if n_bytes is None:
        return NO_FIGURE
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def duration(seconds: float | None) -> str:
    """Return a time."""
    if seconds is None:
        return NO_FIGURE
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def as_markdown(name: object) -> str:
    """Return text from a file so that Markdown shows it as it is."""
    line = " ".join(displayed(str(name)).split())
    return _MARKUP.sub(r"\\\1", html.escape(line, quote=False))


FEWEST_POINTS = 3
"""Cells without which a map shows nothing."""


def optional_json(path: Path) -> dict[str, Any]:
    """Read a file that older versions did not write; nothing if it is not there."""
    return read_own_json(path) if path.is_file() else {}


def figures_of(folder: Path) -> dict[str, Any]:
    """Return what the figures of a run are drawn from."""
    return optional_json(folder / FIGURES_FILE)


def cost_of(folder: Path) -> dict[str, Any]:
    """Return what a run has cost."""
    return optional_json(folder / COST_FILE)


def map_of(folder: Path) -> pd.DataFrame | None:
    """Return the cells of a run's map; None if it has none."""
    path = folder / MAP_FILE
    if not path.is_file():
        return None
    table = read_own_table(path)
    for name in ("x", "y", "confidence"):
        if name in table:
            table[name] = as_numbers(table[name], errors="raise")
    table = table.replace([np.inf, -np.inf], np.nan).dropna(subset=["x", "y"])
    return table if len(table) >= FEWEST_POINTS else None


def read_columns(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a long table that a run has written, as text; those that are not there are left out."""
    return pd.read_csv(path, usecols=lambda name: name in columns, dtype=str, keep_default_na=False).map(unguarded)
