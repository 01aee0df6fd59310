"""Logits of streamed cells.

B cells of a batch, C cells in all, K classes.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from scnym.feed.stream import Batch
from scnym.model.device import moved


@torch.no_grad()
def logits_of(
    network: nn.Module, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Give each batch with its logits, shape (B, K), on the CPU; dropout is off."""
    network.eval()
    for batch in batches:
        yield batch, network(moved(batch.x, device), batch.conditions.to(device)).cpu()


def all_logits(
    network: nn.Module, batches: Iterable[Batch], device: torch.device
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Give row numbers (C,), labels (C,) and logits (C, K) of all cells at once."""
    found = [(batch.rows, batch.labels, logits_BK) for batch, logits_BK in logits_of(network, batches, device)]
    rows, labels, logits = zip(*found, strict=True)
    return np.concatenate(rows), torch.cat(labels), torch.cat(logits)
