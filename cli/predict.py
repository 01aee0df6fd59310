"""``scnym predict_cell_types``."""

from dataclasses import dataclass
from typing import Any

from scnym.base.settings import PredictSettings

from . import option_groups, options
from .group import beside_result
from .option_groups import ClusterOptions, RawInput
from .options import takes_options

_DEFAULT = PredictSettings()


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(RawInput, ClusterOptions):
    """What the command was given."""

    input_counts: options.InputCounts
    model_path: options.ModelPath
    out_path: options.OutPath
    training_gene_names: options.TrainingGeneNames = None
    training_metadata: options.TrainingMetadata = None
    upper_group: option_groups.UpperGroupOfNewCells = _DEFAULT.upper_group
    unknown_tissue: option_groups.UnknownTissue = _DEFAULT.unknown_tissue
    min_gene_coverage: options.MinGeneCoverage = _DEFAULT.min_gene_coverage
    min_confidence: option_groups.MinConfidence = _DEFAULT.min_confidence
    smooth_k: option_groups.SmoothK = _DEFAULT.smooth_k
    vote_by: option_groups.VoteBy = _DEFAULT.vote_by
    seed: options.Seed = _DEFAULT.seed
    batch_size: options.BatchSize = _DEFAULT.batch_size
    device: options.Device = _DEFAULT.device
    probabilities: option_groups.Probabilities = _DEFAULT.probabilities
    embedding: option_groups.Embedding = _DEFAULT.embedding
    write_h5ad: option_groups.WriteH5ad = _DEFAULT.write_h5ad
    by_sample: option_groups.BySample = False
    overwrite: options.Overwrite = False
    json: options.Json = False

    def settings(self) -> PredictSettings:
        """Turn options into settings."""
        return PredictSettings(
            batch_size=self.batch_size,
            min_gene_coverage=self.min_gene_coverage,
            min_confidence=self.min_confidence,
            smooth_k=self.smooth_k,
            vote_by=self.vote_by,
            upper_group=self.upper_group,
            unknown_tissue=self.unknown_tissue,
            probabilities=self.probabilities,
            embedding=self.embedding,
            write_h5ad=self.write_h5ad,
            device=self.device,
            seed=self.seed,
        )


@takes_options
def predict_cell_types(given: PredictionOptions) -> None:
    """Label new cells with a trained model; their genes may differ in set and order.

    For example:

        scnym predict_cell_types --input_counts new.h5ad --out_path labelled \\
            --model_path run/tissue_independent

        scnym predict_cell_types --input_counts new.h5ad --out_path labelled \\
            --model_path run/tissues --upper_group organ --min_confidence 0.5 --write_h5ad

        scnym predict_cell_types --input_counts samples.csv --out_path labelled \\
            --model_path run/tissue_independent --workers 4
    """
    import scnym

    from .progress import make_progress
    from .tables import print_predictions, print_samples

    what = (given.input_counts, given.model_path, given.out_path, given.settings())
    how: dict[str, Any] = {
        "training_gene_names": given.training_gene_names,
        "convert_settings": given.convert_settings(given.training_metadata),
        "overwrite": given.overwrite,
        "progress": make_progress(),
    }
    cluster = given.cluster()
    if not given.by_sample and cluster is None:
        print_predictions(scnym.predict(*what, **how), as_json=given.json)
        return
    samples = scnym.predict_samples(*what, cluster=cluster, **how)
    print_samples(samples, as_json=given.json)
    with beside_result():
        samples.require_all()
