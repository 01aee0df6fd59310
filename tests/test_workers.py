"""A DataLoader with workers gives whole epochs of the cells that its batches name, whatever begins, stops or fails."""

import copy
import json
import pickle
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import ln_cpm, telling_adata, telling_counts, write_h5ad
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data._utils import worker as torch_worker

from cli.group import StoppedError
from scnym import Store, StreamDataset, StreamSettings, convert, in_order_stream, training_stream
from scnym.base.errors import BusyError, ScnymError, SettingsError
from scnym.feed.resume_state import StreamState

N_CELLS = 200
SMALL = StreamSettings(batch_size=7, window_rows=32, block_rows=4, class_balance="uniform")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:This DataLoader will create:UserWarning",  # more workers than cores
        "ignore:.*use of fork:DeprecationWarning",
        "ignore:Sparse invariant checks:UserWarning",  # of torch, which takes CSR batches out of the queue
    ),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    return convert([write_h5ad(folder / "cells.h5ad", telling_adata(N_CELLS))], folder / "cells.zarr")


def make_stream(path: Path) -> StreamDataset:
    store = Store(path)
    return training_stream(store, np.arange(N_CELLS) % 3, store.datasets[0].genes, SMALL, layout="csr")


@cache
def epochs_of(path: Path, n: int = 6) -> list[list[list[int]]]:
    """Rows of the batches of each epoch, as one process gives them."""
    stream = make_stream(path)
    return [[batch.rows.tolist() for batch in stream.epoch(epoch)] for epoch in range(n)]


@contextmanager
def as_worker(number: int, count: int, seed: int) -> Iterator[None]:
    """Let this process be a worker of a DataLoader."""
    info: Any = SimpleNamespace(id=number, num_workers=count, seed=seed + number)
    torch_worker._worker_info = info
    try:
        yield
    finally:
        torch_worker._worker_info = None


