"""Reports of existing runs, regenerated; and what a training run keeps for its report.

C cells of the store, S cells of the sample.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from scnym.base.errors import FormatError, MissingInputError
from scnym.disk.atomic import nothing_at, room_for
from scnym.disk.inputs import SAMPLE_COLUMN
from scnym.model.snapshot import Snapshot
from scnym.results.cell_map import NEIGHBOURS, EmbeddingSample, sampled_rows
from scnym.results.labels import label_cells, prediction_stream
from scnym.results.metrics import CALIBRATION_BINS, histogram, reliability
from scnym.results.scored_cells import Judged
from scnym.runs.folds import FoldResult, Job
from scnym.runs.output_tree import (
    FINAL_FOLDER,
    MAP_FILE,
    METRICS_FILE,
    MODEL_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    read_own_json,
    write_table,
)
from scnym.runs.reports.markers import write_markers_page
from scnym.runs.reports.prediction import TABLE_FILE, write_prediction_page, write_samples_page
from scnym.runs.reports.training import write_tissues_page, write_training_page


def figures_of(job: Job, judged_rows: np.ndarray, judged: Judged) -> dict[str, Any]:
    """Return how confidence is distributed over the cells that a run was judged on."""
    correct_C = judged.best_C == job.labels.codes_C[judged_rows]
    kinds = {"confidence": judged.confidence_C, "before temperature scaling": judged.uncalibrated_C}
    return {
        "reliability": {kind: reliability(values_C, correct_C, CALIBRATION_BINS) for kind, values_C in kinds.items()},
        "confidence": {
            "right": histogram(judged.confidence_C, correct_C),
            "wrong": histogram(judged.confidence_C, ~correct_C),
        },
    }


def write_map(job: Job, folds: Sequence[FoldResult], folder: Path) -> None:
    """Write where the final model puts labelled cells, beside what was said of them when they were held out.

    Nothing is written for a network without hidden units.
    """
    snapshot = Snapshot.load(folder / FINAL_FOLDER / MODEL_FILE)
    labelled = np.flatnonzero(job.labels.codes_C >= 0)
    rows_S = sampled_rows(labelled, job.settings.training.seed, together=NEIGHBOURS)
    sample = EmbeddingSample(rows_S, snapshot.card.network.n_hidden)
    if not sample.can_be_drawn:
        return
    stream = prediction_stream(
        job.store, snapshot, job.settings.stream, rows_C=rows_S, tissues_C=job.conditions_C, device=job.device
    )
    for some in label_cells(stream, snapshot, job.device):
        sample.put(some.rows_B, some.embedding_BH)
    places_S2 = sample.components()
    table = pd.DataFrame(
        {"cell_id": job.store.cell_ids[rows_S].astype(object), "x": places_S2[:, 0], "y": places_S2[:, 1]}
    )
    table["cell_type"] = job.true_classes(rows_S)
    if folds:
        table = table.assign(**_when_held_out(job, folds, rows_S))
    write_table(folder / MAP_FILE, table)


def _when_held_out(job: Job, folds: Sequence[FoldResult], rows_S: np.ndarray) -> dict[str, Any]:
    """Return predicted class and confidence of some cells in the fold that held them out; missing where none did."""
    rows_C = np.concatenate([result.judged_rows for result in folds])
    judged = Judged.joined([result.judged for result in folds])
    places_S = pd.Index(rows_C).get_indexer(pd.Index(rows_S))
    was_S = places_S >= 0
    names = pd.CategoricalDtype(pd.Index(job.labels.classes))
    return {
        "predicted": pd.Categorical.from_codes(np.where(was_S, judged.best_C[places_S], -1), dtype=names),
        "confidence": np.where(was_S, judged.confidence_C[places_S], np.nan),
    }


Writer = Callable[[Path, Path], None]
TOLD_BY: tuple[tuple[str, str, Writer], ...] = (
    (METRICS_FILE, "final_model_on_selection_cells", write_training_page),
    (SUMMARY_FILE, "tissues", write_tissues_page),
    (SUMMARY_FILE, "top_genes", write_markers_page),
    (SUMMARY_FILE, "cells_by_type", write_prediction_page),
)
"""Which file of a run holds what, and who writes the page of such a run."""
DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, jinja2.TemplateError)
"""What comes of files that are not as the run wrote them."""


def report(run: str | Path) -> list[Path]:
    """Write the page of a run anew, ``report.html`` in its folder, from the files that the run left there.

    Parameters
    ----------
    run
        Folder of a training, of a prediction, of markers; or one that holds such folders, each of which gets its page.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    UserError
        If there is no finished run in the folder, or its files are damaged.
    """
    run = Path(run)
    if not run.is_dir():
        raise MissingInputError("there is no such folder", where=run, way_out="give the folder of a run")
    found = [(folder, writer) for folder in _folders(run) if (writer := _writer_of(folder)) is not None]
    if not found:
        raise MissingInputError(
            "no finished run is in this folder",
            where=run,
            way_out="give the folder of a training, a prediction or markers, such as OUT/tissue_independent, or the "
            "--out_path of one",
        )
    return [_written(folder, writer) for folder, writer in found]


def _folders(run: Path) -> list[Path]:
    """Return a run's folder and those below it that may be runs too: of tissues, of samples, or of an output folder.

    What a link leads to elsewhere is not below it.
    """
    root = run.resolve()
    below = sorted(one for pattern in ("*", "*/*") for one in run.glob(pattern) if one.is_dir())
    return [run, *(one for one in below if one.suffix != ".zarr" and one.resolve().is_relative_to(root))]


def _writer_of(folder: Path) -> Writer | None:
    """Find out what a folder is; None if nothing that has a page."""
    if _is_of_samples(folder):
        return write_samples_page
    for file, key, writer in TOLD_BY:
        if (folder / file).is_file() and key in read_own_json(folder / file):
            return writer
    return None


def _is_of_samples(folder: Path) -> bool:
    with suppress(OSError, ValueError):  # a table of something else, or none
        return SAMPLE_COLUMN in pd.read_csv(folder / TABLE_FILE, nrows=0)
    return False


def _written(folder: Path, writer: Writer) -> Path:
    """Write a page; the one before it stands until the new one is whole."""
    page, unfinished = folder / REPORT_FILE, folder / f".{REPORT_FILE}.partial"
    try:
        with room_for(page):
            writer(folder, nothing_at(unfinished))
            unfinished.replace(page)
    except DAMAGED as fault:
        raise FormatError(
            f"the run's files are not as it wrote them ({type(fault).__name__}: {fault})",
            where=folder,
            way_out="copy the folder again, or give the run's command again",
        ) from fault
    finally:
        unfinished.unlink(missing_ok=True)
    return page
