"""The commands ``evaluate``, ``compare`` and ``report``: results looked at again."""

from pathlib import Path
from typing import Annotated

import typer

from scnym.base.settings import EvaluateSettings

from . import option_groups, options


def compare(
    run: Annotated[Path, typer.Argument(help="The --out_path of the training commands.")],
    json: options.Json = False,
) -> None:
    """Compare which family of models is best for which tissue, on held-out cells, with the spread over folds.

    For example:

        scnym compare run
    """
    import scnym

    from .tables import print_comparison

    print_comparison(scnym.compare(run), as_json=json)


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a training, a prediction or markers, or an --out_path.", metavar="RUN")
    ],
    json: options.Json = False,
) -> None:
    """Regenerate the report of an existing run: one HTML file that works offline.

    For example:

        scnym report run/tissue_independent
    """
    import scnym

    from .tables import print_pages

    print_pages(scnym.report(run), as_json=json)


_DEFAULT = EvaluateSettings()


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="CSV or TSV with cell ids and labels, of any tool.", metavar="PREDICTIONS")
    ],
    truth: Annotated[
        Path, typer.Argument(help="Table, h5ad, other raw input or store with the true labels.", metavar="TRUTH")
    ],
    lower_group: option_groups.TrueLabelColumn = _DEFAULT.label_column,
    predicted_column: option_groups.PredictedColumn = _DEFAULT.predicted_column,
    confidence_column: option_groups.ConfidenceColumn = _DEFAULT.confidence_column,
    cell_column: option_groups.CellColumn = _DEFAULT.cell_column,
    unknown_label: option_groups.UnknownLabel = _DEFAULT.unknown,
    mapping: option_groups.Mapping = None,
    out_path: option_groups.OutPathOfEvaluation = None,
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

    from .progress import make_progress
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
