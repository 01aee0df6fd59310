"""``scnym train_tissue_specific``."""

from pathlib import Path

from scnym.base.settings import RunSettings

from .train import with_training_options


@with_training_options
def train_tissue_specific(input_counts: Path, out_path: Path, settings: RunSettings, json: bool) -> None:
    """Learn one model for each tissue, with classes and folds of its own.

    Tissues with too few cells are skipped, and listed. A run that was interrupted goes on with the tissues that are
    missing when the same command is given again.

    For example:

        scnym train_tissue_specific --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --min_cells_per_class 5 --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_tissues

    models = scnym.train_tissue_specific(input_counts, out_path, settings, progress=make_progress())
    print_tissues(models, as_json=json)
