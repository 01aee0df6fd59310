"""A network cut in two: the part that is linear in the genes, and the rest, which no longer sees them.

What a gene does to the logits goes through the first layer and the shortcut alone, so whatever is asked about genes
(optimised inputs, expected gradients, deletions) is asked of a few hundred units, and a matrix takes it to the genes.

B cells of a batch, D units (the first layer's and, behind them, the shortcut's), G genes, K classes.
"""

from collections.abc import Callable

import torch

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
        """Give the units, shape (B, D), of normalised log counts, dense or CSR."""
        return x_BG @ self.weight_GD + self.bias_D

    def logits(self, units_BD: torch.Tensor) -> torch.Tensor:
        """Give calibrated logits, shape (B, K)."""
        network = self._network
        hidden_BD = network.blocks(network.first_finish(units_BD[:, : self._n_hidden]))
        shortcut_BK = None if network.shortcut is None else units_BD[:, self._n_hidden :]
        return pooled(network.classified(hidden_BD, shortcut_BK)) / self._temperature

    def slope(
        self, units_BD: torch.Tensor, figure_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give a figure of every cell's logits, shape (B,), and its gradient in the units, shape (B, D)."""
        units_BD = units_BD.detach().requires_grad_()
        figure_B = figure_of(self.logits(units_BD))
        (slope_BD,) = torch.autograd.grad(figure_B.sum(), units_BD)
        return figure_B.detach(), slope_BD

    def effect_of_genes(self, x_BG: torch.Tensor, slope_BD: torch.Tensor) -> torch.Tensor:
        """Give the sum over cells of slope x units that each gene's values account for, shape (G,); x is CSR."""
        return (self.weight_GD * (transposed(x_BG) @ slope_BD)).sum(dim=1)
