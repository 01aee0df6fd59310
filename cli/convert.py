"""``scnym convert``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .raw_input import convert_settings


def convert(
    inputs: Annotated[list[Path], typer.Argument(help="h5ad, loom, CSV or TSV files (also .gz).", metavar="INPUT...")],
    store: Annotated[Path, typer.Argument(help="The store to write.", metavar="STORE.zarr")],
    config: options.Config = None,
    input_genes: options.InputGenes = None,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    max_memory: options.MaxMemory = "1GB",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Convert raw counts into a Zarr store that streams, and that AnnData opens.

    For example:

        scnym convert counts.h5ad counts.zarr

        scnym convert donor1.csv.gz donor2.loom atlas.zarr --max_memory 500MB
    """
    del config
    import scnym

    from .reporting import make_progress
    from .tables import print_store

    settings = convert_settings(
        input_genes=input_genes, layer=layer, library_size=library_size, max_memory=max_memory, overwrite=overwrite
    )
    finished = scnym.convert(inputs, store, settings, progress=make_progress())
    print_store(scnym.open_store(finished), as_json=json)
