"""Mixup: each cell is learnt together with a partner of its batch (Zhang et al. 2018).

The layers that read a batch are linear, so mixing what they give equals mixing what they read, dropout aside: each of
the two cells keeps genes of its own. It costs nothing, whatever the layout of the batch.

B cells of a batch, K classes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from scnym.model.collectives import ALONE, Processes


@dataclass(frozen=True)
class Mix:
    """Who is mixed with whom, and how."""

    share: float
    """Share of the cell itself, from 0.5; the rest is its partner's."""
    partners_B: torch.Tensor
    """Position of each cell's partner in the batch, the whole of it if these cells are a share."""
    whole: Callable[[torch.Tensor], torch.Tensor]
    """Gives what all cells of the batch have from what these have."""

    def of_partners(self, own_BN: torch.Tensor) -> torch.Tensor:
        """Give what the partner of each cell has."""
        return self.whole(own_BN)[self.partners_B]

    def hook(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output_BH: torch.Tensor) -> torch.Tensor:
        """Mix each row that a layer gives with that of its partner."""
        del layer, inputs
        return self.share * output_BH + (1 - self.share) * self.of_partners(output_BH)


def draw_mix(
    alpha: float, n_cells: int, key: tuple[int, ...], device: torch.device, processes: Processes = ALONE
) -> Mix | None:
    """Draw the mix of a batch from its key; None for no mixing.

    Parameters
    ----------
    alpha
        The share follows Beta(alpha, alpha), folded to its upper half, as partners are drawn alike; 0 for no mixing.
    n_cells
        Cells of the batch, of all processes together.
    key
        Decides the mix: seed, epoch, number of the batch.
    device
        Where the batch is.
    processes
        Who has shares of it.
    """
    if not alpha:
        return None
    random = np.random.default_rng(key)
    share = float(random.beta(alpha, alpha))
    partners = torch.from_numpy(random.permutation(n_cells))[processes.own_rows(n_cells)]
    return Mix(max(share, 1 - share), partners.to(device), partial(processes.whole, n_all=n_cells))


@contextmanager
def mixed(layers: Iterable[nn.Module], mix: Mix | None) -> Iterator[None]:
    """Mix what linear layers give while the block runs."""
    handles = [] if mix is None else [layer.register_forward_hook(mix.hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mixed_cross_entropy(logits_BK: torch.Tensor, labels_B: torch.Tensor, mix: Mix | None) -> torch.Tensor:
    """Give the mean cross-entropy with the classes of each cell and its partner, in their shares."""
    own = functional.cross_entropy(logits_BK, labels_B)
    if mix is None:
        return own
    return mix.share * own + (1 - mix.share) * functional.cross_entropy(logits_BK, mix.of_partners(labels_B))
