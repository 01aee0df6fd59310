"""Which epoch a pass over a stream is: counted in memory that the main process and all workers share.

torch tells a worker its number and a seed, but not which pass over the loader it is in, and a worker may be ended
before it has begun one. Counted by each for itself, epochs would differ then, and the batches of a pass be of two.

N places for marks.
"""

import torch
from torch.utils.data import get_worker_info

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
        self._marks_N = torch.zeros(N_PLACES + 1, dtype=torch.int64).share_memory_()
        self._shift = torch.tensor([-1]).share_memory_()
        """What makes the epoch of a pass of its number; the first is number 1."""
        self._first_batch = torch.tensor([0]).share_memory_()
        """With which batch the first pass begins."""
        self._n_asked = 0

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
