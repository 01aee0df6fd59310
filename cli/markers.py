"""``scnym find_cell_type_markers``."""

from dataclasses import dataclass

from scnym.base.settings import MarkerSettings

from . import options
from .option_groups import RawInput
from .options import takes_options

_DEFAULT = MarkerSettings()


@dataclass(frozen=True, kw_only=True)
class MarkerOptions(RawInput):
    """What the command was given."""

    model_path: options.ModelPath
    out_path: options.OutPath
    input_counts: options.LabelledCounts = None
    lower_group: options.LabelsOfCells = _DEFAULT.label_column
    training_metadata: options.TrainingMetadata = None
    training_gene_names: options.TrainingGeneNames = None
    min_gene_coverage: options.MinGeneCoverage = _DEFAULT.min_gene_coverage
    classes: options.Classes = _DEFAULT.classes
    l1_reg: options.L1Reg = _DEFAULT.l1_reg
    n_restarts: options.NRestarts = _DEFAULT.n_restarts
    n_steps: options.NSteps = _DEFAULT.n_steps
    seed: options.Seed = _DEFAULT.seed
    overwrite: options.Overwrite = False
    json: options.Json = False

    def settings(self) -> MarkerSettings:
        """Turn options into settings."""
        return MarkerSettings(
            l1_reg=self.l1_reg,
            n_restarts=self.n_restarts,
            n_steps=self.n_steps,
            classes=self.classes,
            label_column=self.lower_group,
            min_gene_coverage=self.min_gene_coverage,
            seed=self.seed,
        )


@takes_options
def find_cell_type_markers(given: MarkerOptions) -> None:
    """Find the genes that carry each class of a trained model; with labelled cells, rank them by these too.

    For example:

        scnym find_cell_type_markers --model_path run/tissue_independent/all_data/model.safetensors --out_path run \\
            --input_counts cells.zarr
    """
    import scnym

    from .progress import make_progress
    from .tables import print_markers

    summary = scnym.find_markers(
        given.model_path,
        given.out_path,
        given.settings(),
        input_counts=given.input_counts,
        training_metadata=given.training_metadata,
        training_gene_names=given.training_gene_names,
        convert_settings=given.convert_settings(),
        overwrite=given.overwrite,
        progress=make_progress(),
    )
    print_markers(summary, as_json=given.json)