class Crew:
    """What the workers of a DataLoader do for one pass, in this process; each has a copy that shares memory.

    With `states`, they go on as those of torchdata's StatefulDataLoader do. Workers that are not in `begun` are ended
    before they ask for anything.
    """

    def __init__(
        self,
        stream: StreamDataset,
        count: int,
        seed: int,
        *,
        states: dict[int, StreamState] | None = None,
        begun: Sequence[int] | None = None,
        turn: int = 0,
    ) -> None:
        self.count, self.seed, self.turn = count, seed, turn
        self.copies = [copy.copy(stream) for _ in range(count)]
        for one in self.copies:
            one._passes = copy.copy(stream._passes)
        self.states: dict[int, StreamState] = {}
        self.batches: dict[int, Iterator[Any]] = {}
        for number, one in enumerate(self.copies):
            with as_worker(number, count, seed):
                if states is not None:
                    one.load_state_dict(json.loads(json.dumps(states[number])))
        self.begin(range(count) if begun is None else begun)

    def begin(self, begun: Sequence[int]) -> None:
        """Ask workers for the next pass, the last one first."""
        for number in sorted(begun, reverse=True):
            with as_worker(number, self.count, self.seed):
                self.batches[number] = iter(self.copies[number])
                self.states[number] = self.copies[number].state_dict()

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of the batches, worker after worker, from the one whose turn it is; some end before others."""
        turns = islice(cycle(range(self.count)), self.turn, None)
        while self.batches:
            number = next(turns)
            if number not in self.batches:
                continue
            with as_worker(number, self.count, self.seed):
                batch = next(self.batches[number], None)
                self.states[number] = self.copies[number].state_dict()
            if batch is None:
                del self.batches[number]
            else:
                yield batch.rows.tolist()


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 5), n_before=st.integers(0, 29), n_epochs_before=st.integers(0, 2), seed=st.integers(0, 9))
def test_what_each_worker_says_of_itself_gives_the_rest_of_the_epoch_once_and_whole_epochs_after_it(
    path: Path, count: int, n_before: int, n_epochs_before: int, seed: int
):
    wanted, stream = epochs_of(path), make_stream(path)
    for number in range(n_epochs_before):
        assert list(Crew(stream, count, seed + number)) == wanted[number]
    first = Crew(stream, count, 100)
    before = list(islice(first, n_before))
    for other in (make_stream(path), stream):  # a new process, and the one that went on meanwhile
        again = Crew(other, count, 100, states=first.states, turn=n_before % count)
        assert before + list(again) == wanted[n_epochs_before]
        assert list(Crew(other, count, 200)) == wanted[n_epochs_before + 1]
        again.turn = 0
        again.begin(range(count))  # workers that persist
        assert list(again) == wanted[n_epochs_before + 2]


def test_workers_that_were_at_the_end_of_an_epoch_begin_the_next(path: Path):
    wanted, first = epochs_of(path), Crew(make_stream(path), 3, 1)
    assert list(first) == wanted[0]
    other = make_stream(path)
    assert list(Crew(other, 3, 1, states=first.states)) == []
    assert list(Crew(other, 3, 2)) == wanted[1]


@pytest.mark.parametrize("count", [1, 3])
def test_the_states_of_workers_are_refused_by_another_number_of_them_with_the_way_out(path: Path, count: int):
    states = Crew(make_stream(path), 2, 1).states
    with pytest.raises(SettingsError, match=r"worker 0 of 2, and this is worker 0 of .*stream\.state_after"):
        Crew(make_stream(path), count, 2, states=states)
    with pytest.raises(SettingsError, match=r"worker 1 of 2, and this is worker 0 of 2"):
        Crew(make_stream(path), 2, 2, states={0: states[1], 1: states[0]})
    with pytest.raises(SettingsError, match=r"worker 1 of 2, and this is no worker"):
        make_stream(path).load_state_dict(states[1])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_state_of_one_process_serves_each_of_any_number_of_workers(path: Path, count: int):
    wanted = epochs_of(path)
    stream, state = make_stream(path), make_stream(path).state_after(2, 5)
    assert list(Crew(stream, count, 1, states=dict.fromkeys(range(count), state))) == wanted[2][5:]
    assert list(Crew(stream, count, 2)) == wanted[3]
    stream.load_state_dict(state)
    assert list(Crew(stream, count, 3)) == wanted[2][5:]


def test_the_process_that_takes_batches_of_workers_is_told_how_to_ask_for_its_state(path: Path):
    stream = make_stream(path)
    crew = Crew(stream, 2, 1)
    assert next(iter(crew))
    with pytest.raises(SettingsError, match=r"how many of them were taken .*stream\.state_after\(epoch, n_batches\)"):
        stream.state_dict()
    stream.load_state_dict(stream.state_after(1, 3))
    assert stream.state_dict() == stream.state_after(1, 3)
    assert next(iter(stream)).rows.tolist() == epochs_of(path)[1][3]
    assert stream.state_dict() == stream.state_after(1, 4)


@pytest.mark.parametrize("begun", [[], [0], [1], [0, 2]])
def test_workers_that_end_before_they_begin_leave_the_next_epoch_whole(path: Path, begun: list[int]):
    wanted, stream = epochs_of(path), make_stream(path)
    Crew(stream, 3, 1, begun=begun)
    assert list(Crew(stream, 3, 2)) == wanted[1 if begun else 0]


def test_every_pass_is_the_next_epoch_whoever_makes_it(path: Path):
    wanted, stream = epochs_of(path), make_stream(path)
    assert next(iter(stream)).rows.tolist() == wanted[0][0]  # a look at the first batch
    assert list(Crew(stream, 2, 1)) == wanted[1]
    assert list(Crew(stream, 4, 2)) == wanted[2]
    assert [batch.rows.tolist() for batch in stream] == wanted[3]
    assert list(Crew(stream, 1, 3)) == wanted[4]
    stream.set_epoch(2)
    assert list(Crew(stream, 3, 4)) == wanted[2]


def test_a_seed_that_is_set_anew_for_every_pass_gives_new_epochs_all_the_same(path: Path):
    wanted, stream = epochs_of(path), make_stream(path)
    assert [list(Crew(stream, count, 0)) for count in (2, 2, 4, 2, 4)] == wanted[:5]


def test_two_loaders_at_once_give_whole_epochs_each(path: Path):
    wanted, stream = epochs_of(path), make_stream(path)
    one, two = Crew(stream, 3, 1, begun=[]), Crew(stream, 3, 500, begun=[])
    for number in (0, 1, 2):
        one.begin([number])
        two.begin([number])
    assert [list(one), list(two)] == wanted[:2]


def test_a_pass_of_which_no_batch_is_asked_for_is_none(path: Path):
    stream = make_stream(path)
    for _ in range(3):
        iter(stream)
    assert [batch.rows.tolist() for batch in stream] == epochs_of(path, 1)[0]


LARGE = 4000
"""Genes: a batch that takes as long to be sent as the next to be made."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    return convert([write_h5ad(folder / "cells.h5ad", telling_adata(600, LARGE))], folder / "cells.zarr")


def assert_whole(batches: Sequence[Any], n_times: int = 1) -> None:
    """Check that batches hold the cells that they name, and each cell so many times."""
    wanted_CG, codes_C = ln_cpm(telling_counts(600, LARGE)).astype(np.float32), np.arange(600) % 3
    for batch in batches:
        np.testing.assert_allclose(batch.x.to_dense().numpy(), wanted_CG[batch.rows], rtol=1e-5)
        np.testing.assert_array_equal(batch.labels.numpy(), codes_C[batch.rows])
    assert sorted(np.concatenate([batch.rows for batch in batches])) == sorted(n_times * list(range(600)))


