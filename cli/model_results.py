"""What ``--json`` prints of trained models and of their results, and the base of all such classes."""

import os
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from scnym.base.errors import ScnymError


def _place(path: object) -> str:
    """Return a path as text; bytes that are not valid text are replaced."""
    return os.fsencode(path).decode(errors="replace") if isinstance(path, os.PathLike) else str(path)


Place = Annotated[str, BeforeValidator(_place)]


class Result(BaseModel):
    """Every key stands in every document; one that has no value is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Fault(Result):
    """What went wrong."""

    what: str
    """The fault, with the value that is wrong."""
    where: str | None
    """File, row, column or option in which it was found."""
    way_out: str
    """What to do about it; empty where there is nothing to say."""
    command: str | None
    """The command that was given, mended, to be pasted into a shell; null where it is not known what would help."""
    exit_code: int
    """That of the command: 2 for what the user can mend, 1 for a fault of scnym, 130 after Ctrl-C."""

    @classmethod
    def of(cls, fault: Exception, command: str | None = None) -> "Fault":
        """Return what an exception says."""
        if isinstance(fault, ScnymError):
            what, where, way_out, exit_code = fault.what, fault.where, fault.way_out, fault.exit_code
        else:
            what, where, way_out, exit_code = f"{type(fault).__name__}: {fault}", None, "", 1
        return cls(what=what, where=where, way_out=way_out, command=command, exit_code=exit_code)


class Failure(Result):
    """What stands in place of a result when a command ends without one."""

    error: Fault


Family = Literal["independent", "dependent", "specific"]


class Headlines(Result):
    """How well cells are named."""

    accuracy: float
    balanced_accuracy: float
    """Mean recall of the classes."""
    macro_f1: float
    mean_loss: float
    """Cross-entropy of a cell, in nats."""
    calibration_error: float
    calibration_error_uncalibrated: float | None
    """The same before temperature scaling."""
    n_cells: int


class FoldFigures(Headlines):
    """How well the cells that a fold held out are named."""

    fold: str


class ClassFigures(Result):
    """How well the cells of a class are named."""

    precision: float | None
    """null for a class that is not judged, as are the others."""
    recall: float | None
    f1: float | None
    support: int
    """Cells of the class."""


class Figures(Headlines):
    """How well cells are named, class by class."""

    per_class: dict[str, ClassFigures]
    confusion: list[list[int]]
    """Cells by true class (rows) and predicted class, in the order of `classes`."""


class Spread(Result):
    """Mean and standard deviation over folds."""

    mean: float | None
    sd: float | None


class ClassSpread(Result):
    """Figures of a class over folds."""

    precision: Spread
    recall: Spread
    f1: Spread


class HeadlineSpreads(Result):
    """Figures over folds, or what one network adds to another's."""

    accuracy: Spread
    balanced_accuracy: Spread
    macro_f1: Spread
    mean_loss: Spread
    calibration_error: Spread
    calibration_error_uncalibrated: Spread


class Spreads(HeadlineSpreads):
    """Figures over folds, class by class."""

    per_class: dict[str, ClassSpread]


class TissueFigures(Result):
    """How well the held-out cells of a tissue are named: mean and standard deviation over folds."""

    tissue: str
    n_cells: int
    n_folds: int
    accuracy: float | None
    accuracy_sd: float | None
    macro_f1: float | None
    macro_f1_sd: float | None


class BaselineFigures(Result):
    """What logistic regression gives on the same folds."""

    method: str
    held_out: Figures
    folds: list[FoldFigures]
    spread: Spreads
    network_adds: HeadlineSpreads
    """By how much the network's figures are higher, fold by fold."""


class Trained(Result):
    """What a training run gave."""

    folder: Place
    report: Place
    """The page, for a browser."""
    model: Place
    """The final model."""
    family: Family
    tissue: str | None
    """The one tissue that the model is for."""
    classes: list[str]
    not_judged: list[str]
    """Classes that are learnt, but of which no cell could be held out (without folds: set aside) to judge by."""
    n_cells: int
    n_genes: int
    """That the final model reads."""
    held_out: Figures | None
    """Over the held-out cells of all folds together; null without cross-validation."""
    folds: list[FoldFigures]
    tissues: list[TissueFigures] | None
    """null where tissues are not known."""
    spread: Spreads | None
    """null without cross-validation."""
    baseline: BaselineFigures | None
    """null without --baseline."""
    final_model_on_selection_cells: Figures | Headlines
    """Class by class where nothing was held out. These cells have chosen the model, so the figures are too good."""


