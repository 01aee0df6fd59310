"""The training loop, readable as the algorithm: batch, forward, loss, step; after each epoch, validation.

Where cells are few, the tenth that chose epoch and temperature is missed: a logistic regression loses 0.02 of macro-F1
by it on types of ten cells (`docs/decisions.md`). So `refit` then trains the chosen network on these cells too.

B cells of a batch, C cells, G genes, K classes.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score

from scnym.base.errors import SettingsError
from scnym.base.progress import Task
from scnym.base.settings import TrainSettings
from scnym.feed.batches import Batch
from scnym.feed.stream import StreamDataset
from scnym.model.distributed import ALONE, Processes, reader_of
from scnym.model.inference import all_logits
from scnym.model.losses import Objective, fit_temperature
from scnym.model.network import CellTypeNetwork, Reading
from scnym.model.optimizers import Optimizers


def gene_variances(cells: StreamDataset, processes: Processes = ALONE) -> np.ndarray:
    """Return the variance of every gene over the cells of a stream of CSR batches, each cell once; shape (G,).

    Of several processes each reads every n-th batch.
    """
    n_cells, sum_G, square_G = 0, np.zeros(cells.n_genes), np.zeros(cells.n_genes)
    for batch in cells.epoch(0, worker=processes.number, n_workers=processes.count):
        values, genes = batch.x.values().double().numpy(), batch.x.col_indices().numpy()
        n_cells += len(batch.rows)
        sum_G += np.bincount(genes, weights=values, minlength=len(sum_G))
        square_G += np.bincount(genes, weights=values * values, minlength=len(sum_G))
    n_cells, sum_G, square_G = map(sum, zip(*processes.gathered((n_cells, sum_G, square_G)), strict=True))
    return np.maximum(square_G / n_cells - np.square(sum_G / n_cells), 0)


def most_variable(variances_G: np.ndarray, n_genes: int) -> np.ndarray:
    """Return the positions of the genes that vary most, ascending; of equal ones the first."""
    return np.sort(np.argsort(-variances_G, kind="stable")[:n_genes])


KEY = 1
"""Distinguishes the random numbers of mixup here from those of the first training."""


def refit(
    network: CellTypeNetwork,
    cells: StreamDataset,
    settings: TrainSettings,
    *,
    objective: Objective,
    n_epochs: int,
    device: torch.device,
    task: Task,
    processes: Processes = ALONE,
) -> None:
    """Train on, in place; the last weights stay, or those from before if these are not finite.

    Parameters
    ----------
    network
        As training left it.
    cells
        Shuffled batches of training and selection cells.
    settings
        Optimiser, rates.
    objective
        What is minimised.
    n_epochs
        Passes over the cells.
    device
        Where to compute.
    task
        Told of every batch.
    processes
        Who trains together.
    """
    before = copy.deepcopy(network.state_dict())
    optimizers = Optimizers(
        network,
        settings,
        n_steps=n_epochs * cells.plan.n_batches,
        n_train=cells.plan.n_draws,
        peak=settings.refit_rate,
    )
    read = reader_of(network.train(), processes)
    for epoch in range(n_epochs):
        for number, batch in enumerate(cells.epoch(epoch, share=processes.share)):
            key = (settings.seed, KEY, epoch, number)
            _, _, loss = objective.of_batch(network, read, batch, batch.labels.to(device), key)
            optimizers.step(loss)
            task.advance(batch.whole_size)
    if not all(torch.isfinite(weights).all() for weights in network.state_dict().values()):
        network.load_state_dict(before)
    network.eval()


TOTAL_VARIANCE = 1000.0
"""The input is scaled so that the variances of its genes add up to this: the same rates then fit every data set."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of the log."""

    epoch: int
    train_loss: float
    """Mean cross-entropy per training cell (`Objective`), dropout on, in nats."""
    train_accuracy: float
    selection_loss: float
    """The same per selection cell, dropout off."""
    selection_accuracy: float
    selection_macro_f1: float
    """Mean F1 over the classes that occur among the selection cells or their predictions."""
    learning_rate: float
    cells_per_second: float
    wait_share: float
    """Share of the time spent waiting for batches."""


