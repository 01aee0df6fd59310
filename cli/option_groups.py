"""Options that several commands share: input files, labels, training, and processes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from scnym.base import settings
from scnym.base.errors import SettingsError
from scnym.base.settings import (
    ConvertSettings,
    CountsAs,
    NetworkSettings,
    Orientation,
    Profile,
    RunSettings,
    SplitSettings,
    StreamSettings,
    TrainSettings,
    parse_bytes,
)
from scnym.base.workers import ClusterSettings, Launch

from . import options
from .options import DATA, OUTPUT, Switch, takes_options

CLUSTER = "Many processes"

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Share out the inputs among so many processes on this machine; each takes --max_memory.",
        show_default="this process alone",
        rich_help_panel=CLUSTER,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Share out the inputs among the workers of a Dask cluster that runs: its address, such as "
        "tcp://10.0.0.1:8786.",
        rich_help_panel=CLUSTER,
    ),
]
SchedulerFile = Annotated[
    str | None,
    typer.Option(
        "--scheduler_file",
        help="The same, with the file that `dask scheduler --scheduler-file FILE` has written.",
        rich_help_panel=CLUSTER,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which processes a command was told to use. A command that has many independent jobs takes a subclass."""

    workers: Workers = None
    scheduler: Scheduler = None
    scheduler_file: SchedulerFile = None

    def cluster(self) -> ClusterSettings | None:
        """Turn options into settings; None for this process alone."""
        given = (self.workers, self.scheduler, self.scheduler_file)
        if all(option is None for option in given):
            return None
        return ClusterSettings(workers=self.workers, scheduler=self.scheduler, scheduler_file=self.scheduler_file)


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """How a command that takes raw counts was told to read them. Such a command takes a subclass."""

    config: options.Config = None
    input_genes: options.InputGenes = None
    csv_orientation: options.CsvOrientation = "auto"
    layer: options.Layer = None
    library_size: options.LibrarySize = None
    counts_as: options.CountsAs = "auto"
    max_memory: options.MaxMemory = "1GB"

    def convert_settings(self, training_metadata: Path | None = None) -> ConvertSettings:
        """Turn options into settings, with a table of annotations that is joined while converting."""
        return convert_settings(
            input_genes=self.input_genes,
            csv_orientation=self.csv_orientation,
            layer=self.layer,
            library_size=self.library_size,
            counts_as=self.counts_as,
            training_metadata=training_metadata,
            max_memory=self.max_memory,
        )


def convert_settings(
    *,
    input_genes: str | None,
    layer: str | None,
    library_size: str | None,
    max_memory: str,
    counts_as: CountsAs = "auto",
    csv_orientation: Orientation = "auto",
    training_metadata: Path | None = None,
    cluster_by: str | None = None,
    profile: Profile = "fast",
    overwrite: bool = False,
) -> ConvertSettings:
    """Turn options into settings."""
    return ConvertSettings(
        max_memory_bytes=parse_bytes(max_memory, "--max_memory"),
        layer=layer,
        library_size_column=library_size,
        counts_as=counts_as,
        input_genes=input_genes,
        csv_orientation=csv_orientation,
        training_metadata=None if training_metadata is None else str(training_metadata),
        cluster_by=cluster_by,
        profile=profile,
        overwrite=overwrite,
    )


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