def large_stream(path: Path, layout: Any, *, shuffled: bool) -> StreamDataset:
    store, codes = Store(path), np.arange(600) % 3
    genes, sizes = store.datasets[0].genes, StreamSettings(batch_size=60, window_rows=300)
    if shuffled:
        return training_stream(store, codes, genes, sizes, layout=layout)
    return in_order_stream(store, np.arange(600), genes, sizes, codes, layout=layout)


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_batches_that_are_kept_hold_the_cells_that_they_name(large: Path, layout: str, shuffled: bool):
    stream = large_stream(large, layout, shuffled=shuffled)
    assert_whole(list(stream))
    assert_whole([*stream.epoch(0, share=(0, 2)), *stream.epoch(0, share=(1, 2))])
    assert_whole(list(DataLoader(stream, batch_size=None)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "n_workers", "persistent", "prefetch", "pause_s", "shuffled"),
    [
        ("dense", 1, False, 6, 0.02, True),
        ("dense", 2, True, 2, 0, False),
        ("dense", 4, False, 2, 0.02, False),
        ("csr", 1, True, 2, 0, True),
        ("csr", 2, False, 6, 0.02, True),
        ("csr", 4, True, 6, 0, False),
    ],
)
def test_batches_of_workers_hold_the_cells_that_they_name(
    large: Path, layout: str, n_workers: int, persistent: bool, prefetch: int, pause_s: float, shuffled: bool
):
    loader = DataLoader(
        large_stream(large, layout, shuffled=shuffled),
        batch_size=None,
        num_workers=n_workers,
        persistent_workers=persistent,
        prefetch_factor=prefetch,
        multiprocessing_context="spawn",
    )
    batches = []
    for _ in range(2 if persistent else 1):
        for batch in loader:
            time.sleep(pause_s)
            batches.append(batch)
    assert_whole(batches, 2 if persistent else 1)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_the_memory_of_a_batch_serves_for_another_only_when_all_that_look_at_it_are_gone(large: Path, layout: str):
    batches = iter(large_stream(large, layout, shuffled=False))
    held = next(batches).x
    view = (held.values() if layout == "csr" else held)[5:].numpy()[1:]
    del held
    content = view.copy()
    places = {(x.values() if layout == "csr" else x).data_ptr() for x in (batch.x for batch in batches)}
    np.testing.assert_array_equal(view, content)
    assert len(places) <= 3


def tree_of(error: type[ScnymError]) -> Iterator[type[ScnymError]]:
    yield error
    for one in error.__subclasses__():
        yield from tree_of(one)


ERRORS = [*tree_of(ScnymError)]
assert StoppedError in ERRORS
PARTS: dict[str, Any] = {"where": "a; b: c.csv", "way_out": "give 1; or 2", "mend": {"--layer": "raw", "x": None}}


def raise_one(error: type[ScnymError]) -> None:
    raise error("line 3: 'ä' is\nno number; nor a name", **PARTS)


class Faulty(IterableDataset):
    """Raises one error after the other."""

    def __init__(self) -> None:
        self.left = list(ERRORS)

    def __iter__(self) -> "Faulty":
        return self

    def __next__(self) -> None:
        if not self.left:
            raise StopIteration
        raise_one(self.left.pop(0))


def assert_is(found: BaseException, error: type[ScnymError]) -> None:
    with pytest.raises(error) as caught:
        raise_one(error)
    wanted = caught.value
    assert type(found) is error
    assert vars(found) == vars(wanted)
    assert (str(found), found.args) == (str(wanted), wanted.args)
    assert str(found).endswith("; give 1; or 2")


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_every_error_comes_out_of_a_worker_as_it_was(start: str):
    given = iter(DataLoader(Faulty(), batch_size=None, num_workers=1, multiprocessing_context=start))
    for error in ERRORS:
        with pytest.raises(ScnymError) as caught:
            next(given)
        assert_is(caught.value, error)
        assert "in raise_one" in str(caught.value.__cause__)
        assert "parts of the error" not in str(caught.value.__cause__)
    assert next(given, None) is None


def test_every_error_comes_out_of_another_process_as_it_was():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        for error, future in [(error, pool.submit(raise_one, error)) for error in ERRORS]:
            found = future.exception()
            assert found is not None
            assert_is(found, error)


def pickled(found: ScnymError) -> ScnymError:
    return pickle.loads(pickle.dumps(found))  # noqa: S301 - it is our own


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_of_an_error_says_the_same(error: type[ScnymError], through: Any):
    with pytest.raises(error) as caught:
        raise_one(error)
    assert_is(through(caught.value), error)


def test_the_report_of_an_error_that_left_no_parts_still_names_it():
    with as_worker(0, 1, 0):
        assert "parts of the error" in BusyError("x").__notes__[0]
    assert not hasattr(BusyError("x"), "__notes__")
    report = (
        "Caught BusyError in a thread.\nOriginal Traceback:\n  at x\nscnym.base.errors.BusyError: a.zarr: busy; wait\n"
    )
    assert str(BusyError(message=report)) == "a.zarr: busy; wait"
    assert str(SettingsError(message="what it is")) == "what it is"


@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_that_were_forked_end_in_the_error_with_its_way_out(path: Path, n_workers: int):
    loader = DataLoader(make_stream(path), batch_size=None, num_workers=n_workers, multiprocessing_context="fork")
    with pytest.raises(ScnymError, match="before a fork") as caught:
        next(iter(loader))
    assert str(caught.value).endswith('; use DataLoader(..., multiprocessing_context="spawn")')