@dataclass(kw_only=True)
class TrainingResult:
    """What training gave; the network holds the best epoch's weights."""

    best_epoch: int
    temperature: float
    log: list[EpochRecord] = field(default_factory=list)


class Course:
    """How far a training has come: all that going on needs.

    Parameters
    ----------
    network, optimizers
        What is trained, and by what.
    device
        Where, which decides whose random numbers count.
    """

    def __init__(self, network: CellTypeNetwork, optimizers: Optimizers, device: torch.device) -> None:
        self._network, self._optimizers, self._device = network, optimizers, device
        self.log: list[EpochRecord] = []
        self.best_epoch, self.best_loss = 0, float("inf")
        self.best_weights: dict[str, torch.Tensor] = {}

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.log)

    def take(self, record: EpochRecord) -> None:
        """Note an epoch, and keep its weights if it is the best so far."""
        self.log.append(record)
        if record.selection_loss < self.best_loss:
            self.best_epoch, self.best_loss = record.epoch, record.selection_loss
            self.best_weights = copy.deepcopy(self._network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values; good until training goes on."""
        return {
            "network": self._network.state_dict(),
            **self._optimizers.state_dict(),
            "log": [asdict(record) for record in self.log],
            "best": (self.best_epoch, self.best_loss, self.best_weights),
            "random": _random_states(self._device),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, to the bit as if nothing had happened."""
        self._network.load_state_dict(state["network"])
        self._optimizers.load_state_dict(state)
        self.log = [EpochRecord(**record) for record in state["log"]]
        self.best_epoch, self.best_loss, self.best_weights = state["best"]
        for name, random_state in state["random"].items():
            _random_module(name).set_rng_state(random_state)


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of the random numbers that dropout draws."""
    return {name: _random_module(name).get_rng_state() for name in {"cpu", device.type}}


def _random_module(name: str) -> Any:
    return torch.random if name == "cpu" else getattr(torch, name)


def train(
    network: CellTypeNetwork,
    training: StreamDataset,
    selection: StreamDataset,
    settings: TrainSettings,
    *,
    objective: Objective,
    device: torch.device,
    task: Task,
    after_epoch: Callable[[Course], None],
    earlier: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
) -> TrainingResult:
    """Train, and leave the weights of the epoch with the least selection loss in the network.

    Parameters
    ----------
    network
        Trained in place.
    training
        Shuffled batches; an epoch of it is an epoch of training.
    selection
        Other cells, in order; they choose the epoch and the temperature.
    settings
        Epochs, optimiser, rates, patience.
    objective
        What is minimised.
    device
        Where to compute.
    task
        Told of every batch.
    after_epoch
        Called after each epoch with how far training has come.
    earlier
        State of an earlier course, `Course.state_dict`, to go on from.
    processes
        Who trains together, each on its share of every batch; what is found out is the same for all.

    Raises
    ------
    SettingsError
        If no epoch gave a finite selection loss.
    """
    network.to(device)
    n_epochs = settings.epochs_for(training.plan.n_batches)
    n_steps = n_epochs * training.plan.n_batches
    optimizers = Optimizers(network, settings, n_steps=n_steps, n_train=training.plan.n_draws)
    course = Course(network, optimizers, device)
    if earlier is not None:
        course.load_state_dict(earlier)
        task.advance(course.epoch * training.plan.n_draws)
    read = reader_of(network, processes)
    for epoch in range(course.epoch + 1, n_epochs + 1):
        if settings.patience and course.epoch - course.best_epoch >= settings.patience:
            break
        key = (settings.seed, epoch)
        walked = _one_epoch(
            network, read, training, optimizers, objective, key, device=device, task=task, processes=processes
        )
        said = all_logits(network, selection, device, processes)
        record = processes.from_first(partial(_record, epoch, walked, objective, *said, optimizers.rate))
        del said  # of a large selection the largest array of all
        course.take(record)
        task.advance(0, note=f"epoch {epoch} of {n_epochs}, selection loss {record.selection_loss:.3f}")
        after_epoch(course)
    if not course.best_epoch:
        raise SettingsError(
            "the loss is not finite in any epoch",
            where="--weight_decay, --optimizer",
            way_out="go back to their defaults",
        )
    network.load_state_dict(course.best_weights)
    best_epoch, log = course.best_epoch, course.log
    # The best weights, what the optimizers keep and the gradients are each as large as the network.
    del course, optimizers
    network.zero_grad()
    labels, logits = all_logits(network, selection, device, processes)
    temperature = processes.from_first(partial(fit_temperature, logits, labels))
    return TrainingResult(best_epoch=best_epoch, temperature=temperature, log=log)


@dataclass(frozen=True, kw_only=True)
class _Walked:
    """What an epoch of training gave, over the cells of all processes."""

    loss_sum: float
    n_correct: int
    n_cells: int
    seconds: float
    waited_s: float


def _one_epoch(
    network: CellTypeNetwork,
    read: Reading,
    training: StreamDataset,
    optimizers: Optimizers,
    objective: Objective,
    key: tuple[int, int],
    *,
    device: torch.device,
    task: Task,
    processes: Processes,
) -> _Walked:
    _, epoch = key
    network.train()
    clock = _WaitClock(training.epoch(epoch - 1, share=processes.share))
    loss_sum, n_correct, n_cells = 0.0, 0, 0
    started = time.perf_counter()
    for number, batch in enumerate(clock):
        labels_B = batch.labels.to(device)
        logits_BK, own_loss, loss = objective.of_batch(network, read, batch, labels_B, (*key, number))
        optimizers.step(loss)
        loss_sum += own_loss * len(labels_B)
        n_correct += int((logits_BK.argmax(dim=1) == labels_B).sum())
        n_cells += len(labels_B)
        task.advance(batch.whole_size)
    seconds = time.perf_counter() - started
    sums = map(sum, zip(*processes.gathered((loss_sum, n_correct, n_cells)), strict=True))
    loss_sum, n_correct, n_cells = sums
    return _Walked(loss_sum=loss_sum, n_correct=n_correct, n_cells=n_cells, seconds=seconds, waited_s=clock.waited)


def _record(
    epoch: int,
    walked: _Walked,
    objective: Objective,
    labels_B: torch.Tensor,
    logits_BK: torch.Tensor,
    learning_rate: float,
) -> EpochRecord:
    predicted_B = logits_BK.argmax(dim=1)
    return EpochRecord(
        epoch=epoch,
        train_loss=walked.loss_sum / walked.n_cells,
        train_accuracy=walked.n_correct / walked.n_cells,
        selection_loss=float(objective.of_logits(logits_BK, labels_B)),
        selection_accuracy=float((predicted_B == labels_B).double().mean()),
        selection_macro_f1=float(f1_score(labels_B, predicted_B, average="macro")),
        learning_rate=learning_rate,
        cells_per_second=walked.n_cells / walked.seconds,
        wait_share=walked.waited_s / walked.seconds,
    )


def fit_input_scale(network: CellTypeNetwork, variances_G: np.ndarray) -> None:
    """Set the network's input scale from the variance of each gene it reads, over the training cells and no others.

    The scale is sqrt(1000 / sum over genes of the variance): one number, so that genes keep their proportions.
    """
    total_variance = float(variances_G.sum())
    if total_variance > 0:
        network.input_scale.fill_((TOTAL_VARIANCE / total_variance) ** 0.5)


class _WaitClock:
    """Passes batches through and adds up how long each was waited for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.waited = 0.0
        """Seconds."""

    def __iter__(self) -> Iterator[Batch]:
        while True:
            asked = time.perf_counter()
            batch = next(self._batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch
