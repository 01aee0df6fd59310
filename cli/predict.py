"""``scnym predict_cell_types``."""

from scnym.base.settings import PredictSettings

from . import options
from .raw_input import convert_settings

_DEFAULT = PredictSettings()


def predict_cell_types(
    input_counts: options.InputCounts,
    model_path: options.ModelPath,
    out_path: options.OutPath,
    config: options.Config = None,
    training_gene_names: options.TrainingGeneNames = None,
    input_genes: options.InputGenes = None,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    min_gene_coverage: options.MinGeneCoverage = _DEFAULT.min_gene_coverage,
    max_memory: options.MaxMemory = "1GB",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Label new cells with a trained model; their genes may differ in set and order.

    For example:

        scnym predict_cell_types --input_counts new.h5ad --out_path labelled \\
            --model_path run/tissue_independent/all_data/model.safetensors
    """
    del config
    import scnym

    from .reporting import make_progress
    from .tables import print_predictions

    summary = scnym.predict(
        input_counts,
        model_path,
        out_path,
        scnym.PredictSettings(min_gene_coverage=min_gene_coverage),
        training_gene_names=training_gene_names,
        convert_settings=convert_settings(
            input_genes=input_genes, layer=layer, library_size=library_size, max_memory=max_memory
        ),
        overwrite=overwrite,
        progress=make_progress(),
    )
    print_predictions(summary, as_json=json)
