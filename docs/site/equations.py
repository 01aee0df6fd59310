"""Equations as MathML, which browsers show by themselves: no script, nothing from other hosts."""

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">(?P<open>\\\(|\\\[)(?P<latex>.*?)(\\\)|\\\])</(?P=tag)>', re.DOTALL
)


def with_mathml(page: str) -> str:
    """Replace the LaTeX that arithmatex marked on a page."""
    return _EQUATION.sub(_mathml, page)


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found["open"] == r"\[" else "inline"
    return convert(html.unescape(found["latex"]).strip(), display=display)
