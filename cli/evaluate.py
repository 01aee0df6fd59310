"""``scnym evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from scnym.base.settings import EvaluateSettings

from . import label_options, options

_DEFAULT = EvaluateSettings()


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="CSV or TSV with cell ids and labels, of any tool.", metavar="PREDICTIONS")
    ],
    truth: Annotated[
        Path, typer.Argument(help="Table, h5ad, other raw input or store with the true labels.", metavar="TRUTH")
    ],
    lower_group: label_options.TrueLabelColumn = _DEFAULT.label_column,
    predicted_column: label_options.PredictedColumn = _DEFAULT.predicted_column,
    confidence_column: label_options.ConfidenceColumn = _DEFAULT.confidence_column,
    cell_column: label_options.CellColumn = _DEFAULT.cell_column,
    unknown_label: label_options.UnknownLabel = _DEFAULT.unknown,
    mapping: label_options.Mapping = None,
    out_path: label_options.OutPathOfEvaluation = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Measure the labels that scnym or any other tool gave against true ones; cells are matched by id.

    Columns are found out where they have usual names. Cells labelled Unknown count as wrong, and are told apart.

    For example:

        scnym evaluate run/predictions/predictions.csv truth.h5ad --lower_group cell_type

        scnym evaluate celltypist/predicted_labels.csv truth.csv --mapping coarse.csv --json
    """
    import scnym

    from .reporting import make_progress
    from .tables import print_evaluation

    settings = scnym.EvaluateSettings(
        label_column=lower_group,
        predicted_column=predicted_column,
        confidence_column=confidence_column,
        cell_column=cell_column,
        unknown=unknown_label,
        mapping=None if mapping is None else str(mapping),
    )
    found = scnym.evaluate(
        predictions, truth, settings, out_path=out_path, overwrite=overwrite, progress=make_progress()
    )
    print_evaluation(found, as_json=json)
