"""How results look on the terminal: what all tables and lines are made of."""

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText

from scnym.base.display import displayed

STDOUT = Console(highlight=False)


def text(content: str) -> RichText:
    """Give text that is shown as it is: without markup, and without what steers a terminal."""
    return RichText(displayed(content))


def table_of(first: str, *others: str) -> Table:
    """Give a table without rows: names of a first column of words, and of others of figures."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def say(line: str) -> None:
    """Print a line."""
    STDOUT.print(displayed(line), markup=False, soft_wrap=True)


def print_json(content: object) -> None:
    """Print a result for machines."""
    STDOUT.file.write(json.dumps(content, indent=2, default=str) + "\n")
