"""One network trained by several processes, as one process would train it on the whole batch (torch.distributed).

All processes run the same code on the same settings. The first one writes, and decides where rounding could differ.
Gradients are averaged by DistributedDataParallel. Batch statistics are those of the whole batch, and so are the masks
of dropout: every process draws the mask of the whole batch from the same random numbers, and takes its own part.
(`torch.nn.SyncBatchNorm` works on CUDA only.)

B cells of a share, H hidden units, N numbers, P processes.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from scnym.base.errors import SettingsError, UserError
from scnym.base.workers import Launch
from scnym.model.network import CellTypeNetwork, Reading

T = TypeVar("T")
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
LONGEST_WAIT = timedelta(days=2)
"""For what the first process does alone, such as a conversion. Of a process that has died torchrun knows at once."""
GRACE = timedelta(seconds=20)
"""How long a process that has failed waits to hear that the first one has too, and then for that one to say why."""
FAILED = "the first process has failed"
_TIMES_JOINED = count()


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen by one of them. Alone, it waits for nobody."""

    number: int = 0
    """Of this process."""
    count: int = 1
    """Of all."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.number == 0

    @property
    def share(self) -> tuple[int, int]:
        """Number and count, as a stream takes them."""
        return self.number, self.count

    def weight(self, n_own: int, n_all: int) -> float:
        """Return what a share's mean loss counts: averaged over processes, it is then the mean of the whole batch."""
        return self.count * n_own / n_all

    def own_rows(self, n_all: int) -> slice:
        """Return which rows of a batch of so many are in this process's share."""
        return slice(n_all * self.number // self.count, n_all * (self.number + 1) // self.count)

    def from_first(self, make: Callable[[], T]) -> T:
        """Return everyone what the first process makes; the others wait for it, and make nothing."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.is_first else None]
        distributed.broadcast_object_list(made, src=0)
        return made[0]

    def gathered(self, value: T) -> list[T]:
        """Return everyone the values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def lengths(self, n: int) -> list[int]:
        """Return everyone the numbers of all processes; faster than `gathered`."""
        lengths_P = torch.zeros(self.count, dtype=torch.int64)
        lengths_P[self.number] = n
        if self.count > 1:
            distributed.all_reduce(lengths_P)
        return lengths_P.tolist()

    def whole(self, own_BN: torch.Tensor, n_all: int) -> torch.Tensor:
        """Return everyone the rows of all shares of a batch, `n_all` in number; gradients find their way back."""
        if self.count == 1:
            return own_BN
        rows_BN = own_BN.new_zeros(n_all, *own_BN.shape[1:])
        rows_BN[self.own_rows(n_all)] = own_BN
        summed: Any = _Sum.apply(rows_BN)
        return summed


ALONE = Processes()


class _Sum(torch.autograd.Function):
    """The sum over all processes, and of their gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        del ctx
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        del ctx
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun has started while the block runs; nothing but `ALONE` if it has not.

    All leave together. If the first one fails, its error is everyone's end, and the others say nothing.

    Parameters
    ----------
    device
        Where the network is trained; of several GPUs of a machine each process takes its own.

    Raises
    ------
    SettingsError
        If the device is of a kind that cannot be shared.
    UserError
        If there are fewer GPUs than processes on this machine.
    """
    launch = Launch.of(os.environ)
    if launch.count == 1:
        yield ALONE
        return
    _take_own(device, launch)
    processes, store = Processes(launch.number, launch.count), _common_store()
    distributed.init_process_group(
        BACKENDS[device.type], store=store, rank=launch.number, world_size=launch.count, timeout=LONGEST_WAIT
    )
    try:
        yield processes
        processes.lengths(0)
    except BaseException:
        if processes.is_first:
            store.set(FAILED, "")
        elif _is_told(store):
            time.sleep(GRACE.total_seconds())  # torchrun ends all as soon as one ends, and the first has yet to say why
            raise SystemExit(1) from None
        raise
    finally:
        distributed.destroy_process_group()


def _take_own(device: torch.device, launch: Launch) -> None:
    if device.type not in BACKENDS:
        raise SettingsError(
            f"several processes cannot train on {device.type}",
            where="--device",
            way_out="give --device cpu",
            mend={"--device": "cpu"},
        )
    if device.type == "cuda":
        if launch.number_here >= torch.cuda.device_count():
            # No SettingsError: of those only the first process of a machine tells, which does have a GPU.
            raise UserError(
                f"more processes than the {torch.cuda.device_count()} GPUs of this machine",
                where="--nproc_per_node",
                way_out="start one for each GPU, or give --device cpu",
            )
        torch.cuda.set_device(launch.number_here)


def _common_store() -> Store:
    """Return the store by which the processes find each other, with names of its own for each time they join."""
    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore(f"scnym/{next(_TIMES_JOINED)}", store)


def _is_told(store: Store) -> bool:
    """Whether the first process has failed, or does so in a short while."""
    try:
        store.wait([FAILED], GRACE)
    except RuntimeError:  # not told in time, or the store is gone
        return False
    return True


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the shares of all processes; takes over the weights and statistics of another.

    Parameters
    ----------
    like
        Whose place it takes.
    processes
        Who has the other shares.
    """

    def __init__(self, like: nn.BatchNorm1d, processes: Processes) -> None:
        super().__init__(like.num_features, eps=like.eps, momentum=like.momentum)
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self._processes = processes

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - so the class before has named it
        """Map (B, H) to (B, H)."""
        if not self.training:
            return super().forward(input)
        x_BH = input.to(self.weight.dtype)  # in bfloat16, on GPUs, neither moments nor numbers of cells would be exact
        n_cells, mean_H, variance_H = self._moments(x_BH)
        self._track(n_cells, mean_H.detach(), variance_H.detach())
        return (x_BH - mean_H) * (variance_H + self.eps).rsqrt() * self.weight + self.bias

    def _moments(self, x_BH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return cells, mean and variance of the whole batch from those of the shares (Chan et al. 1979)."""
        own_mean_H = x_BH.mean(dim=0)
        own = (x_BH.new_tensor([len(x_BH)]), own_mean_H, (x_BH - own_mean_H).square().sum(dim=0))
        all_PN = self._processes.whole(torch.cat(own)[None], self._processes.count)
        sizes_P1, means_PH, squares_PH = all_PN.split([len(part) for part in own], dim=1)
        n_cells = sizes_P1.sum()
        mean_H = (sizes_P1 * means_PH).sum(dim=0) / n_cells
        squares_H = (squares_PH + sizes_P1 * (means_PH - mean_H).square()).sum(dim=0)
        return n_cells, mean_H, squares_H / n_cells

    @torch.no_grad()
    def _track(self, n_cells: torch.Tensor, mean_H: torch.Tensor, variance_H: torch.Tensor) -> None:
        unbiased_H = variance_H * n_cells / (n_cells - 1).clamp(min=1)
        for running_H, now_H in ((self.running_mean, mean_H), (self.running_var, unbiased_H)):
            if running_H is not None and self.momentum is not None:
                running_H.lerp_(now_H, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


class SharedDropout(nn.Dropout):
    """Dropout with this process's part of the mask that one process would draw for the whole batch.

    Parameters
    ----------
    like
        Whose place it takes.
    processes
        Who has the other parts, before and behind, along the first axis.
    """

    def __init__(self, like: nn.Dropout, processes: Processes) -> None:
        super().__init__(like.p)
        self._processes = processes

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - so the class before has named it
        """Set some numbers to zero, and make the others so much larger."""
        if not self.training or not self.p:
            return input
        lengths = self._processes.lengths(len(input))
        before = sum(lengths[: self._processes.number])
        mask = functional.dropout(input.new_ones(sum(lengths), *input.shape[1:]), self.p)
        return input * mask[before : before + len(input)]


class _Reader(nn.Module):
    """Returns what training needs of a network by `forward`, which is what DistributedDataParallel knows."""

    def __init__(self, network: CellTypeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BG: torch.Tensor, tissues_B: torch.Tensor) -> list[torch.Tensor]:
        return self.network.path_logits(x_BG, tissues_B)


def reader_of(network: CellTypeNetwork, processes: Processes) -> Reading:
    """Return what reads batches for training; its gradients are those of the whole batch, on all processes.

    Parameters
    ----------
    network
        On its device. If there are several processes, its layers are replaced in place by ones that share.
    processes
        Who trains it together.
    """
    if processes.count == 1:
        return network.path_logits
    _share_layers(network, processes)
    for weight in network.parameters():
        weight.requires_grad_(weight.numel() > 0)  # the gradient of each is waited for; empty ones have none
    with warnings.catch_warnings():
        # Torch has begun to call this option by another name, which older versions do not know.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(_Reader(network), broadcast_buffers=False, gradient_as_bucket_view=True)


def _share_layers(module: nn.Module, processes: Processes) -> None:
    shared = {nn.BatchNorm1d: SharedBatchNorm, nn.Dropout: SharedDropout}
    for name, layer in module.named_children():
        if type(layer) in shared:
            setattr(module, name, shared[type(layer)](layer, processes).train(layer.training))
        else:
            _share_layers(layer, processes)