class TrainedTissue(Result):
    """What became of a tissue: mean and standard deviation over folds, on held-out cells."""

    tissue: str
    folder: str | None
    """Below that of all; null if it was skipped."""
    n_cells: int
    n_classes: int
    status: Literal["trained", "skipped"]
    reason: str
    """Why it was skipped."""
    accuracy: float | None
    accuracy_sd: float | None
    macro_f1: float | None
    macro_f1_sd: float | None
    n_not_judged: int | None
    """Classes that are learnt, but of which there is no cell to judge by; null if it was skipped."""


class TrainedTissues(Result):
    """A model for each tissue."""

    folder: Place
    report: Place
    family: Literal["specific"]
    tissues: list[TrainedTissue]


class ComparedFamily(Result):
    """A family in a tissue, or in all cells: mean and standard deviation over folds."""

    scope: Literal["tissue", "overall"]
    tissue: str
    """Empty for all cells."""
    family: Family
    n_cells: int
    """That every family has held out."""
    n_folds: int
    accuracy: float | None
    accuracy_sd: float | None
    macro_f1: float | None
    macro_f1_sd: float | None
    winner: bool
    """Whether its macro-F1 is the highest."""
    within_spread: bool
    """Whether it is no further behind than the larger of the two standard deviations."""


class Compared(Result):
    """Which family is best for which tissue."""

    file: Place
    rows: list[ComparedFamily]
    remarks: list[str]


class Coverage(Result):
    """How much of what a model reads the new data has."""

    n_genes: int
    """Genes of the model."""
    n_found: int
    """Of these, measured in the data."""
    share: float
    weighted_share: float
    """The same with every gene weighted by how much the network listens to it."""


class Predicted(Result):
    """What a prediction gave."""

    folder: Place
    report: Place
    n_cells: int
    n_empty_cells: int
    """Cells without any counts; their label says nothing."""
    n_unknown: int
    """Cells that were given no label."""
    cells_by_type: dict[str, int]
    """The most frequent first."""
    mean_confidence: float | None
    coverage: Coverage
    """Of several models, that of the one with the least."""
    coverage_by_tissue: dict[str, Coverage]
    """Where each tissue has a model of its own."""
    warnings: list[str]
    """Why the labels may be wrong."""


class PredictedSample(Result):
    """What became of a sample; figures are null if it was not labelled."""

    sample: str
    path: Place
    folder: str
    """Below that of all."""
    status: Literal["labelled", "failed", "not done"]
    reason: str
    """Why it failed."""
    n_cells: int | None
    n_empty_cells: int | None
    n_unknown: int | None
    mean_confidence: float | None
    gene_coverage: float | None
    most_frequent: str
    seconds: float | None
    warnings: str
    cells_by_type: dict[str, int]


class PredictedSamples(Result):
    """What the predictions of many samples gave: with --by_sample, --workers or a scheduler."""

    folder: Place
    report: Place
    table: Place
    samples: list[PredictedSample]
    error: Fault | None
    """null if all samples are labelled."""


class DeletionTest(Result):
    """How well a class's cells are named before and after genes are set to zero."""

    n_cells: int
    n_genes: int
    """Genes set to zero."""
    accuracy: float
    accuracy_without_markers: float
    accuracy_without_random: float
    """Mean over several sets of as many random genes that the class expresses."""
    probability: float
    probability_without_markers: float
    probability_without_random: float


class FoundMarkers(Result):
    """What a search for markers gave."""

    folder: Place
    report: Place
    top_genes: dict[str, list[str]]
    """By class, the best first."""
    deletions: dict[str, DeletionTest]
    """By class that cells were given for."""


class ComparedColumns(Result):
    """Which columns were compared."""

    cell: str | None
    truth: str | None
    predicted: str | None
    confidence: str | None


class Evaluated(Result):
    """How good labels are."""

    accuracy: float
    balanced_accuracy: float
    """Mean recall of the true classes."""
    macro_f1: float
    calibration_error: float | None
    """null without a confidence."""
    coverage: float
    """Share of the cells that are given a label."""
    accuracy_of_labelled: float | None
    n_cells: int
    per_class: dict[str, ClassFigures]
    confusion: dict[str, dict[str, int]]
    """Cells by true class, then by label given."""
    columns: ComparedColumns
    n_unlabelled: int
    """Cells that have a prediction but no true label; left out."""
    n_without_truth: int
    """Cells that only the predictions have; left out."""
    n_without_prediction: int
    """Cells that only the truth has; left out."""
    folder: Place | None
    """Where the tables are; null without --out_path."""


class WrittenPages(Result):
    """Reports that were regenerated."""

    pages: list[Place]
