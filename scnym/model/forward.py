"""Logits of streamed cells.

B cells of a batch, C cells in all, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

import torch
from torch import nn

from scnym.feed.batches import Batch
from scnym.feed.stream import StreamDataset
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


def of_each_batch(
    network: nn.Module,
    cells: StreamDataset,
    device: torch.device,
    take: Callable[[Batch, torch.Tensor], T],
    processes: Processes = ALONE,
) -> Iterator[T]:
    """Give what is taken of each batch of a stream and its logits, shape (B, K), in its order.

    Of several processes each computes that of every n-th batch, and all is given to all.
    """
    own = logits_of(network, cells.epoch(0, worker=processes.number, n_workers=processes.count), device)
    taken = (take(batch, logits_BK) for batch, logits_BK in own)
    return taken if processes.count == 1 else _dealt_back(processes.gathered(list(taken)))


def all_logits(
    network: nn.Module, cells: StreamDataset, device: torch.device, processes: Processes = ALONE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give labels (C,) and logits (C, K) of all cells of a stream at once, in its order."""
    # Filled as they come: batches that are kept to be joined take twice the memory.
    labels_C, logits_CK = torch.empty(cells.plan.n_draws, dtype=torch.int64), torch.empty(0)
    end = 0
    for labels_B, logits_BK in of_each_batch(network, cells, device, lambda batch, x: (batch.labels, x), processes):
        begin, end = end, end + len(labels_B)
        if not begin:
            logits_CK = logits_BK.new_empty(len(labels_C), logits_BK.shape[1])
        labels_C[begin:end], logits_CK[begin:end] = labels_B, logits_BK
    return labels_C, logits_CK


def _dealt_back(hands: Sequence[Sequence[T]]) -> Iterator[T]:
    """Give what was dealt to several hands in turn, in the order before."""
    rounds = zip_longest(*hands)
    return (card for one in rounds for card in one if card is not None)
