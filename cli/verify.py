"""``scnym verify``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .group import beside_result


def verify(
    store: Annotated[Path, typer.Argument(help="The store to check.", metavar="STORE.zarr")],
    json: options.Json = False,
) -> None:
    """Check that a store is what it was when it was finished; if not, say which cells are lost.

    For example:

        scnym verify atlas.zarr
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_verification

    report = scnym.verify(store, progress=make_progress())
    print_verification(report, as_json=json)
    with beside_result():
        report.require_whole()
