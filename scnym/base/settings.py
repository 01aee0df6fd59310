"""One frozen settings class per stage. Each checks itself when it is made; stores and models keep a copy."""

import re
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args

from scnym.base.errors import SettingsError, meant


def require(ok: bool, option: str, value: object, wanted: str) -> None:
    """Raise a SettingsError if a value is not what is wanted."""
    if not ok:
        raise SettingsError(f"{value!r} is not possible", where=f"--{option}", way_out=f"give {wanted}")


def require_whole(option: str, value: Any, least: int) -> None:
    """Raise a SettingsError if a value is no whole number, or too small."""
    require(isinstance(value, Integral) and not isinstance(value, bool), option, value, "a whole number")
    require(int(value) >= least, option, value, f"{least} or more")


def require_number(option: str, value: Any, least: float, wanted: str) -> None:
    """Raise a SettingsError if a value is no finite number, or too small."""
    require(isinstance(value, Real) and least <= float(value) < float("inf"), option, value, wanted)


def require_fraction(option: str, value: float) -> None:
    """Raise a SettingsError if a value is not from 0 up to, but not including, 1."""
    require(0 <= value < 1, option, value, "a number from 0 up to, but not including, 1")


def require_seed(value: int) -> None:
    """Raise a SettingsError if a value cannot begin NumPy's random numbers."""
    is_one = isinstance(value, Integral) and 0 <= int(value) < 2**32
    require(is_one, "seed", value, "a whole number from 0 to 4294967295")


def require_positive(option: str, value: float) -> None:
    """Raise a SettingsError if a value is not above 0."""
    require(0 < value < float("inf"), option, value, "a number above 0")


