"""Logits of streamed cells.

B cells of a batch, C cells in all, K classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from scnym.feed.stream import Batch, StreamDataset
from scnym.model.collectives import ALONE, Processes
from scnym.model.device import moved

T = TypeVar("T")


@torch.no_grad()
def logits_of(
    network: nn.Module, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Give each batch with its logits, shape (B, K), on the CPU; dropout is off."""
    network.eval()
    for batch in batches:
        yield batch, network(moved(batch.x, device), batch.conditions.to(device)).cpu()


def all_logits(
    network: nn.Module, cells: StreamDataset, device: torch.device, processes: Processes = ALONE
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Give row numbers (C,), labels (C,) and logits (C, K) of all cells of a stream at once, in its order.

    Of several processes each computes those of every n-th batch, and all are given to all.
    """
    own = logits_of(network, cells.epoch(0, worker=processes.number, n_workers=processes.count), device)
    found = processes.gathered([(batch.rows, batch.labels, logits_BK) for batch, logits_BK in own])
    rows, labels, logits = zip(*_dealt_back(found), strict=True)
    return np.concatenate(rows), torch.cat(labels), torch.cat(logits)


def _dealt_back(hands: Sequence[Sequence[T]]) -> Iterator[T]:
    """Give what was dealt to several hands in turn, in the order before."""
    rounds = zip_longest(*hands)
    return (card for one in rounds for card in one if card is not None)
