"""The training loop, readable as the algorithm: batch, forward, loss, step; after each epoch, selection.

B cells of a batch, G genes, K classes.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from scnym.base.errors import SettingsError
from scnym.base.progress import Task
from scnym.base.settings import TrainSettings
from scnym.feed.stream import Batch, StreamDataset
from scnym.model.forward import all_logits
from scnym.model.network import CellTypeNetwork
from scnym.model.objective import fit_temperature, training_loss
from scnym.model.optimizers import Optimizers

TOTAL_VARIANCE = 1000.0
"""The input is scaled so that the variances of its genes add up to this: the same rates then fit every data set."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of the log."""

    epoch: int
    train_loss: float
    """Mean cross-entropy per training cell, dropout on, in nats."""
    train_accuracy: float
    selection_loss: float
    """Mean cross-entropy per selection cell, dropout off, in nats."""
    selection_accuracy: float
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


def train(
    network: CellTypeNetwork,
    training: StreamDataset,
    selection: StreamDataset,
    settings: TrainSettings,
    *,
    device: torch.device,
    task: Task,
    after_epoch: Callable[[int], None],
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
    device
        Where to compute.
    task
        Told of every batch.
    after_epoch
        Called with the number of each finished epoch, from 1.

    Raises
    ------
    SettingsError
        If no epoch gave a finite selection loss.
    """
    network.to(device)
    n_epochs = settings.epochs_for(training.plan.n_batches)
    n_steps = n_epochs * training.plan.n_batches
    optimizers = Optimizers(network, settings, n_steps=n_steps, n_train=training.plan.n_draws)
    log: list[EpochRecord] = []
    best_epoch, best_loss, best_weights = 0, float("inf"), {}
    for epoch in range(1, n_epochs + 1):
        record = _one_epoch(network, training, selection, optimizers, settings, epoch, device, task)
        log.append(record)
        task.advance(0, note=f"epoch {epoch} of {n_epochs}, selection loss {record.selection_loss:.3f}")
        if record.selection_loss < best_loss:
            best_epoch, best_loss = epoch, record.selection_loss
            best_weights = copy.deepcopy(network.state_dict())
        after_epoch(epoch)
        if settings.patience and epoch - best_epoch >= settings.patience:
            break
    if not best_epoch:
        raise SettingsError(
            "the loss is not finite in any epoch",
            where="--weight_decay, --optimizer",
            way_out="go back to their defaults",
        )
    network.load_state_dict(best_weights)
    _, labels, logits = all_logits(network, selection, device)
    return TrainingResult(best_epoch=best_epoch, temperature=fit_temperature(logits, labels), log=log)


def _one_epoch(
    network: CellTypeNetwork,
    training: StreamDataset,
    selection: StreamDataset,
    optimizers: Optimizers,
    settings: TrainSettings,
    epoch: int,
    device: torch.device,
    task: Task,
) -> EpochRecord:
    network.train()
    clock = _WaitClock(training.epoch(epoch - 1))
    loss_sum, n_correct, n_cells = 0.0, 0, 0
    started = time.perf_counter()
    for batch in clock:
        logits_BK, shortcut_BK = network.logits_and_shortcut(batch.x.to(device), batch.conditions.to(device))
        labels_B = batch.labels.to(device)
        optimizers.step(training_loss(logits_BK, shortcut_BK, labels_B, settings.shortcut_loss))
        loss_sum += float(functional.cross_entropy(logits_BK.detach(), labels_B)) * len(labels_B)
        n_correct += int((logits_BK.argmax(dim=1) == labels_B).sum())
        n_cells += len(labels_B)
        task.advance(len(labels_B))
    seconds = time.perf_counter() - started
    _, labels, logits = all_logits(network, selection, device)
    return EpochRecord(
        epoch=epoch,
        train_loss=loss_sum / n_cells,
        train_accuracy=n_correct / n_cells,
        selection_loss=float(functional.cross_entropy(logits, labels)),
        selection_accuracy=float((logits.argmax(dim=1) == labels).double().mean()),
        learning_rate=optimizers.rate,
        cells_per_second=n_cells / seconds,
        wait_share=clock.waited / seconds,
    )


def fit_input_scale(network: CellTypeNetwork, training_cells: StreamDataset) -> None:
    """Set the network's input scale in one pass over the training cells, each once in CSR batches, nothing else.

    The scale is sqrt(1000 / sum over genes of the variance): one number, so that genes keep their proportions.
    """
    n_cells, sum_G, square_sum = 0, np.zeros(training_cells.n_genes), 0.0
    for batch in training_cells:
        values, genes = batch.x.values().double().numpy(), batch.x.col_indices().numpy()
        n_cells += len(batch.rows)
        sum_G += np.bincount(genes, weights=values, minlength=len(sum_G))
        square_sum += float(values @ values)
    total_variance = square_sum / n_cells - float(np.square(sum_G / n_cells).sum())
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
