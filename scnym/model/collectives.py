"""What several processes that train one network tell each other, by torch.distributed: gloo for CPUs, nccl for GPUs.

All of them run the same code on the same settings. The first one writes, and decides where rounding could.

B cells of a share, N numbers, P processes.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from scnym.base.errors import SettingsError, UserError
from scnym.base.launch import Launch

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
        """Give what a share's mean loss counts: averaged over processes, it is then the mean of the whole batch."""
        return self.count * n_own / n_all

    def own_rows(self, n_all: int) -> slice:
        """Give which rows of a batch of so many are in this process's share."""
        return slice(n_all * self.number // self.count, n_all * (self.number + 1) // self.count)

    def from_first(self, make: Callable[[], T]) -> T:
        """Give everyone what the first process makes; the others wait for it, and make nothing."""
        if self.count == 1:
            return make()
        made: list[Any] = [make() if self.is_first else None]
        distributed.broadcast_object_list(made, src=0)
        return made[0]

    def gathered(self, value: T) -> list[T]:
        """Give everyone the values of all processes, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def lengths(self, n: int) -> list[int]:
        """Give everyone the numbers of all processes; faster than `gathered`."""
        lengths_P = torch.zeros(self.count, dtype=torch.int64)
        lengths_P[self.number] = n
        if self.count > 1:
            distributed.all_reduce(lengths_P)
        return lengths_P.tolist()

    def whole(self, own_BN: torch.Tensor, n_all: int) -> torch.Tensor:
        """Give everyone the rows of all shares of a batch, `n_all` in number; gradients find their way back."""
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
    """Give the store by which the processes find each other, with names of its own for each time they join."""
    store, _, _ = next(iter(rendezvous("env://")))
    return PrefixStore(f"scnym/{next(_TIMES_JOINED)}", store)


def _is_told(store: Store) -> bool:
    """Whether the first process has failed, or does so in a short while."""
    try:
        store.wait([FAILED], GRACE)
    except RuntimeError:  # not told in time, or the store is gone
        return False
    return True
