"""``scnym compare``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options


def compare(
    run: Annotated[Path, typer.Argument(help="The --out_path of the training commands.")],
    json: options.Json = False,
) -> None:
    """Say which family of models is best for which tissue, on held-out cells, with the spread over folds.

    For example:

        scnym compare run
    """
    import scnym

    from .tables import print_comparison

    print_comparison(scnym.compare(run), as_json=json)
