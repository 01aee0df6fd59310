"""Write ``docs/faults.md`` from the table: every mistake is made, and what scnym says of it is set down.

PYTHONPATH=.:tests python tests/faults/page.py
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.bench import Bench, Outcome
from faults.fault import Fault
from faults.table import THEMES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
HEAD = """# What can go wrong, and what to do

Every mistake below is made by the tests, with the command that is shown; what scnym says stands beside it, word for
word, but for `…`, which stands for words of another library or a hash. Where
scnym offers a command that would work, it stands last. The exit code is 2. What was finished before is
untouched, and nothing half written is left. This page is made from the table in `tests/faults/` by `make faults`.
"""


def page_of(outcome_of: Callable[[Fault], Outcome]) -> str:
    """Return the whole page.

    Parameters
    ----------
    outcome_of
        Gives what comes of a mistake.
    """
    return "\n".join([HEAD, *(_section(title, faults, outcome_of) for title, faults in THEMES.items())])


def _section(title: str, faults: Sequence[Fault], outcome_of: Callable[[Fault], Outcome]) -> str:
    rows = (_row(fault, outcome_of(fault)) for fault in faults)
    return "\n".join([f"## {title}\n", "| mistake | scnym says | what to do |", "|---|---|---|", *rows, ""])


def _row(fault: Fault, outcome: Outcome) -> str:
    """Return a row: the mistake with its command, what is wrong and where, and the way out."""
    message = outcome.errors[0]
    at = message.index(f"; {fault.way_out}")
    said, way_out = message[:at], message[at + 2 :]
    if fault.quotes:
        said = re.sub(r"\(.*\)", "(…)", said)
    said = re.sub(r"\b[0-9a-f]{16,}\b", "…", said)
    tries = "".join(f"<br>`{line}`" for line in outcome.tries)
    mistake = fault.what if fault.form == "option" else f"{fault.form}: {fault.what}"
    return f"| {_cell(mistake)}<br>`scnym {fault.line}` | {_cell(said)} | {_cell(way_out)}{tries} |"


def _cell(text: str) -> str:
    """Return text as it stands between the bars of a table."""
    return re.sub(r"([|<>*_`\[\]\\])", r"\\\1", text)


def main() -> None:
    """Make every mistake, and write the page."""
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        PAGE.write_text(page_of(bench.outcome), encoding="utf-8")


if __name__ == "__main__":
    main()
