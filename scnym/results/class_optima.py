"""Inputs that a network takes for a class: optimised from noise, all classes and restarts as one batch.

D units, G genes, P problems (a class and a restart each), R restarts, S steps that are noted.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from scnym.base.errors import SettingsError
from scnym.base.progress import Task
from scnym.base.settings import MarkerSettings
from scnym.model.inference import SplitNetwork

N_NOTES = 10
"""Losses are noted at the beginning, and so often afterwards."""
FIRST_STEP = 1.0
LONGER, SHORTER = 1.1, 0.5
"""What becomes of a problem's step size after a step that lowered its loss, and after one that did not."""
COUNTS_PER = 1e4
"""Library size in whose counts the penalty is reckoned, whatever the network's own."""
ARRAYS_PER_PROBLEM = 6
"""Vectors over all genes that a problem takes at the same time."""


@dataclass(frozen=True, eq=False)
class ClassOptima:
    """The optimised inputs of one class."""

    code: int
    """Position of the class among the network's outputs."""
    steps_S: np.ndarray
    """Numbers of the steps at which losses were noted."""
    losses_SR: np.ndarray
    """Least loss of every restart up to that step, in nats, penalty included."""
    optima_RG: np.ndarray
    """The input with the least loss of every restart, normalised log counts, float32."""

    @property
    def mean_G(self) -> np.ndarray:
        """Mean over restarts."""
        return self.optima_RG.mean(axis=0)

    @property
    def sd_G(self) -> np.ndarray:
        """Standard deviation over restarts."""
        return self.optima_RG.std(axis=0)

    def agreement_G(self, n_top: int) -> np.ndarray:
        """Share of the restarts that have a gene among their `n_top` highest."""
        n_top = min(n_top, self.optima_RG.shape[1])
        top_RT = np.argpartition(-self.optima_RG, n_top - 1, axis=1)[:, :n_top]
        chosen_RG = np.zeros(self.optima_RG.shape, bool)
        np.put_along_axis(chosen_RG, top_RT, np.take_along_axis(self.optima_RG, top_RT, axis=1) > 0, axis=1)
        return chosen_RG.mean(axis=0)


def optimise_inputs(
    network: SplitNetwork, codes: Sequence[int], settings: MarkerSettings, task: Task
) -> Iterator[ClassOptima]:
    """Find for each class the inputs that minimise -ln(probability of the class) + l1_reg x counts.

    The counts are those of the input, per 10,000: the L1 norm before the logarithm. An L1 norm of the logarithms is
    least for one to three genes at values that no cell can have (`docs/decisions.md`).

    Parameters
    ----------
    network
        The network.
    codes
        Classes; as many at once as fit into the memory that the settings allow.
    settings
        Restarts, steps, penalty, seed, memory.
    task
        Told of every step of every problem.

    Yields
    ------
    ClassOptima
        One for each class, in the order of `codes`.

    Raises
    ------
    SettingsError
        If one class does not fit into the memory.
    """
    at_once = _classes_at_once(len(network.genes), settings)
    for first in range(0, len(codes), at_once):
        yield from _optimise_some(network, codes[first : first + at_once], settings, task)


def _classes_at_once(n_genes: int, settings: MarkerSettings) -> int:
    class_bytes = 4 * ARRAYS_PER_PROBLEM * n_genes * settings.n_restarts
    if class_bytes > settings.memory_bytes:
        raise SettingsError(
            f"{settings.n_restarts:,} restarts of {n_genes:,} genes do not fit into "
            f"{settings.memory_bytes / 1e6:,.0f} MB",
            where="--n_restarts",
            way_out="give fewer",
        )
    return settings.memory_bytes // class_bytes


