"""How results look on the terminal: what all tables and lines are made of."""

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText

from scnym.base.display import displayed

if TYPE_CHECKING:
    from pydantic import BaseModel

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


def print_json(result: "BaseModel") -> None:
    """Print a result for machines; in ASCII, whatever the terminal's encoding, and null for what is no number."""
    STDOUT.file.write(json.dumps(json.loads(result.model_dump_json()), indent=2) + "\n")
