"""Cells to types: probabilities, the label, and how sure it is.

B cells of a batch, G genes of the model, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from scnym.base.errors import DataError
from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.genes import mismatch_advice
from scnym.feed.stream import StreamDataset, in_order_stream, layout_for
from scnym.model.forward import logits_of
from scnym.model.objective import probabilities_of
from scnym.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Labels:
    """What a model says about some cells."""

    rows_B: np.ndarray
    """Row numbers in the store."""
    probabilities_BK: np.ndarray
    """Calibrated class probabilities."""

    def table(self, cell_ids: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
        """Give cell_id, cell_type, confidence, margin (to the runner-up), second, second_confidence."""
        return label_table(cell_ids[self.rows_B], self.probabilities_BK, classes)


@dataclass(frozen=True)
class GeneCoverage:
    """How much of what a model reads the new data has."""

    n_genes: int
    """Genes of the model."""
    n_found: int
    """Of these, measured in the data."""
    share: float
    """n_found / n_genes."""
    weighted_share: float
    """The same with every gene weighted by how much the network listens to it."""


def label_table(cell_ids: np.ndarray, probabilities_BK: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Put probabilities into words; ties go to the class that comes first."""
    names_K = np.asarray(classes, dtype=object)
    order_BK = np.argsort(-probabilities_BK, axis=1, kind="stable")
    ranked_BK = np.take_along_axis(probabilities_BK, order_BK, axis=1)
    return pd.DataFrame(
        {
            "cell_id": cell_ids,
            "cell_type": names_K[order_BK[:, 0]],
            "confidence": ranked_BK[:, 0],
            "margin": ranked_BK[:, 0] - ranked_BK[:, 1],
            "second": names_K[order_BK[:, 1]],
            "second_confidence": ranked_BK[:, 1],
        }
    )


def label_cells(stream: StreamDataset, snapshot: Snapshot, device: torch.device) -> Iterator[Labels]:
    """Label the cells of a stream, batch by batch."""
    network = snapshot.network.to(device)
    for batch, logits_BK in logits_of(network, stream, device):
        yield Labels(batch.rows.copy(), probabilities_of(logits_BK, snapshot.card.temperature))


def prediction_stream(store: Store, snapshot: Snapshot, settings: StreamSettings) -> StreamDataset:
    """Stream all cells of a store in order, on the model's genes."""
    return in_order_stream(
        store,
        np.arange(store.n_cells),
        snapshot.card.genes,
        settings,
        normalize_to=snapshot.card.network.normalize_to,
        layout=layout_for(store),
    )


def gene_coverage(store: Store, stream: StreamDataset, snapshot: Snapshot, min_share: float) -> GeneCoverage:
    """Measure how much of the model's genes the data has; every source must have enough.

    Raises
    ------
    DataError
        If a source has no gene of the model, or a smaller share than `min_share`; with the likely reason.
    """
    genes = snapshot.card.genes
    importance_G = snapshot.network.gene_importance().numpy()
    for dataset, source, gene_map in zip(store.datasets, store.sources, stream.gene_maps, strict=True):
        if gene_map.coverage < min_share or not gene_map.present_G.any():
            advice = mismatch_advice(dataset.genes, genes)
            raise DataError(
                f"has {int(gene_map.present_G.sum()):,} of the model's {len(genes):,} genes, less than the "
                f"{min_share:.0%} asked for",
                where=source.file,
                way_out=f"{advice}; or lower --min_gene_coverage",
            )
    present_G = np.logical_or.reduce([gene_map.present_G for gene_map in stream.gene_maps])
    return GeneCoverage(
        n_genes=len(genes),
        n_found=int(present_G.sum()),
        share=float(present_G.mean()),
        weighted_share=float(importance_G[present_G].sum() / max(importance_G.sum(), 1e-12)),
    )
