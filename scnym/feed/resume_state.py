"""Where a stream is: a small dictionary of plain values, from which the same stream resumes in the middle of an epoch.

torch tells a worker its number and a seed, but not the epoch, and a worker may end before it has begun one. So the
epoch is counted in memory that the main process and all workers share.

N places for marks.
"""

from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import torch
from torch.utils.data import get_worker_info

from scnym.base.errors import DataError, SettingsError, examples

N_PLACES = 1024
"""Places for the marks of workers; that of the main process is behind them."""
SERIAL_BITS = 32
SERIAL = (1 << SERIAL_BITS) - 1
"""The part of a mark that is the number of the pass; above it is the key of the pass, the same for all its workers."""


class Passes:
    """Numbers the passes over a stream, of which each is the next epoch.

    A worker leaves a mark with the number of its pass, and the others of the same pass take over what they find. They
    know each other by the loader's seed, which torch draws for every set of workers, their count, and how often they
    have been asked before. A mark is one number, so that it is written at once: nobody waits for anybody.
    """

    def __init__(self) -> None:
        self._shared = torch.zeros(N_PLACES + 3, dtype=torch.int64).share_memory_()
        """Marks, and behind them what `_shift` and `_first_batch` give."""
        self._n_asked = 0
        self.reset(0)

    @property
    def _marks_N(self) -> torch.Tensor:
        return self._shared[: N_PLACES + 1]

    @property
    def _shift(self) -> torch.Tensor:
        """What makes the epoch of a pass of its number; the first is number 1."""
        return self._shared[-2]

    @property
    def _first_batch(self) -> torch.Tensor:
        """With which batch the first pass begins."""
        return self._shared[-1]

    def reset(self, epoch: int, batch: int = 0) -> None:
        """Make an epoch the next one, from one of its batches on."""
        self._shift.fill_(epoch - 1)
        self._first_batch.fill_(batch)
        self._marks_N.zero_()

    def begin(self, epoch: int | None = None) -> tuple[int, int]:
        """Begin a pass; return its epoch, and the first batch that is wanted of it.

        Parameters
        ----------
        epoch
            With which epoch workers were told to go on, all those of the pass; None for the next.
        """
        key, place = self._key_and_place()
        marks = self._marks_N.tolist()
        mine = marks[place] & SERIAL if marks[place] >> SERIAL_BITS == key else 0
        found = max((mark & SERIAL for mark in marks if mark >> SERIAL_BITS == key), default=0)
        # A seed that was set anew gives the key of an earlier pass again: what is found is of this one if it is later.
        serial = found if found > mine else 1 + max(mark & SERIAL for mark in marks)
        self._marks_N[place] = key << SERIAL_BITS | serial
        if epoch is not None:
            self._shift.fill_(epoch - serial)
        return serial + int(self._shift), int(self._first_batch) if serial == 1 else 0

    @property
    def is_elsewhere(self) -> bool:
        """Whether the latest pass was begun by workers."""
        serials = (self._marks_N & SERIAL).tolist()
        return max(serials) > serials[-1]

    def _key_and_place(self) -> tuple[int, int]:
        """Return what tells the passes of several sets of workers apart, and where this process leaves its marks."""
        worker = get_worker_info()
        if worker is None:
            return 0, N_PLACES
        self._n_asked += 1
        key = hash((worker.seed - worker.id, worker.num_workers, self._n_asked)) & (2**31 - 1) or 1
        return key, worker.seed % N_PLACES


def this_worker() -> tuple[int, int] | None:
    """Return number and count of the workers of a DataLoader, if this process is one."""
    worker = get_worker_info()
    return None if worker is None else (worker.id, worker.num_workers)


STATE_VERSION = 1
DATA_FIELDS = {"store", "library_sizes", "gene_tables", "genes", "cells", "rows", "labels", "conditions"}
"""Fields of the identity that tell of data; the others tell of settings."""


class StreamState(TypedDict):
    """The next batch of a stream, and all that decides what is in it. Can be written as JSON."""

    version: int
    epoch: int
    batch: int
    """Number of the batch that comes next in the epoch; of a worker, the one that it gives next."""
    identity: dict[str, Any]
    worker: NotRequired[list[int]]
    """Number and count of the workers of a DataLoader, in the state of one of them."""


def checked(
    state: StreamState, identity: dict[str, Any], *, n_batches: int, worker: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Return epoch and batch of a state, if it is of a stream with this identity.

    Parameters
    ----------
    state
        What `StreamDataset.state_dict` gave.
    identity, n_batches
        What is in the stream, and how many batches an epoch has.
    worker
        Number and count of the workers, where this process is one.

    Raises
    ------
    DataError
        If it is of another store, other genes, cells or labels; or is no state.
    SettingsError
        If it is of a stream with other settings, or of another worker.
    """
    try:
        version, theirs = state["version"], dict(state["identity"])
        epoch, batch = int(state["epoch"]), int(state["batch"])
        number, count = state.get("worker") or (0, 0)
        their_worker = int(number), int(count)
    except (KeyError, TypeError, ValueError) as fault:
        raise DataError("not the state of a stream", way_out="give what state_dict() gave") from fault
    if version != STATE_VERSION:
        raise DataError(f"a stream's state of version {version}", way_out=f"make one of version {STATE_VERSION}")
    different = [name for name in {**identity, **theirs} if identity.get(name) != theirs.get(name)]
    data = [name for name in different if name in DATA_FIELDS]
    if data:
        raise DataError(f"the state is of another stream: different {_listed(data)}", way_out="start a new epoch")
    if different:
        said = (f"{name} {theirs.get(name)!r}, now {identity.get(name)!r}" for name in different)
        raise SettingsError(f"the state is of another stream: {'; '.join(said)}", way_out="go back to its settings")
    if their_worker not in ((0, 0), worker):
        here = "no worker" if worker is None else f"worker {worker[0]} of {worker[1]}"
        raise SettingsError(
            f"the state is of worker {number} of {count}, and this is {here}",
            where="num_workers",
            way_out="go on with as many as before; what stream.state_after(epoch, n_batches) gives suits any number",
        )
    if epoch < 0 or not 0 <= batch <= n_batches:
        raise DataError(f"there is no batch {batch} of epoch {epoch}", way_out="give what state_dict() gave")
    return epoch, batch


def _listed(names: Iterable[str]) -> str:
    return examples(names).replace("'", "")
