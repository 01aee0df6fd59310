"""Where a stream is: a small dictionary of plain values, which only the stream that made it, made again, will take."""

from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

from scnym.base.errors import DataError, SettingsError, examples

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
