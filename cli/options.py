"""Every option, declared once. Names and meanings are those that users of the first scNym know.

`takes_options` makes the fields of a class the options of a command.
"""

import enum
import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from scnym.base import settings

from .config import load_config, unless_older_on_line
from .group import SWITCH_METAVAR


def takes_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """Return a command whose options are the fields of the class that its one argument is annotated with.

    Typer reads the options off a function's signature; so the class's signature becomes the command's, with the options
    that must be given in front.
    """
    kind = next(iter(command.__annotations__.values()))

    @wraps(command)
    def with_options(**given: Any) -> None:
        command(kind(**given))

    fields = sorted(inspect.signature(kind).parameters.values(), key=lambda field: field.default is not field.empty)
    vars(with_options)["__signature__"] = inspect.Signature(fields)
    with_options.__annotations__ = {field.name: field.annotation for field in fields}
    return with_options


DATA, SPLIT, NETWORK, TRAINING, OUTPUT = "Data", "Split", "Network", "Training", "Output"
MARKERS = "Markers"


class Switch(enum.StrEnum):
    """True or false, as a value."""

    TRUE = "true"
    FALSE = "false"

    @classmethod
    def of(cls, on: bool) -> "Switch":
        """Turn a bool into a switch."""
        return cls.TRUE if on else cls.FALSE

    @property
    def on(self) -> bool:
        """Whether it is true."""
        return self is Switch.TRUE


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="YAML or JSON file whose keys are option names; options given here win over it.",
        callback=load_config,
        is_eager=True,
        rich_help_panel=DATA,
    ),
]
InputCounts = Annotated[
    Path,
    typer.Option(
        "--input_counts",
        help="Cells x genes: a .zarr store, or raw counts in any form that `scnym convert` takes.",
        rich_help_panel=DATA,
    ),
]
InputGenes = Annotated[
    str | None,
    typer.Option(
        "--input_genes",
        "--input_gene_names",
        help="Text file, one gene a line, for a table of numbers without header and ids.",
        rich_help_panel=DATA,
    ),
]
Layer = Annotated[
    str | None,
    typer.Option("--layer", help="Where the counts of an h5ad are: `raw`, or a layer's name.", rich_help_panel=DATA),
]
LibrarySize = Annotated[
    str | None,
    typer.Option(
        "--library_size",
        help="Column with each cell's total count, for files that hold only part of the genes.",
        rich_help_panel=DATA,
    ),
]
CountsAs = Annotated[
    settings.CountsAs,
    typer.Option(
        "--counts_as",
        help="Values that are not whole: auto: what they are is found out; estimated: taken for counts; the others: "
        "undone.",
        rich_help_panel=DATA,
    ),
]
CsvOrientation = Annotated[
    settings.Orientation,
    typer.Option(
        "--csv_orientation",
        help="Whether a text table has a line per cell or per gene; auto: found out from its header and names.",
        rich_help_panel=DATA,
    ),
]
ClusterBy = Annotated[
    str | None,
    typer.Option(
        "--cluster_by",
        help="Group the cells by this column, such as cell_type: balanced batches are then read in sequence.",
        rich_help_panel=DATA,
    ),
]
Profile = Annotated[
    settings.Profile,
    typer.Option("--profile", help="Compression: fast to read, small, or smallest (archive).", rich_help_panel=DATA),
]
MaxMemory = Annotated[
    str,
    typer.Option("--max_memory", help="Memory cap of the conversion, such as 500MB.", rich_help_panel=DATA),
]
TrainingMetadata = Annotated[
    Path | None,
    typer.Option(
        "--training_metadata",
        help="CSV with a row per cell, matched by cell id, that holds the groups.",
        rich_help_panel=DATA,
    ),
]
LowerGroup = Annotated[
    str, typer.Option("--lower_group", help="Column with the classes to learn.", rich_help_panel=DATA)
]
UpperGroup = Annotated[
    str,
    typer.Option("--upper_group", help="Column with the context of the cells: their tissue.", rich_help_panel=DATA),
]
GenesToUse = Annotated[
    Path | None,
    typer.Option("--genes_to_use", help="Text file, one gene a line: use these only.", rich_help_panel=DATA),
]
NTopGenes = Annotated[
    int | None,
    typer.Option(
        "--n_top_genes",
        help="Use so many genes only: those that vary most among the training cells of each fold.",
        show_default="all",
        rich_help_panel=DATA,
    ),
]
StreamMemory = Annotated[
    str, typer.Option("--stream_memory", help="Memory cap of the stream, such as 1GB.", rich_help_panel=DATA)
]
OutPath = Annotated[Path, typer.Option("--out_path", help="Folder for everything written.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.", rich_help_panel=OUTPUT)]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with a run that was interrupted, if one was.", rich_help_panel=OUTPUT),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]
NFolds = Annotated[
    int,
    typer.Option("--n_folds", help="Folds of the cross-validation; 0: final model only.", rich_help_panel=SPLIT),
]
CvGroup = Annotated[
    str | None,
    typer.Option(
        "--cv_group",
        help="Column with groups that folds keep whole, such as donors or data sets.",
        rich_help_panel=SPLIT,
    ),
]
Baseline = Annotated[
    bool,
    typer.Option(
        "--baseline",
        help="Train a logistic regression on the same folds too, to see what the network adds.",
        rich_help_panel=SPLIT,
    ),
]
MinCellsPerClass = Annotated[
    int,
    typer.Option("--min_cells_per_class", help="Leave out classes with fewer cells.", rich_help_panel=SPLIT),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides everything random.", rich_help_panel=SPLIT)]
ModelPath = Annotated[
    Path,
    typer.Option(
        "--model_path",
        help="A model.safetensors, the folder of a training run (for tissue-specific models that of all of them), or a "
        ".pkl of bare weights.",
        rich_help_panel=DATA,
    ),
]
TrainingGeneNames = Annotated[
    Path | None,
    typer.Option(
        "--training_gene_names",
        help="Text file with the model's genes, one a line, for a .pkl of bare weights.",
        rich_help_panel=DATA,
    ),
]
MinGeneCoverage = Annotated[
    float,
    typer.Option(
        "--min_gene_coverage",
        help="Least share of the model's genes that the data must have.",
        rich_help_panel=DATA,
    ),
]
BatchSize = Annotated[int, typer.Option("--batch_size", help="Cells per batch.", rich_help_panel=TRAINING)]
NEpochs = Annotated[
    int | None,
    typer.Option(
        "--n_epochs", help="Passes over the cells.", show_default="30; more below 300 steps", rich_help_panel=TRAINING
    ),
]
Patience = Annotated[
    int,
    typer.Option(
        "--patience",
        help="Stop after so many epochs without a better one; 0: never.",
        rich_help_panel=TRAINING,
    ),
]
Optimizer = Annotated[
    settings.Optimizer,
    typer.Option(
        "--optimizer",
        help="mixed: SGD for the weights that read genes, AdamW for the others.",
        rich_help_panel=TRAINING,
    ),
]
WeightDecay = Annotated[float, typer.Option("--weight_decay", help="Weight decay.", rich_help_panel=TRAINING)]
RefitCells = Annotated[
    int,
    typer.Option(
        "--refit_cells",
        help="Up to so many cells, the chosen network goes on to learn from its selection cells too; 0: never.",
        rich_help_panel=TRAINING,
    ),
]
LogitAdjustment = Annotated[
    float,
    typer.Option(
        "--logit_adjustment",
        help="0: learn how common each class is among the training cells; 1: label as if all were equally common.",
        rich_help_panel=TRAINING,
    ),
]
MixupAlpha = Annotated[
    float,
    typer.Option(
        "--mixup_alpha",
        help="Mix each cell with another of its batch, in shares that follow Beta(a, a); 0: not at all.",
        rich_help_panel=TRAINING,
    ),
]
Device = Annotated[
    settings.Device,
    typer.Option("--device", help="Where to compute; auto: on a GPU if there is one.", rich_help_panel=TRAINING),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        "--checkpoint_every",
        help="Write bare weights every so many epochs; the last two are kept. 0: never.",
        rich_help_panel=TRAINING,
    ),
]
BalanceClasses = Annotated[
    Switch | None,
    typer.Option(
        "--balance_classes",
        help="true: --class_balance seed, as in the first release; false: natural.",
        case_sensitive=False,
        metavar=SWITCH_METAVAR,
        rich_help_panel=TRAINING,
    ),
]
ClassBalance = Annotated[
    str | None,
    typer.Option(
        "--class_balance",
        help="How often classes are drawn: natural, seed, uniform or power:A (0 to 1).",
        callback=unless_older_on_line,
        show_default=settings.StreamSettings().class_balance,
        rich_help_panel=TRAINING,
    ),
]
MaxRepeat = Annotated[
    float | None,
    typer.Option(
        "--max_repeat",
        help="Draws of a class in an epoch, at most, as a multiple of its cells.",
        show_default="no bound",
        rich_help_panel=TRAINING,
    ),
]
InitDropout = Annotated[
    float, typer.Option("--init_dropout", help="Share of genes dropped per cell.", rich_help_panel=NETWORK)
]
NHidden = Annotated[
    int, typer.Option("--n_hidden", help="Width of the hidden layers; 0: logistic regression.", rich_help_panel=NETWORK)
]
NLayers = Annotated[int, typer.Option("--n_layers", help="Hidden blocks after the first.", rich_help_panel=NETWORK)]
Residual = Annotated[
    Switch,
    typer.Option(
        "--residual",
        help="Residual hidden blocks.",
        case_sensitive=False,
        metavar=SWITCH_METAVAR,
        rich_help_panel=NETWORK,
    ),
]
NormalizeTo = Annotated[
    float,
    typer.Option(
        "--normalize_to",
        help="Library size of every cell before ln(x + 1); 1e6 reads ln(CPM+1), as the first release did.",
        rich_help_panel=NETWORK,
    ),
]
ScaleInput = Annotated[
    Switch,
    typer.Option(
        "--scale_input",
        help="Multiply the input by one number, fitted on the training cells, that sets its total variance.",
        case_sensitive=False,
        metavar=SWITCH_METAVAR,
        rich_help_panel=NETWORK,
    ),
]
Shortcut = Annotated[
    Switch,
    typer.Option(
        "--shortcut",
        help="A linear path from genes to classes.",
        case_sensitive=False,
        metavar=SWITCH_METAVAR,
        rich_help_panel=NETWORK,
    ),
]
LabelledCounts = Annotated[
    Path | None,
    typer.Option(
        "--input_counts",
        help="Labelled cells, such as those the model learnt from: a .zarr store, or raw counts in any form.",
        rich_help_panel=DATA,
    ),
]
LabelsOfCells = Annotated[
    str | None,
    typer.Option(
        "--lower_group",
        help="Column with the classes of the cells.",
        show_default="the one the model learnt from",
        rich_help_panel=DATA,
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes", help="Names of classes, separated by commas.", show_default="all", rich_help_panel=MARKERS
    ),
]
L1Reg = Annotated[
    float,
    typer.Option("--l1_reg", help="Penalty of each count per 10,000 of an optimised input.", rich_help_panel=MARKERS),
]
NRestarts = Annotated[
    int, typer.Option("--n_restarts", help="Optimised inputs of each class.", rich_help_panel=MARKERS)
]
NSteps = Annotated[int, typer.Option("--n_steps", help="Steps of the optimisation.", rich_help_panel=MARKERS)]
