"""``scnym predict_cell_types``."""

from scnym.base.settings import ConvertSettings, PredictSettings

from . import label_options, options
from .raw_input import convert_settings

_CONVERT, _DEFAULT = ConvertSettings(), PredictSettings()


def predict_cell_types(
    input_counts: options.InputCounts,
    model_path: options.ModelPath,
    out_path: options.OutPath,
    config: options.Config = None,
    training_gene_names: options.TrainingGeneNames = None,
    input_genes: options.InputGenes = None,
    csv_orientation: options.CsvOrientation = _CONVERT.csv_orientation,
    layer: options.Layer = None,
    library_size: options.LibrarySize = None,
    training_metadata: options.TrainingMetadata = None,
    upper_group: label_options.UpperGroupOfNewCells = _DEFAULT.upper_group,
    unknown_tissue: label_options.UnknownTissue = _DEFAULT.unknown_tissue,
    min_gene_coverage: options.MinGeneCoverage = _DEFAULT.min_gene_coverage,
    min_confidence: label_options.MinConfidence = _DEFAULT.min_confidence,
    smooth_k: label_options.SmoothK = _DEFAULT.smooth_k,
    vote_by: label_options.VoteBy = _DEFAULT.vote_by,
    seed: options.Seed = _DEFAULT.seed,
    batch_size: options.BatchSize = _DEFAULT.batch_size,
    device: options.Device = _DEFAULT.device,
    probabilities: label_options.Probabilities = _DEFAULT.probabilities,
    embedding: label_options.Embedding = _DEFAULT.embedding,
    write_h5ad: label_options.WriteH5ad = _DEFAULT.write_h5ad,
    max_memory: options.MaxMemory = "1GB",
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Label new cells with a trained model; their genes may differ in set and order.

    For example:

        scnym predict_cell_types --input_counts new.h5ad --out_path labelled \\
            --model_path run/tissue_independent

        scnym predict_cell_types --input_counts new.h5ad --out_path labelled \\
            --model_path run/tissues --upper_group organ --min_confidence 0.5 --write_h5ad
    """
    del config
    import scnym

    from .reporting import make_progress
    from .tables import print_predictions

    summary = scnym.predict(
        input_counts,
        model_path,
        out_path,
        scnym.PredictSettings(
            batch_size=batch_size,
            min_gene_coverage=min_gene_coverage,
            min_confidence=min_confidence,
            smooth_k=smooth_k,
            vote_by=vote_by,
            upper_group=upper_group,
            unknown_tissue=unknown_tissue,
            probabilities=probabilities,
            embedding=embedding,
            write_h5ad=write_h5ad,
            device=device,
            seed=seed,
        ),
        training_gene_names=training_gene_names,
        convert_settings=convert_settings(
            input_genes=input_genes,
            csv_orientation=csv_orientation,
            layer=layer,
            library_size=library_size,
            training_metadata=training_metadata,
            max_memory=max_memory,
        ),
        overwrite=overwrite,
        progress=make_progress(),
    )
    print_predictions(summary, as_json=json)
