"""``scnym find_cell_type_markers``."""

from scnym.base.settings import MarkerSettings

from . import options
from .raw_input import convert_settings

_DEFAULT = MarkerSettings()


def find_cell_type_markers(
    model_path: options.ModelPath,
    out_path: options.OutPath,
    config: options.Config = None,
    input_counts: options.LabelledCounts = None,
    lower_group: options.LabelsOfCells = _DEFAULT.label_column,
    training_metadata: options.TrainingMetadata = None,
    training_gene_names: options.TrainingGeneNames = None,
    input_genes: options.InputGenes = None,
    csv_orientation: options.CsvOrientation = "auto",
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    min_gene_coverage: options.MinGeneCoverage = _DEFAULT.min_gene_coverage,
    classes: options.Classes = _DEFAULT.classes,
    l1_reg: options.L1Reg = _DEFAULT.l1_reg,
    n_restarts: options.NRestarts = _DEFAULT.n_restarts,
    n_steps: options.NSteps = _DEFAULT.n_steps,
    seed: options.Seed = _DEFAULT.seed,
    max_memory: options.MaxMemory = "1GB",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Find the genes that carry each class of a trained model; with labelled cells, rank them by these too.

    For example:

        scnym find_cell_type_markers --model_path run/tissue_independent/all_data/model.safetensors --out_path run \\
            --input_counts cells.zarr
    """
    del config
    import scnym

    from .reporting import make_progress
    from .tables import print_markers

    summary = scnym.find_markers(
        model_path,
        out_path,
        scnym.MarkerSettings(
            l1_reg=l1_reg,
            n_restarts=n_restarts,
            n_steps=n_steps,
            classes=classes,
            label_column=lower_group,
            min_gene_coverage=min_gene_coverage,
            seed=seed,
        ),
        input_counts=input_counts,
        training_metadata=training_metadata,
        training_gene_names=training_gene_names,
        convert_settings=convert_settings(
            input_genes=input_genes,
            csv_orientation=csv_orientation,
            layer=layer,
            library_size=library_size,
            max_memory=max_memory,
        ),
        overwrite=overwrite,
        progress=make_progress(),
    )
    print_markers(summary, as_json=json)