def _optimise_some(
    network: SplitNetwork, codes: Sequence[int], settings: MarkerSettings, task: Task
) -> Iterator[ClassOptima]:
    n_restarts, shape = settings.n_restarts, (len(codes), settings.n_restarts)
    targets_P = torch.tensor(codes).repeat_interleave(n_restarts)
    # A class begins with the same noise whichever others are asked for.
    noise = [_noise(settings.seed, code, n_restarts, len(network.genes)) for code in codes]
    descent = _Descent(torch.from_numpy(np.concatenate(noise)), highest=math.log1p(network.normalize_to))
    noted, losses_SP = _noted_steps(settings.n_steps), []
    for step in range(settings.n_steps + 1):
        descent.step(*_loss_and_slope(network, descent.point_PG, targets_P, settings.l1_reg))
        if step in noted:
            losses_SP.append(descent.least_loss_P.numpy().copy())
        task.advance(len(targets_P) if step else 0, note=f"mean loss {float(descent.least_loss_P.mean()):.4f}")
    losses_SKR = np.stack(losses_SP).reshape(-1, *shape)
    optima_KRG = descent.best_PG.numpy().reshape(*shape, -1)
    for number, code in enumerate(codes):
        yield ClassOptima(code, np.array(noted), losses_SKR[:, number], optima_KRG[number])


def _noise(seed: int, code: int, n_restarts: int, n_genes: int) -> np.ndarray:
    return np.random.default_rng([seed, code]).random((n_restarts, n_genes), np.float32)


def _noted_steps(n_steps: int) -> list[int]:
    return sorted({round(n_steps * tenth / N_NOTES) for tenth in range(N_NOTES + 1)})


def _loss_and_slope(
    network: SplitNetwork, x_PG: torch.Tensor, targets_P: torch.Tensor, l1_reg: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses, shape (P,), and their gradient with respect to the inputs, shape (P, G)."""

    def surprise(logits_PK: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits_PK, targets_P, reduction="none")

    surprise_P, slope_PD = network.slope(network.units(x_PG), surprise)
    penalty = l1_reg * COUNTS_PER / network.normalize_to
    growth_PG = x_PG.exp()
    loss_P = surprise_P + penalty * (growth_PG.sum(dim=1) - x_PG.shape[1])
    return loss_P, growth_PG.mul_(penalty).addmm_(slope_PD, network.weight_GD.T)


@dataclass(eq=False)
class _Descent:
    """Accelerated projected gradient descent (Beck and Teboulle 2009) of many problems at once.

    Each problem has its own step size, and begins anew from its best point, without momentum, when its loss rises
    (O'Donoghue and Candès 2015).
    """

    point_PG: torch.Tensor
    """Where the next loss and slope are wanted."""
    highest: float
    """Inputs are kept from 0 to this: a cell whose counts are all of one gene."""
    best_PG: torch.Tensor = field(init=False)
    least_loss_P: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.best_PG, self._before_PG = self.point_PG.clone(), self.point_PG.clone()
        n_problems = len(self.point_PG)
        self.least_loss_P = torch.full((n_problems,), math.inf)
        self._step_P = torch.full((n_problems,), FIRST_STEP)
        self._speed_P = torch.ones(n_problems)
        self._back_P = torch.zeros(n_problems, dtype=torch.bool)

    def step(self, loss_P: torch.Tensor, slope_PG: torch.Tensor) -> None:
        """Go on from the point, given what was found there; the slope's memory is used."""
        better_P = loss_P < self.least_loss_P
        self.best_PG[better_P] = self.point_PG[better_P]
        self.least_loss_P = torch.where(better_P, loss_P, self.least_loss_P)
        failed_P = ~better_P & ~self._back_P
        self._step_P *= torch.where(better_P, LONGER, torch.where(failed_P, SHORTER, 1.0))
        self._move(slope_PG)
        self._go_back(failed_P)

    def _move(self, slope_PG: torch.Tensor) -> None:
        faster_P = (1 + (1 + 4 * self._speed_P.square()).sqrt()) / 2
        momentum_P1 = ((self._speed_P - 1) / faster_P)[:, None]
        after_PG = slope_PG.mul_(-self._step_P[:, None]).add_(self.point_PG).clamp_(0, self.highest)
        beyond_PG = self._before_PG.sub_(after_PG).mul_(-momentum_P1).add_(after_PG).clamp_(0, self.highest)
        self.point_PG, self._before_PG, self._speed_P = beyond_PG, after_PG, faster_P

    def _go_back(self, failed_P: torch.Tensor) -> None:
        """Take the problems whose last step failed to their best points; the next loss there decides nothing."""
        self._back_P = failed_P
        if failed_P.any():
            best_FG = self.best_PG[failed_P]
            self.point_PG[failed_P] = best_FG
            self._before_PG[failed_P] = best_FG
            self._speed_P[failed_P] = 1.0
