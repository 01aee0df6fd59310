"""The commands ``verify`` and ``export``: a finished store checked, or written back as an h5ad."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .group import beside_result


def export(
    store: Annotated[Path, typer.Argument(help="The store to read.", metavar="STORE.zarr")],
    target: Annotated[Path, typer.Argument(help="The file to write.", metavar="OUT.h5ad")],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Write a store back as an h5ad: counts, annotations of cells and of genes, as they were.

    For example:

        scnym export atlas.zarr atlas.h5ad
    """
    import scnym

    from .progress import make_progress
    from .tables import print_export

    print_export(scnym.export(store, target, overwrite=overwrite, progress=make_progress()), as_json=json)


def verify(
    store: Annotated[Path, typer.Argument(help="The store to check.", metavar="STORE.zarr")],
    json: options.Json = False,
) -> None:
    """Check that a store is what it was when it was finished; if not, say which cells are lost.

    For example:

        scnym verify atlas.zarr
    """
    import scnym

    from .progress import make_progress
    from .tables import print_verification

    report = scnym.verify(store, progress=make_progress())
    print_verification(report, as_json=json)
    with beside_result():
        report.require_whole()
