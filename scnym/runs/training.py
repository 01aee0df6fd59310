"""Training runs: cells in, cross-validated and final models out, in one folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from anndata import AnnData

from scnym.base.errors import DataError
from scnym.base.progress import SILENT, Progress
from scnym.base.settings import RunSettings
from scnym.disk.aside import aside, require_replaceable
from scnym.disk.features import read_genes
from scnym.disk.gather import IN_MEMORY
from scnym.disk.store import Store
from scnym.feed.genes import gene_list, mismatch_advice
from scnym.feed.stream import StreamDataset
from scnym.runs.folder import is_run
from scnym.runs.folds import make_folds
from scnym.runs.intake import CellLabels, annotated, labels_of, open_input
from scnym.runs.learning import Job, balanced_stream
from scnym.runs.single_run import RunSummary, run_all

FOLDER = "tissue_independent"
HIGH_AMPLIFICATION = 3.0
"""Values decoded per value used, above which the user is told how to bring the classes together."""


def train_tissue_independent(
    input_counts: str | Path | AnnData,
    out_path: str | Path,
    settings: RunSettings | None = None,
    *,
    progress: Progress = SILENT,
) -> RunSummary:
    """Cross-validate, then train the final model on all cells; write ``OUT/tissue_independent/``.

    Parameters
    ----------
    input_counts
        A store; or counts in a raw file or an AnnData, which are converted into ``OUT/cache`` once.
    out_path
        Folder in which ``tissue_independent/`` is made.
    settings
        Labels, split, stream, network, training.
    progress
        Where to report cells done.

    Raises
    ------
    UserError
        If input, labels or settings make no sense, before any training; or if the output exists.
    """
    settings = settings or RunSettings()
    out_path, target = Path(out_path), Path(out_path) / FOLDER
    require_replaceable(target, overwrite=settings.overwrite, is_replaceable=is_run)
    job = _prepare(input_counts, out_path, settings, progress)
    folds = make_folds(job.labels.codes_C, job.labels.classes, settings.split)
    _say_what_clustering_gains(balanced_stream(job, folds[0]), job.labels, settings.label_column, progress)
    with aside(target, overwrite=settings.overwrite, is_replaceable=is_run) as folder:
        return run_all(job, folds, folder, target, progress)


def _prepare(input_counts: str | Path | AnnData, out_path: Path, settings: RunSettings, progress: Progress) -> Job:
    """Check everything that can be wrong before work starts."""
    metadata = settings.training_metadata and Path(settings.training_metadata)
    store = open_input(input_counts, out_path, settings.convert, progress)
    obs = annotated(store, metadata or None)
    labels = labels_of(
        obs, settings.label_column, metadata or _name_of(input_counts), min_cells=settings.split.min_cells_per_class
    )
    genes = _model_genes(store, settings.genes_to_use, progress)
    left_out = {"without a label": labels.n_unlabelled, "of classes that are too small": labels.n_rare}
    for reason, count in left_out.items():
        if count:
            progress.say(f"{count:,} of {store.n_cells:,} cells {reason} are left out")
    return Job(store, labels, genes, obs.index.to_numpy(), settings, torch.device("cpu"))


def _name_of(input_counts: str | Path | AnnData) -> Path:
    return Path(IN_MEMORY if isinstance(input_counts, AnnData) else input_counts)


def _say_what_clustering_gains(training: StreamDataset, labels: CellLabels, column: str, progress: Progress) -> None:
    """Tell the user once, if much is decoded in vain."""
    before = training.read_amplification
    if before <= HIGH_AMPLIFICATION:
        return
    after = training.amplification_if_clustered(labels.codes_C)
    if after < before:
        progress.say(
            f"{before:.1f} values are decoded for each that is used, because the cells of a class lie apart; in a "
            f"store made with scnym convert --cluster_by {column} it would be {after:.1f}"
        )


def _model_genes(store: Store, genes_to_use: str | None, progress: Progress) -> Sequence[str]:
    """Give the genes that all sources have, or those of them that stand in a list."""
    in_order = gene_list(store.datasets, "inner")
    shared = set(in_order)
    if not shared:
        raise DataError("the sources share no gene", where=store.path, way_out="convert them apart")
    if genes_to_use is None:
        return in_order
    path = Path(genes_to_use)
    wanted = set(read_genes(path, "--genes_to_use"))
    if not wanted & shared:
        advice = mismatch_advice(sorted(wanted), in_order)
        raise DataError("none of these genes is in the counts", where=path, way_out=advice)
    if wanted - shared:
        progress.say(f"{len(wanted - shared):,} of the {len(wanted):,} genes to use are not in the counts")
    return [gene for gene in in_order if gene in wanted]
