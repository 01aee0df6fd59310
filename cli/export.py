"""``scnym export``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options


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

    from .reporting import make_progress
    from .tables import print_export

    print_export(scnym.export(store, target, overwrite=overwrite, progress=make_progress()), as_json=json)
