"""``scnym train_tissue_dependent``."""

from pathlib import Path

from scnym.base.settings import RunSettings

from .train import with_training_options


@with_training_options
def train_tissue_dependent(input_counts: Path, out_path: Path, settings: RunSettings, json: bool) -> None:
    """Learn cell types from all cells and their tissue, which is read beside the genes.

    Otherwise as train_tissue_independent. New cells need a tissue that the model knows.

    For example:

        scnym train_tissue_dependent --input_counts cells.h5ad --upper_group tissue --lower_group cell_type \\
            --out_path run
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_run

    summary = scnym.train_tissue_dependent(input_counts, out_path, settings, progress=make_progress())
    print_run(summary, as_json=json)