_RUN, _SPLIT, _STREAM = RunSettings(), SplitSettings(), StreamSettings()
_NETWORK, _TRAINING = NetworkSettings(), TrainSettings()
_RESIDUAL, _SHORTCUT = Switch.of(_NETWORK.residual), Switch.of(_NETWORK.shortcut)
_SCALE_INPUT = Switch.of(_NETWORK.scale_input)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RawInput):
    """What a training command was given. A command with options of its own takes a subclass that adds fields."""

    input_counts: options.InputCounts
    out_path: options.OutPath
    training_metadata: options.TrainingMetadata = None
    lower_group: options.LowerGroup = _RUN.label_column
    upper_group: options.UpperGroup = _RUN.tissue_column
    genes_to_use: options.GenesToUse = None
    n_top_genes: options.NTopGenes = _RUN.n_top_genes
    n_folds: options.NFolds = _SPLIT.n_folds
    cv_group: options.CvGroup = _SPLIT.group_column
    min_cells_per_class: options.MinCellsPerClass = _SPLIT.min_cells_per_class
    baseline: options.Baseline = False
    seed: options.Seed = _SPLIT.seed
    batch_size: options.BatchSize = _STREAM.batch_size
    n_epochs: options.NEpochs = _TRAINING.n_epochs
    patience: options.Patience = _TRAINING.patience
    optimizer: options.Optimizer = _TRAINING.optimizer
    weight_decay: options.WeightDecay = _TRAINING.weight_decay
    mixup_alpha: options.MixupAlpha = _TRAINING.mixup_alpha
    refit_cells: options.RefitCells = _TRAINING.refit_cells
    logit_adjustment: options.LogitAdjustment = _TRAINING.logit_adjustment
    balance_classes: options.BalanceClasses = None
    class_balance: options.ClassBalance = None
    max_repeat: options.MaxRepeat = _STREAM.max_repeat
    device: options.Device = _RUN.device
    checkpoint_every: options.CheckpointEvery = _TRAINING.checkpoint_every
    n_hidden: options.NHidden = _NETWORK.n_hidden
    n_layers: options.NLayers = _NETWORK.n_layers
    residual: options.Residual = _RESIDUAL
    init_dropout: options.InitDropout = _NETWORK.init_dropout
    shortcut: options.Shortcut = _SHORTCUT
    normalize_to: options.NormalizeTo = _NETWORK.normalize_to
    scale_input: options.ScaleInput = _SCALE_INPUT
    stream_memory: options.StreamMemory = "1GB"
    overwrite: options.Overwrite = False
    resume: options.Resume = False
    json: options.Json = False

    def settings(self) -> RunSettings:
        """Turn options into settings."""
        return RunSettings(
            label_column=self.lower_group,
            tissue_column=self.upper_group,
            training_metadata=_text(self.training_metadata),
            genes_to_use=_text(self.genes_to_use),
            n_top_genes=self.n_top_genes,
            device=self.device,
            baseline=self.baseline,
            overwrite=self.overwrite,
            resume=self.resume,
            convert=self.convert_settings(),
            split=SplitSettings(
                n_folds=self.n_folds,
                group_column=self.cv_group,
                min_cells_per_class=self.min_cells_per_class,
                seed=self.seed,
            ),
            stream=self._stream(),
            network=self._network(),
            training=self._training(),
        )

    def _stream(self) -> StreamSettings:
        return StreamSettings(
            batch_size=self.batch_size,
            class_balance=self._balance(),
            max_repeat=self.max_repeat,
            memory_bytes=parse_bytes(self.stream_memory, "--stream_memory"),
            seed=self.seed,
        )

    def _network(self) -> NetworkSettings:
        return NetworkSettings(
            n_hidden=self.n_hidden,
            n_layers=self.n_layers,
            residual=self.residual.on,
            init_dropout=self.init_dropout,
            shortcut=self.shortcut.on,
            normalize_to=self.normalize_to,
            scale_input=self.scale_input.on,
        )

    def _training(self) -> TrainSettings:
        return TrainSettings(
            n_epochs=self.n_epochs,
            patience=self.patience,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            mixup_alpha=self.mixup_alpha,
            refit_cells=self.refit_cells,
            logit_adjustment=self.logit_adjustment,
            checkpoint_every=self.checkpoint_every,
            seed=self.seed,
        )

    def _balance(self) -> str:
        """Return the scheme: the newer option wins over the older, and either over the default."""
        if self.class_balance is not None:
            return self.class_balance
        if self.balance_classes is not None:
            return "seed" if self.balance_classes.on else "natural"
        return _STREAM.class_balance


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def takes_training_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """Return a command with training options (`takes_options`).

    Of several processes that train together, the first of each machine says what is wrong with the options. Of all else
    `scnym.model.distributed.joined` silences what the first process says; what another one alone has met, it says.
    """

    @wraps(command)
    def telling_once(given: Any) -> None:
        try:
            command(given)
        except SettingsError as fault:
            if Launch.of(os.environ).number_here == 0:
                raise
            raise typer.Exit(fault.exit_code) from None

    return takes_options(telling_once)
