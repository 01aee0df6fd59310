"""Memory that is used again as soon as nobody holds what was in it."""

import math
import weakref
from dataclasses import dataclass

import numpy as np

ROOM_TO_GROW = 1.125
"""Fresh memory is so much larger than asked for: the next batch, a little longer, then fits too."""


@dataclass(slots=True)
class _Slot:
    memory: np.ndarray
    given: weakref.ref[np.ndarray]
    """What was given out last; gone when nobody holds it, a tensor over it included."""


class BufferPool:
    """Gives arrays, in memory that was given before wherever the array from then is gone.

    Fresh pages cost as much as a third of filling them: a CSR batch of 256 cells with 1,900 values each takes 3.7 us a
    cell in fresh memory, 2.3 in memory used before. Nobody has to say that he needs an array no longer, or to copy one
    that he keeps: a queue that still pickles a batch holds it, as does a thread that pins it.

    Parameters
    ----------
    n_kept
        Most arrays whose memory is kept for later. What is held longer than others is left to its holder.
    """

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._slots: list[_Slot] = []

    def empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """Return memory for an array. Whoever keeps a part of it must keep the array itself, as torch does."""
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        slot = next((one for one in self._slots if one.given() is None and len(one.memory) >= n_bytes), None)
        memory = np.empty(int(n_bytes * ROOM_TO_GROW), np.uint8) if slot is None else slot.memory
        array = memory[:n_bytes].view(dtype).reshape(shape)
        if slot is None:
            self._slots = [*self._slots[-(self._n_kept - 1) :], _Slot(memory, weakref.ref(array))]
        else:
            slot.given = weakref.ref(array)
        return array
