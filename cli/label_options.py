"""Options of the commands that give labels to cells and judge them, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from scnym.base import settings

from .options import DATA, OUTPUT

PREDICTION = "Prediction"

BySample = Annotated[
    bool,
    typer.Option(
        "--by_sample",
        help="Label every input by itself, into predictions/SAMPLE/, and write predictions/summary.csv over all. The "
        "same command again does only what is missing. --workers and --scheduler do so too.",
        rich_help_panel=OUTPUT,
    ),
]
UpperGroupOfNewCells = Annotated[
    str | None,
    typer.Option(
        "--upper_group",
        help="Column of the new cells with their tissues, for models that depend on them.",
        show_default="the model's own",
        rich_help_panel=DATA,
    ),
]
UnknownTissue = Annotated[
    settings.UnknownTissue,
    typer.Option(
        "--unknown_tissue",
        help="Cells of a tissue that the model does not know: an error, or zero, as if of none. Of tissue-specific "
        "models, such cells get the label Unknown.",
        rich_help_panel=DATA,
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option("--min_confidence", help="Call cells that are less sure Unknown.", rich_help_panel=PREDICTION),
]
SmoothK = Annotated[
    int,
    typer.Option(
        "--smooth_k",
        help="Give each cell the label that most of itself and its so many nearest neighbours have; 0: its own.",
        rich_help_panel=PREDICTION,
    ),
]
VoteBy = Annotated[
    str | None,
    typer.Option(
        "--vote_by",
        help="Column of the new cells with clusters: all cells of one get the label that most of them have.",
        rich_help_panel=PREDICTION,
    ),
]
Probabilities = Annotated[
    settings.Probabilities,
    typer.Option(
        "--probabilities",
        help="How the probabilities of all classes are written: as AnnData (zarr), as text (csv), or not (none).",
        rich_help_panel=OUTPUT,
    ),
]
Embedding = Annotated[
    bool, typer.Option("--embedding", help="Write the network's last hidden layer too.", rich_help_panel=OUTPUT)
]
WriteH5ad = Annotated[
    bool, typer.Option("--write_h5ad", help="Write the cells with their labels as an h5ad.", rich_help_panel=OUTPUT)
]
TrueLabelColumn = Annotated[
    str | None,
    typer.Option(
        "--lower_group",
        "--label_column",
        help="Column of the truth with the labels.",
        show_default="found out",
        rich_help_panel=DATA,
    ),
]
PredictedColumn = Annotated[
    str | None,
    typer.Option(
        "--predicted_column",
        help="Column of the predictions with the labels.",
        show_default="found out",
        rich_help_panel=DATA,
    ),
]
ConfidenceColumn = Annotated[
    str | None,
    typer.Option(
        "--confidence_column",
        help="Column of the predictions with a confidence from 0 to 1.",
        show_default="found out",
        rich_help_panel=DATA,
    ),
]
CellColumn = Annotated[
    str | None,
    typer.Option(
        "--cell_column", help="Column of tables with the cells' ids.", show_default="found out", rich_help_panel=DATA
    ),
]
UnknownLabel = Annotated[
    str,
    typer.Option("--unknown_label", help="What cells are called that are given no label.", rich_help_panel=DATA),
]
Mapping = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        help="CSV with columns from and to: labels of either side, renamed before they are compared.",
        rich_help_panel=DATA,
    ),
]
OutPathOfEvaluation = Annotated[
    Path | None,
    typer.Option("--out_path", help="Folder in which evaluation/ is made with the tables.", rich_help_panel=OUTPUT),
]
