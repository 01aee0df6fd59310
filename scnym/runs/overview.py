"""What a training run leaves behind for its page: how confidence is distributed, and where the cells lie.

C cells of the store, S cells of the sample.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scnym.model.snapshot import Snapshot
from scnym.results.cell_map import NEIGHBOURS, EmbeddingSample, sampled_rows
from scnym.results.confidence import histogram, reliability
from scnym.results.judged import Judged
from scnym.results.labels import label_cells, prediction_stream
from scnym.results.metrics import CALIBRATION_BINS
from scnym.runs.folder import FINAL_FOLDER, MAP_FILE, MODEL_FILE, write_table
from scnym.runs.job import FoldResult, Job


def figures_of(job: Job, judged_rows: np.ndarray, judged: Judged) -> dict[str, Any]:
    """Give how confidence is distributed over the cells that a run was judged on."""
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
