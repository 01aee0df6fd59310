"""``scnym inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from scnym.base.settings import ConvertSettings

from . import options
from .option_groups import convert_settings

_DEFAULT = ConvertSettings()


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="A raw input, a store, a model.safetensors, or the folder of a training run.", metavar="PATH"
        ),
    ],
    input_genes: options.InputGenes = None,
    csv_orientation: options.CsvOrientation = _DEFAULT.csv_orientation,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    counts_as: options.CountsAs = _DEFAULT.counts_as,
    card: Annotated[
        Path | None, typer.Option(help="Of a model: write its card to this file, as Markdown.", metavar="FILE.md")
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what a file is before anything is done with it: cells, genes, classes, what its values are, time to expect.

    For example:

        scnym inspect cells.h5ad

        scnym inspect run/tissue_independent --card model_card.md
    """
    import scnym

    from .tables import print_inspection

    settings = convert_settings(
        input_genes=input_genes,
        csv_orientation=csv_orientation,
        layer=layer,
        library_size=library_size,
        counts_as=counts_as,
        max_memory="1GB",
    )
    print_inspection(scnym.inspect(path, settings, card=card), as_json=json)
