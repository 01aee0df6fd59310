"""What training minimises, and the temperature that makes confidence mean something.

B cells, K classes.
"""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional

from scnym.base.settings import TrainSettings
from scnym.feed.stream import Batch
from scnym.model.collectives import ALONE, Processes
from scnym.model.device import moved
from scnym.model.mixup import Mix, draw_mix, mixed, mixed_cross_entropy
from scnym.model.network import CellTypeNetwork, Reading

LOG_TEMPERATURE_BOUNDS = (-2.0, 2.0)


def batch_loss(
    network: CellTypeNetwork,
    read: Reading,
    batch: Batch,
    labels_B: torch.Tensor,
    settings: TrainSettings,
    key: tuple[int, ...],
    processes: Processes = ALONE,
) -> tuple[torch.Tensor, float, torch.Tensor]:
    """Give what a training step is made of: logits, shape (B, K), their mean loss, and the loss to follow.

    Parameters
    ----------
    network
        In training.
    read
        What reads a batch with it: `reader_of` it.
    batch
        Cells to learn from.
    labels_B
        Their classes, on the device on which the network is.
    settings
        Mixup, and the weight of the shortcut's own loss.
    key
        Decides who is mixed with whom: seed, epoch, number of the batch.
    processes
        Who has the other shares of the batch: gradients of the loss, averaged over all, are those of the whole batch.
    """
    device = labels_B.device
    mix = draw_mix(settings.mixup_alpha, batch.whole_size, key, device, processes)
    with mixed(network.reading_layers, mix):
        found = read(moved(batch.x, device), batch.conditions.to(device))
    own_loss = float(mixed_cross_entropy(found[0].detach(), labels_B, mix))
    loss = training_loss(*found, labels_B, settings.shortcut_loss, mix)
    return found[0], own_loss, processes.weight(len(labels_B), batch.whole_size) * loss


def training_loss(
    logits_BK: torch.Tensor,
    shortcut_BK: torch.Tensor | None,
    labels_B: torch.Tensor,
    shortcut_weight: float,
    mix: Mix | None = None,
) -> torch.Tensor:
    """Give the mean cross-entropy of the logits, and in addition of the shortcut's part of them alone, weighted.

    Without the second, the hidden path soon explains small training sets, and leaves the shortcut unfinished.
    """
    loss = mixed_cross_entropy(logits_BK, labels_B, mix)
    if shortcut_BK is None or not shortcut_weight:
        return loss
    return loss + shortcut_weight * mixed_cross_entropy(shortcut_BK, labels_B, mix)


def fit_temperature(logits_BK: torch.Tensor, labels_B: torch.Tensor) -> float:
    """Give the temperature that minimises the cross-entropy of logits / temperature (Guo et al. 2017).

    The targets are smoothed by 1 / (B + 2) (Platt 1999): a few cells that are all labelled right are no proof that
    the next one will be, and without it the confidence would rise to 1.

    Parameters
    ----------
    logits_BK
        Logits of cells that were not trained on, shape (B, K).
    labels_B
        Their classes, shape (B,).
    """
    logits_BK = logits_BK.double()
    n_cells, n_classes = logits_BK.shape
    smoothing = n_classes / (n_classes - 1) / (n_cells + 2)

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits_BK / np.exp(log_temperature), labels_B, label_smoothing=smoothing))

    found = minimize_scalar(loss, bounds=LOG_TEMPERATURE_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def probabilities_of(logits_BK: torch.Tensor, temperature: float) -> np.ndarray:
    """Give class probabilities, float64, shape (B, K)."""
    return torch.softmax(logits_BK.double() / temperature, dim=1).numpy()
