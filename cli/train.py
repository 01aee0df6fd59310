"""The commands that train."""

from .option_groups import TrainingOptions, takes_training_options


@takes_training_options
def train_tissue_independent(given: TrainingOptions) -> None:
    """Learn cell types from all cells, whatever their tissue: 5-fold cross-validation, then the final model.

    For example:

        scnym train_tissue_independent --input_counts cells.h5ad --lower_group cell_type --out_path run

        scnym train_tissue_independent -c configs/default_config.txt --input_counts cells.zarr --out_path run
    """
    import scnym

    from .progress import make_progress, speaks
    from .tables import print_run

    summary = scnym.train(given.input_counts, given.out_path, given.settings(), progress=make_progress())
    if speaks():
        print_run(summary, as_json=given.json)


@takes_training_options
def train_tissue_dependent(given: TrainingOptions) -> None:
    """Learn cell types from all cells and their tissue, which is read beside the genes.

    Otherwise as train_tissue_independent. New cells need a tissue that the model knows.

    For example:

        scnym train_tissue_dependent --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --out_path run
    """
    import scnym

    from .progress import make_progress, speaks
    from .tables import print_run

    run = scnym.train_tissue_dependent(given.input_counts, given.out_path, given.settings(), progress=make_progress())
    if speaks():
        print_run(run, as_json=given.json)


@takes_training_options
def train_tissue_specific(given: TrainingOptions) -> None:
    """Learn one model for each tissue, with classes and folds of its own.

    Tissues with too few cells are skipped, and listed. A run that was interrupted goes on with --resume: tissues that
    are finished are not trained again.

    For example:

        scnym train_tissue_specific --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --min_cells_per_class 5 --out_path run
    """
    import scnym

    from .progress import make_progress, speaks
    from .tables import print_tissues

    models = scnym.train_tissue_specific(given.input_counts, given.out_path, given.settings(), progress=make_progress())
    if speaks():
        print_tissues(models, as_json=given.json)
