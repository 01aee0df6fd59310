"""A second, shorter training of the chosen network, on training and selection cells together.

Where cells are few, the tenth that chose epoch and temperature is missed: a logistic regression loses 0.02 of macro-F1
by it on types of ten cells (`docs/decisions.md`). So once both are chosen, the network learns from these cells as well.

"""

import copy

import torch

from scnym.base.progress import Task
from scnym.base.settings import TrainSettings
from scnym.feed.stream import StreamDataset
from scnym.model.collectives import ALONE, Processes
from scnym.model.network import CellTypeNetwork
from scnym.model.objective import Objective
from scnym.model.optimizers import Optimizers
from scnym.model.parallel import reader_of

KEY = 1
"""Tells the random numbers of mixup here from those of the first training."""


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
