"""Labels for new cells: counts and a model in; tables, matrices or an annotated AnnData out."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import pandas as pd
from anndata import AnnData

from scnym.base.errors import SettingsError
from scnym.base.progress import COST_FILE, SILENT, Progress, Stopwatch
from scnym.base.settings import ConvertSettings, PredictSettings
from scnym.disk.atomic import aside, require_replaceable
from scnym.disk.location import require_folder
from scnym.model.device import choose_device
from scnym.results.cell_map import EmbeddingSample
from scnym.results.coverage import GeneCoverage
from scnym.results.labels import Predictions
from scnym.runs.inputs import open_input, sources_of
from scnym.runs.models import find_models
from scnym.runs.output_tree import FIGURES_FILE, MAP_FILE, REPORT_FILE, SUMMARY_FILE, is_run, write_json, write_table
from scnym.runs.predictor import (
    EMBEDDING,
    H5AD_FILE,
    PREDICTIONS_FILE,
    PROBABILITIES,
    Checked,
    Pass,
    annotate,
    unit_names,
    write_h5ad,
    write_matrix_csv,
    write_matrix_zarr,
    write_predictions,
)
from scnym.runs.reports.prediction import write_prediction_page

FOLDER = "predictions"


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What a prediction gave."""

    folder: Path
    n_cells: int
    n_empty_cells: int
    """Cells without any counts; their label says nothing."""
    n_unknown: int
    """Cells that were given no label: less sure than asked for, or of a tissue without a model."""
    cells_by_type: dict[str, int]
    mean_confidence: float
    coverage: GeneCoverage
    """The model's genes in the data; of several models, that of the one with the least."""
    coverage_by_tissue: dict[str, GeneCoverage] = field(default_factory=dict)
    """The same for every model, where each tissue has its own."""
    warnings: tuple[str, ...] = ()
    """Why the labels may be wrong, such as data of another species."""


