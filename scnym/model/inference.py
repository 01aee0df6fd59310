"""Logits of streamed cells, and a network split in two: the part that is linear in the genes, and the rest.

What a gene does to the logits goes through the first layer and the linear skip path alone. So whatever is asked about
genes (optimised inputs, expected gradients, deletions) is computed on a few hundred units, and a matrix takes it to
genes.

B cells of a batch, C cells in all, D units (the first layer's, then the skip path's), G genes, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

import torch
from torch import nn

from scnym.feed.batches import Batch
from scnym.feed.stream import StreamDataset
from scnym.model.device import moved
from scnym.model.distributed import ALONE, Processes
from scnym.model.network import pooled, transposed
from scnym.model.snapshot import Snapshot


class SplitNetwork:
    """A model's network as units = x @ weight + bias, and logits of units.

    Parameters
    ----------
    snapshot
        The model. Inputs beside the genes, such as a tissue, are left at zero.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._network, self._temperature = snapshot.network, snapshot.card.temperature
        self.genes, self.classes = snapshot.card.genes, snapshot.card.classes
        self.normalize_to = snapshot.card.network.normalize_to
        first, shortcut = self._network.first, self._network.shortcut
        layers = [first] if shortcut is None else [first, shortcut]
        weights = [layer.weight.detach()[: len(self.genes)] for layer in layers]
        self._n_hidden = first.weight.shape[1]
        self.weight_GD = torch.cat(weights, dim=1) * self._network.input_scale
        self.bias_D = torch.cat([layer.bias.detach() for layer in layers])

    def units(self, x_BG: torch.Tensor) -> torch.Tensor:
        """Return the units, shape (B, D), of normalised log counts, dense or CSR."""
        return x_BG @ self.weight_GD + self.bias_D

    def logits(self, units_BD: torch.Tensor) -> torch.Tensor:
        """Return calibrated logits, shape (B, K)."""
        network = self._network
        hidden_BD = network.blocks(network.first_finish(units_BD[:, : self._n_hidden]))
        shortcut_BK = None if network.shortcut is None else units_BD[:, self._n_hidden :]
        return pooled(network.classified(hidden_BD, shortcut_BK)) / self._temperature

    def slope(
        self, units_BD: torch.Tensor, figure_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a figure of every cell's logits, shape (B,), and its gradient in the units, shape (B, D)."""
        units_BD = units_BD.detach().requires_grad_()
        figure_B = figure_of(self.logits(units_BD))
        (slope_BD,) = torch.autograd.grad(figure_B.sum(), units_BD)
        return figure_B.detach(), slope_BD

    def effect_of_genes(self, x_BG: torch.Tensor, slope_BD: torch.Tensor) -> torch.Tensor:
        """Return the sum over cells of slope x units that each gene's values account for, shape (G,); x is CSR."""
        return (self.weight_GD * (transposed(x_BG) @ slope_BD)).sum(dim=1)


T = TypeVar("T")


@torch.no_grad()
def logits_of(
    network: nn.Module, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Yield each batch with its logits, shape (B, K), on the CPU; dropout is off."""
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
    """Return what is taken of each batch of a stream and its logits, shape (B, K), in its order.

    Of several processes each computes that of every n-th batch, and all is given to all.
    """
    own = logits_of(network, cells.epoch(0, worker=processes.number, n_workers=processes.count), device)
    taken = (take(batch, logits_BK) for batch, logits_BK in own)
    return taken if processes.count == 1 else _dealt_back(processes.gathered(list(taken)))


def all_logits(
    network: nn.Module, cells: StreamDataset, device: torch.device, processes: Processes = ALONE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels (C,) and logits (C, K) of all cells of a stream at once, in its order."""
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
    """Return what was dealt to several hands in turn, in the order before."""
    rounds = zip_longest(*hands)
    return (card for one in rounds for card in one if card is not None)
