"""``scnym train_tissue_independent``."""

from .training_options import TrainingOptions, takes_training_options


@takes_training_options
def train_tissue_independent(given: TrainingOptions) -> None:
    """Learn cell types from all cells, whatever their tissue: 5-fold cross-validation, then the final model.

    For example:

        scnym train_tissue_independent --input_counts cells.h5ad --lower_group cell_type --out_path run

        scnym train_tissue_independent -c configs/default_config.txt --input_counts cells.zarr --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_run

    summary = scnym.train(given.input_counts, given.out_path, given.settings(), progress=make_progress())
    print_run(summary, as_json=given.json)
