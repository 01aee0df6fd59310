"""``scnym train_tissue_dependent``."""

from .training_options import TrainingOptions, takes_training_options


@takes_training_options
def train_tissue_dependent(given: TrainingOptions) -> None:
    """Learn cell types from all cells and their tissue, which is read beside the genes.

    Otherwise as train_tissue_independent. New cells need a tissue that the model knows.

    For example:

        scnym train_tissue_dependent --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_run

    summary = scnym.train_tissue_dependent(
        given.input_counts, given.out_path, given.settings(), progress=make_progress()
    )
    print_run(summary, as_json=given.json)
