"""``scnym convert``."""

from pathlib import Path
from typing import Annotated

import typer

from scnym.base.settings import ConvertSettings

from . import option_groups, options
from .option_groups import convert_settings

_DEFAULT = ConvertSettings()


def convert(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Files, folders, patterns in quotes, stores, or a CSV with a column `path` (and `sample`, and any "
            "annotations) that lists them.",
            metavar="INPUT...",
        ),
    ],
    store: Annotated[
        Path, typer.Argument(help="The store to write: a folder, or s3://BUCKET/NAME.zarr.", metavar="STORE.zarr")
    ],
    config: options.Config = None,
    input_genes: options.InputGenes = None,
    csv_orientation: options.CsvOrientation = _DEFAULT.csv_orientation,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    counts_as: options.CountsAs = _DEFAULT.counts_as,
    training_metadata: options.TrainingMetadata = None,
    cluster_by: options.ClusterBy = None,
    profile: options.Profile = _DEFAULT.profile,
    max_memory: options.MaxMemory = "1GB",
    workers: option_groups.Workers = None,
    scheduler: option_groups.Scheduler = None,
    scheduler_file: option_groups.SchedulerFile = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Convert raw counts into a Zarr store that streams, and that AnnData opens.

    A conversion that was interrupted goes on where it was when the same command is given again.

    For example:

        scnym convert counts.h5ad counts.zarr

        scnym convert donor1.csv.gz donor2.loom sample3/filtered_feature_bc_matrix atlas.zarr --max_memory 500MB

        scnym convert samples.csv atlas.zarr --cluster_by cell_type --workers 4

        scnym convert counts.h5ad s3://lab/counts.zarr
    """
    del config
    import scnym

    from .progress import make_progress
    from .tables import print_store

    settings = convert_settings(
        input_genes=input_genes,
        csv_orientation=csv_orientation,
        layer=layer,
        library_size=library_size,
        counts_as=counts_as,
        training_metadata=training_metadata,
        cluster_by=cluster_by,
        profile=profile,
        max_memory=max_memory,
        overwrite=overwrite,
    )
    shared = option_groups.ClusterOptions(workers=workers, scheduler=scheduler, scheduler_file=scheduler_file)
    finished = scnym.convert(inputs, store, settings, cluster=shared.cluster(), progress=make_progress())
    print_store(scnym.open_store(finished), as_json=json)