DEFAULT_EPOCHS = 30
DEFAULT_MIN_STEPS = 300
REFIT_SHARE = 1 / 3
Optimizer = Literal["mixed", "adamw", "adadelta"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Profile = Literal["fast", "small", "archive"]
Orientation = Literal["auto", "cells_by_genes", "genes_by_cells"]
CountsAs = Literal["auto", "estimated", "ln", "log2", "log10", "sqrt", "arcsinh"]
Probabilities = Literal["zarr", "csv", "none"]
UnknownTissue = Literal["error", "zero"]
GIGABYTE = 10**9
_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)i?b?", re.IGNORECASE)
_UNIT_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str, option: str | None = None) -> int:
    """Read a size such as ``1GB``, ``500 MB`` or ``250000000`` as bytes.

    Parameters
    ----------
    text
        The size.
    option
        The option that gave it, for errors.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{text!r} is not a size", where=option, way_out="write it as 500MB or 2GB")
    return int(float(match["number"]) * _UNIT_BYTES[match["unit"].lower()])


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """How raw files become a store."""

    max_memory_bytes: int = GIGABYTE
    """Most memory, in bytes, that blocks, buffers and shards may take together."""
    layer: str | None = None
    """Where the counts of an h5ad are: None for X, ``raw``, or the name of a layer."""
    library_size_column: str | None = None
    """Column of obs with each cell's total count, when the file holds only part of the genes."""
    counts_as: CountsAs = "auto"
    """What values that are not whole are taken for: auto, which finds out, and refuses what are no counts; estimated,
    for estimates of counts without question; or a transform of normalised counts that is undone."""
    input_genes: str | None = None
    """Text file with one gene name a line, for a matrix that carries no names."""
    csv_orientation: Orientation = "auto"
    """Whether a text table has a line per cell or a line per gene; auto: found out from its header and names."""
    training_metadata: str | None = None
    """Table with a row per cell, whose columns are joined to the cells' annotations by their ids."""
    cluster_by: str | None = None
    """Column of the annotations by which cells are grouped in the store, shuffled inside each group."""
    profile: Profile = "fast"
    """How counts are compressed: fast to read, small, or smallest (archive)."""
    overwrite: bool = False
    """Whether a finished store at the target may be replaced."""

    def __post_init__(self) -> None:
        require(self.max_memory_bytes >= 10**8, "max_memory", self.max_memory_bytes, "100MB or more")
        require(self.profile in get_args(Profile), "profile", self.profile, "fast, small or archive")
        require(
            self.csv_orientation in get_args(Orientation),
            "csv_orientation",
            self.csv_orientation,
            "auto, cells_by_genes or genes_by_cells",
        )
        known = get_args(CountsAs)
        require(self.counts_as in known, "counts_as", self.counts_as, f"{', '.join(known[:-1])} or {known[-1]}")

    def located(self) -> "ConvertSettings":
        """Return the same with absolute paths, for a process that stands in another folder."""
        paths = {"input_genes": self.input_genes, "training_metadata": self.training_metadata}
        return replace(self, **{name: str(Path(path).absolute()) for name, path in paths.items() if path is not None})


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How batches come from a store."""

    batch_size: int = 256
    """Cells per batch."""
    class_balance: str = "natural"
    """How often each class is drawn: natural, seed, uniform, or power:A."""
    max_repeat: float | None = None
    """Most draws of a class in an epoch, as a multiple of its cells; None for no bound."""
    block_rows: int = 64
    """Rows per aligned block, the unit of reading, in rows."""
    window_rows: int = 16_384
    """Rows shuffled together, in rows."""
    memory_bytes: int = GIGABYTE
    """Most memory, in bytes, that decoded windows may take together."""
    seed: int = 0
    """Decides the order of everything."""

    def __post_init__(self) -> None:
        require_whole("batch_size", self.batch_size, 2)
        if self.max_repeat is not None:
            require_number("max_repeat", self.max_repeat, 1, "1 or more")
        require_whole("block_rows", self.block_rows, 1)
        require_whole("window_rows", self.window_rows, 1)
        require_seed(self.seed)
        require_number("stream_memory", self.memory_bytes, 10**7, "10MB or more")
        balance_exponent(self.class_balance)


def balance_exponent(class_balance: str) -> float | None:
    """Exponent A of the weight (cells in the class) ** A of each class; None for the `seed` scheme."""
    named = {"natural": 1.0, "uniform": 0.0, "seed": None}
    if str(class_balance) in named:
        return named[class_balance]
    name, _, exponent = str(class_balance).partition(":")
    if name == "power" and re.fullmatch(r"0(\.\d+)?|1(\.0*)?", exponent):
        return float(exponent)
    raise SettingsError(
        f"{class_balance!r} is not possible",
        where="--class_balance",
        way_out="give natural, seed, uniform, or power:A with A from 0 to 1",
        mend=meant("--class_balance", class_balance, named),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The shape of the network."""

    n_hidden: int = 256
    """Width of the hidden layers, in units; 0 for none, which leaves the shortcut: a logistic regression."""
    n_layers: int = 1
    """Hidden blocks after the first layer."""
    residual: bool = True
    """Whether the hidden blocks are residual."""
    init_dropout: float = 0.3
    """Share of the genes set to zero in each training cell."""
    hidden_dropout: float = 0.5
    """Share of hidden units set to zero in training."""
    shortcut: bool = True
    """Whether a linear path from the genes is added to the logits."""
    normalize_to: float = 1e4
    """Library size every cell is brought to; the network reads ln(counts per `normalize_to` + 1)."""
    scale_input: bool = True
    """Whether the input is multiplied by one number, fitted on the training cells, that sets its total variance."""

    def __post_init__(self) -> None:
        require(0 <= self.n_hidden <= 2**16, "n_hidden", self.n_hidden, "0 to 65536")
        require(self.n_hidden > 0 or self.shortcut, "n_hidden", self.n_hidden, "1 or more where there is no --shortcut")
        require(0 <= self.n_layers <= 100, "n_layers", self.n_layers, "0 to 100")
        require(1 <= self.normalize_to <= 1e7, "normalize_to", self.normalize_to, "a library size, 1 to 1e7")
        require_fraction("init_dropout", self.init_dropout)
        require_fraction("hidden_dropout", self.hidden_dropout)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which cells train, which select the model, which are held out."""

    n_folds: int = 5
    """Folds of the cross-validation; 0 for none."""
    selection_fraction: float = 0.1
    """Share of the cells outside the held-out part that choose the best epoch."""
    min_cells_per_class: int = 0
    """Classes with fewer cells are left out, in cells."""
    group_column: str | None = None
    """Column of the annotations with groups that are kept whole, such as donors or data sets; None: cells are split."""
    seed: int = 0
    """Decides the folds."""

    def __post_init__(self) -> None:
        require(self.n_folds == 0 or self.n_folds >= 2, "n_folds", self.n_folds, "0, or 2 or more")
        require(0 < self.selection_fraction < 1, "selection_fraction", self.selection_fraction, "between 0 and 1")
        require_seed(self.seed)
        require(self.min_cells_per_class >= 0, "min_cells_per_class", self.min_cells_per_class, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the network learns."""

    n_epochs: int | None = None
    """Passes over the training cells, at most; None for 30, and more where that would be fewer than 300 steps."""
    patience: int = 0
    """Epochs without a better selection loss after which training stops; 0 for never."""
    optimizer: Optimizer = "mixed"
    """mixed: SGD for the weights that read genes, AdamW for the others; or one optimiser for all."""
    learning_rate: float | None = None
    """Step size of the optimiser; None for its own default here (mixed and adamw 1e-3, adadelta 1)."""
    gene_rate: float = 0.03
    """Step size of SGD for the first hidden layer."""
    shortcut_rate: float = 0.015
    """Step size of SGD for the shortcut."""
    shortcut_l2: float = 1.0
    """L2 penalty of the shortcut, on the scale of a logistic regression's 1/C."""
    logit_adjustment: float = 0.5
    """Share of the log of the classes' frequencies that is not learnt: 0 labels rare classes most cautiously, 1 as if
    all were equally common."""
    weight_decay: float = 1e-2
    """Weight decay of the optimiser."""
    mixup_alpha: float = 0.0
    """Each cell is mixed with another of its batch, in shares that follow Beta(alpha, alpha); 0 for not at all."""
    refit_cells: int = 20_000
    """Training and selection cells up to which the chosen network goes on to learn from both together; 0 for never."""
    refit_rate: float = 0.3
    """Step sizes of that second training, as a share of those of the first."""
    checkpoint_every: int = 10
    """Epochs between two periodic checkpoints; 0 for none."""
    seed: int = 0
    """Decides initial weights and dropout."""

    def __post_init__(self) -> None:
        require(self.n_epochs is None or self.n_epochs >= 1, "n_epochs", self.n_epochs, "1 or more")
        require(self.patience >= 0, "patience", self.patience, "0 or more")
        require(self.optimizer in get_args(Optimizer), "optimizer", self.optimizer, "mixed, adamw or adadelta")
        require(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 up to, but not including, 1")
        if self.learning_rate is not None:
            require_positive("learning_rate", self.learning_rate)
        require_positive("gene_rate", self.gene_rate)
        require_positive("shortcut_rate", self.shortcut_rate)
        require(0 <= self.shortcut_l2 < float("inf"), "shortcut_l2", self.shortcut_l2, "0 or more")
        require(0 <= self.mixup_alpha < float("inf"), "mixup_alpha", self.mixup_alpha, "0 or more")
        require(0 <= self.logit_adjustment <= 1, "logit_adjustment", self.logit_adjustment, "0 to 1")
        require(self.refit_cells >= 0, "refit_cells", self.refit_cells, "0 or more")
        require_positive("refit_rate", self.refit_rate)
        require_seed(self.seed)
        require(self.checkpoint_every >= 0, "checkpoint_every", self.checkpoint_every, "0 or more")

    def epochs_for(self, n_batches: int) -> int:
        """Return the number of epochs over a training part of `n_batches` batches."""
        return self.n_epochs or max(DEFAULT_EPOCHS, -(-DEFAULT_MIN_STEPS // n_batches))

    def refit_epochs_after(self, n_epochs: int) -> int:
        """Return the number of epochs over training and selection cells together, a third of those before."""
        return max(1, round(REFIT_SHARE * n_epochs))


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """How labels are given to new cells, and what is written about them."""

    batch_size: int = 1024
    """Cells per batch."""
    min_gene_coverage: float = 0.1
    """Least share of the model's genes that the new data must have."""
    min_confidence: float = 0.0
    """Cells that are less sure are called ``Unknown``; what they would have been called stands beside it."""
    smooth_k: int = 0
    """Each cell gets the label that most of itself and its so many nearest neighbours have; 0 for its own."""
    vote_by: str | None = None
    """Column of the new cells' annotations with groups, such as clusters: all cells of one get the label of most."""
    upper_group: str | None = None
    """Column of the new cells' annotations with their tissues; None for the one that the model was trained with."""
    unknown_tissue: UnknownTissue = "error"
    """Cells of a tissue that the model does not know: error, or zero, as if they were of none."""
    probabilities: Probabilities = "zarr"
    """How the probabilities of all classes are written."""
    embedding: bool = False
    """Whether the last hidden layer is written."""
    write_h5ad: bool = False
    """Whether the new cells are written as an h5ad with their labels."""
    device: Device = "auto"
    """Where the network computes; auto: the fastest device that is there."""
    seed: int = 0
    """Decides the search for neighbours among many cells."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        require(0 <= self.min_gene_coverage <= 1, "min_gene_coverage", self.min_gene_coverage, "0 to 1")
        require(0 <= self.min_confidence <= 1, "min_confidence", self.min_confidence, "0 to 1")
        require(self.smooth_k >= 0, "smooth_k", self.smooth_k, "0 or more")
        require(
            not self.smooth_k or self.vote_by is None,
            "vote_by",
            self.vote_by,
            "either --smooth_k or --vote_by, not both",
        )
        require(self.unknown_tissue in get_args(UnknownTissue), "unknown_tissue", self.unknown_tissue, "error or zero")
        require(self.probabilities in get_args(Probabilities), "probabilities", self.probabilities, "zarr, csv or none")
        require_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Where labels stand that are compared with the truth, and what they are called there."""

    label_column: str | None = None
    """Column of the truth with the labels; None: found out."""
    predicted_column: str | None = None
    """Column of the predictions with the labels; None: found out."""
    confidence_column: str | None = None
    """Column of the predictions with a confidence from 0 to 1; None: found out, and none is needed."""
    cell_column: str | None = None
    """Column of tables with the cells' ids; None: found out."""
    unknown: str = "Unknown"
    """Label of cells that were given none: they count as wrong, and are told apart."""
    mapping: str | None = None
    """CSV with columns from and to: labels of either side that are renamed before they are compared."""


@dataclass(frozen=True, kw_only=True)
class MarkerSettings:
    """How the genes that carry each class are found."""

    l1_reg: float = 1e-4
    """Penalty of an optimised input, in nats for each count per 10,000."""
    n_restarts: int = 10
    """Optimised inputs of each class, each from other noise."""
    n_steps: int = 200
    """Steps of the optimisation."""
    classes: str | None = None
    """Names of the classes, separated by commas; None for all."""
    label_column: str | None = None
    """Column with the classes of the cells that are given; None for the one that the model learnt from."""
    min_gene_coverage: float = 0.1
    """Least share of the model's genes that the cells must have."""
    memory_bytes: int = GIGABYTE // 2
    """Most memory, in bytes, that inputs under way may take; more classes are done one lot after the other."""
    seed: int = 0
    """Decides the noise, and which cells are looked at."""

    def __post_init__(self) -> None:
        require(0 <= self.l1_reg < float("inf"), "l1_reg", self.l1_reg, "0 or more")
        require(1 <= self.n_restarts <= 10_000, "n_restarts", self.n_restarts, "1 to 10000")
        require(1 <= self.n_steps <= 10**6, "n_steps", self.n_steps, "1 to 1000000")
        require(0 <= self.min_gene_coverage <= 1, "min_gene_coverage", self.min_gene_coverage, "0 to 1")
        require(self.memory_bytes >= 10**7, "memory_bytes", self.memory_bytes, "10MB or more")
        require_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything a training run is told, beside where its input and output are."""

    label_column: str = "cell_ontology_class"
    """Column of the annotations with the classes to learn."""
    tissue_column: str = "tissue"
    """Column of the annotations with the context of the cells: dependent models read it, specific ones are for one of
    its levels each, and where it is known it stands beside held-out predictions."""
    training_metadata: str | None = None
    """CSV with a row per cell, joined to the cells by their ids."""
    genes_to_use: str | None = None
    """Text file with one gene a line; the network reads these only."""
    n_top_genes: int | None = None
    """Read so many genes only, those that vary most among the training cells of each fold; None for all."""
    device: Device = "auto"
    """Where to compute; auto: on a GPU if there is one."""
    overwrite: bool = False
    """Whether an existing run is replaced."""
    baseline: bool = False
    """Whether a logistic regression is trained on the same folds, to show what the network adds."""
    resume: bool = False
    """Whether a run that was interrupted is gone on with."""
    convert: ConvertSettings = field(default_factory=ConvertSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        require(self.n_top_genes is None or self.n_top_genes >= 1, "n_top_genes", self.n_top_genes, "1 or more")
        require(self.device in get_args(Device), "device", self.device, "auto, cpu, cuda or mps")
        require(not self.baseline or self.split.n_folds > 0, "baseline", self.baseline, "--n_folds 2 or more with it")
        require(not (self.resume and self.overwrite), "resume", "with --overwrite", "one of --resume and --overwrite")

    def of_result(self) -> dict[str, Any]:
        """Return what the result depends on, as plain values: not how the run was started."""
        content = asdict(self)
        return {name: value for name, value in content.items() if name not in {"overwrite", "resume"}}
