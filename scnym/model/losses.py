"""What training minimises: cross-entropy, mixup (Zhang et al. 2018); and the temperature that calibrates confidence.

The layers that read a batch are linear, so mixing their outputs equals mixing their inputs, dropout aside. It costs
nothing, whatever the layout of the batch.

B cells of a batch, K classes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional

from scnym.base.settings import TrainSettings
from scnym.feed.batches import Batch
from scnym.model.device import mixed_precision, moved
from scnym.model.distributed import ALONE, Processes
from scnym.model.network import CellTypeNetwork, Reading, pooled


@dataclass(frozen=True)
class Mix:
    """Who is mixed with whom, and how."""

    share: float
    """Share of the cell itself, from 0.5; the rest is its partner's."""
    partners_B: torch.Tensor
    """Position of each cell's partner in the batch, the whole of it if these cells are a share."""
    whole: Callable[[torch.Tensor], torch.Tensor]
    """Returns what all cells of the batch have from what these have."""

    def of_partners(self, own_BN: torch.Tensor) -> torch.Tensor:
        """Return what the partner of each cell has."""
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
    """Return the mean cross-entropy with the classes of each cell and its partner, in their shares."""
    own = functional.cross_entropy(logits_BK, labels_B)
    if mix is None:
        return own
    return mix.share * own + (1 - mix.share) * functional.cross_entropy(logits_BK, mix.of_partners(labels_B))


CELLS_AT_A_TIME = 2**13
LOG_TEMPERATURE_BOUNDS = (-2.0, 2.0)


class Objective:
    """What training minimises: the cross-entropy of each path of the network by itself, added up.

    Of their mean alone, the hidden path would soon explain small training sets, and leave the shortcut unfinished; and
    two classifiers that learn apart err apart.

    To the logits is added, in training only, a share of the log of how often each class is drawn (Menon et al. 2021,
    "Long-tail learning via logit adjustment", equation 10). So the network need not learn from the frequencies that a
    rare class is rare: it labels as if it had seen classes drawn in proportion to (their draws) ** (1 - share).

    Parameters
    ----------
    settings
        Mixup, and the share.
    draws_K
        Draws of each class in an epoch, shape (K,); one that is not drawn counts as drawn once.
    device
        Where the network is.
    processes
        Who has the other shares of a batch: the gradients of the loss, averaged over all, are those of the whole batch.
    """

    def __init__(
        self, settings: TrainSettings, draws_K: np.ndarray, device: torch.device, processes: Processes = ALONE
    ) -> None:
        self._settings, self._processes = settings, processes
        share_K = np.maximum(draws_K, 1) / max(1, draws_K.sum())
        prior_K = settings.logit_adjustment * np.log(share_K)
        self._prior_K = torch.tensor(prior_K, dtype=torch.float32, device=device)

    def of_batch(
        self, network: CellTypeNetwork, read: Reading, batch: Batch, labels_B: torch.Tensor, key: tuple[int, ...]
    ) -> tuple[torch.Tensor, float, torch.Tensor]:
        """Return what a training step is made of: logits, shape (B, K), their mean loss, and the loss to follow.

        Parameters
        ----------
        network
            In training.
        read
            What reads a batch with it: `scnym.model.distributed.reader_of` it.
        batch
            Cells to learn from.
        labels_B
            Their classes, on the device on which the network is.
        key
            Decides who is mixed with whom: seed, epoch, number of the batch.
        """
        device = labels_B.device
        mix = draw_mix(self._settings.mixup_alpha, batch.whole_size, key, device, self._processes)
        with mixed(network.reading_layers, mix), mixed_precision(device):
            paths = read(moved(batch.x, device), batch.conditions.to(device))
        logits_BK = pooled(paths).detach()
        losses = [self.of_logits(path_BK, labels_B, mix) for path_BK in paths]
        loss = self._processes.weight(len(labels_B), batch.whole_size) * sum(losses[1:], losses[0])
        return logits_BK, float(self.of_logits(logits_BK, labels_B, mix)), loss

    def of_logits(self, logits_BK: torch.Tensor, labels_B: torch.Tensor, mix: Mix | None = None) -> torch.Tensor:
        """Return the mean cross-entropy of some logits."""
        return mixed_cross_entropy(logits_BK + self._prior_K, labels_B, mix)


def fit_temperature(logits_BK: torch.Tensor, labels_B: torch.Tensor) -> float:
    """Return the temperature that minimises the cross-entropy of logits / temperature (Guo et al. 2017).

    The targets are smoothed by 1 / (B + 2) (Platt 1999): a few cells that are all labelled right are no proof that
    the next one will be, and without it the confidence would rise to 1.

    Parameters
    ----------
    logits_BK
        Logits of cells that were not trained on, shape (B, K).
    labels_B
        Their classes, shape (B,).
    """
    n_cells, n_classes = logits_BK.shape
    smoothing = n_classes / (n_classes - 1) / (n_cells + 2)

    def loss(log_temperature: float) -> float:
        """Of a few cells at a time: in double precision, a hundred thousand would take several times their memory."""
        some = zip(logits_BK.split(CELLS_AT_A_TIME), labels_B.split(CELLS_AT_A_TIME), strict=True)
        losses = (
            functional.cross_entropy(
                logits.double() / np.exp(log_temperature), labels, label_smoothing=smoothing, reduction="sum"
            )
            for logits, labels in some
        )
        return float(sum(losses)) / n_cells

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def probabilities_of(logits_BK: torch.Tensor, temperature: float) -> np.ndarray:
    """Return class probabilities, float64, shape (B, K)."""
    return torch.softmax(logits_BK.double() / temperature, dim=1).numpy()
