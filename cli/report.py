"""``scnym report``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a training, a prediction or markers, or an --out_path.", metavar="RUN")
    ],
    json: options.Json = False,
) -> None:
    """Write the page of a run that is there already anew: one HTML file, which a browser opens without a network.

    For example:

        scnym report run/tissue_independent
    """
    import scnym

    from .tables import print_pages

    print_pages(scnym.report(run), as_json=json)
