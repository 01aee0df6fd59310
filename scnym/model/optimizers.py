"""Optimisers and their schedule.

The weights that read genes meet inputs that are nearly always zero. Adam and its kin rescale each weight's step by
that weight's own gradients, which inflates the steps of genes that hardly ever occur; plain SGD does not, and labels
held-out cells better (`docs/decisions.md`). So the default trains those weights by SGD and all others by AdamW.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adadelta, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scnym.base.settings import TrainSettings
from scnym.model.network import CellTypeNetwork

WARM_UP = 0.05
"""Share of all steps in which the rates rise from zero."""


class Optimizers:
    """One or two optimisers that step together, with their schedule.

    Parameters
    ----------
    network
        What is trained.
    settings
        Which optimiser, which rates.
    n_steps
        Steps of the whole training, for the schedule.
    n_train
        Training cells; the shortcut's L2 penalty is that of a logistic regression over them.
    peak
        All rates are multiplied by this.
    """

    def __init__(
        self, network: CellTypeNetwork, settings: TrainSettings, *, n_steps: int, n_train: int, peak: float = 1.0
    ) -> None:
        self._optimizers = list(_optimizers(network, settings, n_train))
        schedule = _constant(peak) if settings.optimizer == "adadelta" else _warm_up_then_cosine(n_steps, peak)
        self._schedules = [LambdaLR(optimizer, schedule) for optimizer in self._optimizers]

    @property
    def rate(self) -> float:
        """Present learning rate of the last optimiser."""
        return float(self._schedules[-1].get_last_lr()[0])

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs, as tensors and plain values."""
        return {
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "schedules": [schedule.state_dict() for schedule in self._schedules],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for optimizer, content in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        for schedule, content in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(content)

    def step(self, loss: torch.Tensor) -> None:
        """Follow the gradient of a loss once."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer, schedule in zip(self._optimizers, self._schedules, strict=True):
            optimizer.step()
            schedule.step()


def _optimizers(network: CellTypeNetwork, settings: TrainSettings, n_train: int) -> Iterator[Optimizer]:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adadelta":
        yield Adadelta(network.parameters(), lr=rate or 1.0, weight_decay=decay)
    elif settings.optimizer == "adamw":
        yield AdamW(network.parameters(), lr=rate or 1e-3, weight_decay=decay, fused=True)
    else:
        gene_weights: list[dict[str, object]] = [{"params": [network.first.weight], "lr": settings.gene_rate}]
        if network.shortcut is not None:
            l2 = settings.shortcut_l2 / n_train
            own = {"lr": settings.shortcut_rate}
            weights: list[torch.Tensor] = [network.shortcut.weight]
            if network.tissue_shortcut is not None:
                weights.append(network.tissue_shortcut.weight)
            gene_weights += [
                {"params": weights, "weight_decay": l2, **own},
                {"params": [network.shortcut.bias], **own},
            ]
        yield SGD(gene_weights, momentum=0.9, nesterov=True, fused=True)
        yield AdamW(_others(network), lr=rate or 1e-3, weight_decay=decay, fused=True)


def _others(network: CellTypeNetwork) -> list[nn.Parameter]:
    """Return the parameters that belong neither to the first layer's genes nor to the shortcut."""
    reading = {id(network.first.weight)}
    for layer in (network.shortcut, network.tissue_shortcut):
        if layer is not None:
            reading |= {id(parameter) for parameter in layer.parameters()}
    return [parameter for parameter in network.parameters() if id(parameter) not in reading]


def _constant(peak: float) -> Callable[[int], float]:
    return lambda _step: peak


def _warm_up_then_cosine(n_steps: int, peak: float) -> Callable[[int], float]:
    warm_up = max(1, round(WARM_UP * n_steps))

    def factor(step: int) -> float:
        if step < warm_up:
            return peak * (step + 1) / warm_up
        done = min(1.0, (step - warm_up) / max(1, n_steps - warm_up))
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    return factor
