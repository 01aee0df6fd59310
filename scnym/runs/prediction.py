"""Labels for new cells: a model file and counts in, a table out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from scnym.base.progress import SILENT, Progress, Task
from scnym.base.settings import ConvertSettings, PredictSettings, StreamSettings
from scnym.disk.aside import aside, require_replaceable
from scnym.disk.store import Store
from scnym.model.snapshot import Snapshot
from scnym.results.labels import GeneCoverage, Labels, gene_coverage, label_cells, prediction_stream
from scnym.runs.folder import SUMMARY_FILE, is_run, write_csv, write_json
from scnym.runs.intake import open_input

FOLDER = "predictions"


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What a prediction gave."""

    folder: Path
    n_cells: int
    n_empty_cells: int
    """Cells without any counts; their label says nothing."""
    cells_by_type: dict[str, int]
    mean_confidence: float
    coverage: GeneCoverage


def predict(
    input_counts: str | Path,
    model_path: str | Path,
    out_path: str | Path,
    settings: PredictSettings | None = None,
    *,
    training_gene_names: str | Path | None = None,
    convert_settings: ConvertSettings | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PredictionSummary:
    """Label the cells of a store or a raw file; write ``OUT/predictions/``.

    Parameters
    ----------
    input_counts
        A store, or any raw input, whose genes may differ from the model's in set and order.
    model_path
        A ``model.safetensors``, which knows its genes, classes and settings; or a ``.pkl`` of bare weights.
    out_path
        Folder in which ``predictions/`` is made.
    settings
        Batch size, and the least share of the model's genes that the data must have.
    training_gene_names
        For bare weights: text file with the network's genes, one a line.
    convert_settings
        How a raw input is read.
    overwrite
        Whether an existing ``predictions/`` is replaced.
    progress
        Where to report cells done.

    Raises
    ------
    UserError
        If something is missing, damaged or does not fit, before any label is written.
    """
    settings = settings or PredictSettings()
    out_path, target = Path(out_path), Path(out_path) / FOLDER
    require_replaceable(target, overwrite=overwrite, is_replaceable=is_run)
    snapshot = Snapshot.load(model_path, training_gene_names)
    store = open_input(Path(input_counts), out_path, convert_settings or ConvertSettings(), progress)
    stream = prediction_stream(store, snapshot, StreamSettings(batch_size=settings.batch_size))
    coverage = gene_coverage(store, stream, snapshot, settings.min_gene_coverage)
    tally = _Tally()
    with aside(target, overwrite=overwrite, is_replaceable=is_run) as folder:
        labels = label_cells(stream, snapshot, torch.device("cpu"))
        with progress.task("predict", total=store.n_cells, unit="cells") as task:
            _write_predictions(folder / "predictions.csv", labels, store, snapshot, tally, task)
        summary = PredictionSummary(
            folder=target,
            n_cells=store.n_cells,
            n_empty_cells=sum(int((dataset.n_counts_C == 0).sum()) for dataset in store.datasets),
            cells_by_type=dict(tally.cells_by_type.most_common()),
            mean_confidence=tally.confidence_sum / max(1, store.n_cells),
            coverage=coverage,
        )
        write_json(folder / SUMMARY_FILE, {**asdict(summary), "model": str(model_path)})
    return summary


@dataclass
class _Tally:
    """Grows with every batch that is written."""

    cells_by_type: Counter[str] = field(default_factory=Counter)
    confidence_sum: float = 0.0


def _write_predictions(
    path: Path, labels: Iterator[Labels], store: Store, snapshot: Snapshot, tally: _Tally, task: Task
) -> None:
    """Write each batch as it comes."""
    cell_ids = store.cell_ids.to_numpy()
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, some in enumerate(labels):
            table = some.table(cell_ids, snapshot.card.classes)
            write_csv(file, table, header=number == 0)
            tally.cells_by_type.update(table["cell_type"])
            tally.confidence_sum += float(table["confidence"].sum())
            task.advance(len(table))
