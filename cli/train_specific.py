"""``scnym train_tissue_specific``."""

from .training_options import TrainingOptions, takes_training_options


@takes_training_options
def train_tissue_specific(given: TrainingOptions) -> None:
    """Learn one model for each tissue, with classes and folds of its own.

    Tissues with too few cells are skipped, and listed.

    For example:

        scnym train_tissue_specific --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --min_cells_per_class 5 --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_tissues

    models = scnym.train_tissue_specific(given.input_counts, given.out_path, given.settings(), progress=make_progress())
    print_tissues(models, as_json=given.json)
