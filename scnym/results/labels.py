"""Cells to types: probabilities, the label, and how sure it is.

B cells of a batch, C cells of the store, G genes of the model, H hidden units, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from scnym.base.settings import StreamSettings
from scnym.disk.store import Store
from scnym.feed.stream import StreamDataset, in_order_stream
from scnym.model.device import layout_on, moved
from scnym.model.objective import probabilities_of
from scnym.model.snapshot import Snapshot
from scnym.results.answers import Ranked

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a model says about some cells."""

    rows_B: np.ndarray
    """Row numbers in the store, ascending."""
    probabilities_BK: np.ndarray
    """Calibrated class probabilities."""
    embedding_BH: np.ndarray
    """Last hidden layer."""


def label_table(cell_ids: np.ndarray, found: Ranked, classes: Sequence[str]) -> pd.DataFrame:
    """Put the best classes into words: cell_id, cell_type, confidence, margin (to the runner-up), the runner-up.

    Names are categories, so that few of them take little memory.
    """
    names = pd.CategoricalDtype(pd.Index(classes))
    return pd.DataFrame(
        {
            "cell_id": cell_ids.astype(object),
            "cell_type": pd.Categorical.from_codes(found.best_B, dtype=names),
            "confidence": found.confidence_B,
            "margin": found.confidence_B - found.second_confidence_B,
            "second": pd.Categorical.from_codes(found.second_B, dtype=names),
            "second_confidence": found.second_confidence_B,
        }
    )


@torch.no_grad()
def label_cells(stream: StreamDataset, snapshot: Snapshot, device: torch.device) -> Iterator[Labels]:
    """Label the cells of a stream, batch by batch."""
    network = snapshot.network.to(device).eval()
    for batch in stream:
        logits_BK, hidden_BH = network.logits_and_embedding(moved(batch.x, device), batch.conditions.to(device))
        probabilities_BK = probabilities_of(logits_BK.cpu(), snapshot.card.temperature)
        yield Labels(batch.rows, probabilities_BK, hidden_BH.cpu().numpy())


def prediction_stream(
    store: Store,
    snapshot: Snapshot,
    settings: StreamSettings,
    *,
    rows_C: np.ndarray | None = None,
    tissues_C: np.ndarray | None = None,
    device: torch.device = CPU,
) -> StreamDataset:
    """Stream cells of a store in order, on the model's genes.

    Parameters
    ----------
    store, snapshot
        Data and model.
    settings
        Batch size and memory.
    rows_C
        Rows to stream, ascending; None for all.
    tissues_C
        Number of the tissue of every row of the store, as the model counts them; None for none.
    device
        Where the network computes, which decides the layout of batches.
    """
    return in_order_stream(
        store,
        np.arange(store.n_cells) if rows_C is None else rows_C,
        snapshot.card.genes,
        settings,
        conditions_C=tissues_C,
        normalize_to=snapshot.card.network.normalize_to,
        layout=layout_on(device, store),
    )