@overload
def predict(
    input_counts: AnnData,
    model_path: str | Path,
    out_path: str | Path | None = None,
    settings: PredictSettings | None = None,
    *,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> AnnData: ...
@overload
def predict(
    input_counts: str | Path,
    model_path: str | Path,
    out_path: str | Path | None = None,
    settings: PredictSettings | None = None,
    *,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PredictionSummary: ...
def predict(
    input_counts: str | Path | AnnData,
    model_path: str | Path,
    out_path: str | Path | None = None,
    settings: PredictSettings | None = None,
    *,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PredictionSummary | AnnData:
    """Label the cells of a store, a raw file or an AnnData in memory.

    Parameters
    ----------
    input_counts
        A store, any raw input, or an AnnData, whose genes may differ from the model's in set and order.
    model_path
        A ``model.safetensors``, which knows its genes, classes and settings; the folder of a run, whose final model
        counts; the folder of tissue-specific runs, where each cell goes to its tissue's model; or a ``.pkl`` of bare
        weights.
    out_path
        Folder in which ``predictions/`` is made. Not needed for an AnnData.
    settings
        What is written, how sure a label must be, where tissues stand, who votes.
    training_gene_names
        For bare weights: text file with the network's genes, one a line.
    convert_settings
        How a raw input is read; its `training_metadata` is a table that may hold tissues and clusters.
    overwrite
        Whether an existing ``predictions/`` is replaced.
    progress
        Where to report cells done.

    Returns
    -------
    PredictionSummary or AnnData
        Of an AnnData a copy, with ``scnym_cell_type`` and ``scnym_confidence`` in obs, the network's last hidden layer
        as ``X_scnym`` in obsm and the model's card as ``scnym`` in uns; the input stays as it is.

    Raises
    ------
    UserError
        If something is missing, damaged or does not fit, before any label is written.
    """
    settings = settings or PredictSettings()
    device, models = choose_device(settings.device), find_models(model_path, training_gene_names)
    with _workplace(input_counts, out_path) as out:
        target = out / FOLDER
        require_replaceable(target, overwrite=overwrite, is_replaceable=is_run)
        models.load(next(iter(models.paths)))  # what is wrong with it is said before hours of conversion
        store = open_input(input_counts, out, convert_settings or ConvertSettings(), progress)
        job = Pass(store, models, settings, device, progress)
        adata = input_counts if isinstance(input_counts, AnnData) else None
        record, write = {"model": str(model_path)}, out_path is not None
        summary, annotated = label_store(job, target, record, overwrite=overwrite, adata=adata, write=write)
    return summary if annotated is None else annotated


def label_store(
    job: Pass,
    target: Path,
    record: Mapping[str, Any],
    *,
    overwrite: bool,
    adata: AnnData | None = None,
    write: bool = True,
) -> tuple[PredictionSummary, AnnData | None]:
    """Label the cells of a store into a folder; give the summary, and a labelled copy of cells in memory.

    Parameters
    ----------
    job
        Cells, models and settings.
    target
        The folder, which is there as a whole or not at all.
    record
        What its summary says beside the figures.
    overwrite
        Whether a prediction that stands there is replaced.
    adata
        The cells, where they are in memory.
    write
        Whether the labels are written.
    """
    watch, checked = Stopwatch(), job.check()
    for line in (*checked.remarks, *checked.warnings):
        job.progress.say(line)
    embedding = adata is not None or job.settings.embedding or job.settings.write_h5ad
    with aside(target, overwrite=overwrite, is_replaceable=is_run) as folder:
        with TemporaryDirectory(dir=folder) as scratch:
            sample = job.sample(checked) if write else None
            answers = job.label(checked, Path(scratch), embedding=embedding, sample=sample)
            predictions = job.decide(checked, answers)
            summary = _summary(target, job, checked, predictions)
            annotated = None if adata is None else _annotated(adata, predictions, checked)
            if write:
                _write(folder, job, checked, predictions)
                _write_map(folder, job, predictions, sample)
        write_json(folder / SUMMARY_FILE, {**asdict(summary), **record, "sources": sources_of(job.store)})
        if write:
            write_json(folder / FIGURES_FILE, predictions.figures())
            write_json(folder / COST_FILE, watch.cost(predictions.n_cells))
            write_prediction_page(folder, folder / REPORT_FILE)
    return summary, annotated


@contextmanager
def _workplace(input_counts: str | Path | AnnData, out_path: str | Path | None) -> Iterator[Path]:
    """Yield the output folder; for cells in memory one that is removed afterwards, if none was named."""
    if out_path is not None:
        yield require_folder(out_path)
        return
    if not isinstance(input_counts, AnnData):
        raise SettingsError("there is nowhere to write", where="--out_path", way_out="name a folder")
    with TemporaryDirectory() as folder:
        yield Path(folder)


def _summary(target: Path, job: Pass, checked: Checked, predictions: Predictions) -> PredictionSummary:
    by_tissue = {tissue: found for tissue, found in checked.coverage.items() if tissue is not None}
    nothing = GeneCoverage(0, 0, 0.0, 0.0)
    return PredictionSummary(
        folder=target,
        n_cells=predictions.n_cells,
        n_empty_cells=sum(int((dataset.n_counts_C == 0).sum()) for dataset in job.store.datasets),
        n_unknown=predictions.n_unknown,
        cells_by_type=predictions.cells_by_type(),
        mean_confidence=predictions.mean_confidence,
        coverage=min(checked.coverage.values(), key=lambda found: found.share, default=nothing),
        coverage_by_tissue=by_tissue,
        warnings=checked.warnings,
    )


def _write(folder: Path, job: Pass, checked: Checked, predictions: Predictions) -> None:
    """Write all that was asked for."""
    cell_ids, settings, answers = job.store.cell_ids, job.settings, predictions.answers
    with job.progress.task("write", total=len(cell_ids), unit="cells") as task:
        write_predictions(folder / PREDICTIONS_FILE, predictions, cell_ids)
        if settings.probabilities != "none" and answers.probabilities is not None:
            write = write_matrix_csv if settings.probabilities == "csv" else write_matrix_zarr
            path = folder / f"{PROBABILITIES}.{settings.probabilities}"
            write(path, answers.probabilities, cell_ids, answers.classes)
        if settings.embedding and answers.embedding is not None:
            names = unit_names(answers.embedding.shape[1])
            write_matrix_zarr(folder / f"{EMBEDDING}.zarr", answers.embedding, cell_ids, names)
        task.advance(len(cell_ids))
    if settings.write_h5ad:
        write_h5ad(folder / H5AD_FILE, job.store, predictions, checked.cards, job.progress)


def _write_map(folder: Path, job: Pass, predictions: Predictions, sample: EmbeddingSample | None) -> None:
    """Write where the model puts the cells of a sample."""
    if sample is None:
        return
    places_S2 = sample.components()
    columns = predictions.columns(sample.rows_S)[["cell_type", "confidence"]]
    cell_ids = job.store.cell_ids[sample.rows_S].astype(object)
    places = pd.DataFrame({"cell_id": cell_ids, "x": places_S2[:, 0], "y": places_S2[:, 1]})
    write_table(folder / MAP_FILE, pd.concat([places, columns], axis="columns"))


def _annotated(adata: AnnData, predictions: Predictions, checked: Checked) -> AnnData:
    """Return a copy with the labels; what was a line on the terminal is a warning here."""
    labelled = adata.to_memory() if adata.isbacked else adata.copy()
    annotate(labelled, predictions, checked.cards)
    for line in checked.warnings:
        warnings.warn(line, UserWarning, stacklevel=4)
    return labelled
