"""A stream that goes on where another one stopped gives the batches that the other would have given, to the bit."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers import telling_adata, telling_counts, write_h5ad
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.utils.data import DataLoader

from scnym import Batch, Store, StreamDataset, StreamSettings, convert, in_order_stream, training_stream
from scnym.base.errors import DataError, SettingsError, UserError
from scnym.disk.store import Dataset
from scnym.feed.resume_state import StreamState

SMALL: dict[str, Any] = {"batch_size": 7, "window_rows": 32, "block_rows": 4, "class_balance": "uniform"}
CODES = np.arange(200) % 3
GO_ON = """
import json, sys
from pathlib import Path
sys.path.insert(0, "tests")
from test_state import content, make_stream, steps
if __name__ == "__main__":
    stream = make_stream(Path(sys.argv[1]))
    stream.load_state_dict(json.loads(sys.argv[2]))
    print(json.dumps([content(batch) for batch in steps(stream, 50)]))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    return convert([write_h5ad(folder / "cells.h5ad", telling_adata(200))], folder / "cells.zarr")


def make_stream(path: Path, codes: np.ndarray = CODES, layout: Any = "csr", **changes: Any) -> StreamDataset:
    store = Store(path)
    genes = changes.pop("genes", store.datasets[0].genes)
    total = changes.pop("normalize_to", 1e6)
    return training_stream(
        store, codes, genes, StreamSettings(**{**SMALL, **changes}), normalize_to=total, layout=layout
    )


def steps(stream: StreamDataset, n: int) -> Iterator[Batch]:
    """Batches over as many epochs as it takes."""
    return islice(chain.from_iterable(iter(stream) for _ in range(n)), n)


def content(batch: Batch) -> list[Any]:
    return [
        batch.rows.tolist(),
        batch.labels.tolist(),
        batch.sources.tolist(),
        batch.x.to_dense().numpy().tobytes().hex(),
    ]


def through_json(state: StreamState) -> StreamState:
    return json.loads(json.dumps(state))


@settings(max_examples=30, deadline=None)
@given(n_before=st.integers(0, 70), layout=st.sampled_from(["dense", "csr"]), seed=st.integers(0, 3))
def test_steps_before_and_after_a_stop_are_those_of_a_run_without(path: Path, n_before: int, layout, seed: int):
    whole = [content(batch) for batch in steps(make_stream(path, layout=layout, seed=seed), 100)]
    first = make_stream(path, layout=layout, seed=seed)
    before = [content(batch) for batch in steps(first, n_before)]
    second = make_stream(path, layout=layout, seed=seed)
    second.load_state_dict(through_json(first.state_dict()))
    after = [content(batch) for batch in steps(second, 100 - n_before)]
    assert before + after == whole


@pytest.mark.slow
def test_a_new_process_goes_on_where_another_stopped(path: Path):
    stream = make_stream(path)
    whole = [content(batch) for batch in steps(make_stream(path), 100)]
    assert [content(batch) for batch in steps(stream, 50)] == whole[:50]
    command = [sys.executable, "-c", GO_ON, str(path), json.dumps(stream.state_dict())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert json.loads(done.stdout) == whole[50:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores
@pytest.mark.parametrize("n_workers", [0, 1, 3])
def test_the_state_after_so_many_batches_serves_a_loader_with_any_number_of_workers(path: Path, n_workers: int):
    alone = [[batch.rows.tolist() for batch in make_stream(path).epoch(epoch)] for epoch in range(4)]
    stream = make_stream(path, layout="dense")
    stream.load_state_dict(make_stream(path, layout="dense").state_after(2, 5))
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=n_workers,
        multiprocessing_context="spawn" if n_workers else None,
        persistent_workers=n_workers > 0,
    )
    given = [[batch.rows.tolist() for batch in loader] for _ in range(2)]
    assert given == [alone[2][5:], alone[3]]


def test_a_loader_without_workers_is_counted(path: Path):
    stream = make_stream(path)
    batches = iter(DataLoader(stream, batch_size=None))
    taken = [next(batches) for _ in range(4)]
    assert len(taken) == stream.state_dict()["batch"] == 4


def test_the_end_of_an_epoch_is_the_start_of_the_next(path: Path):
    stream = make_stream(path)
    assert sum(1 for _ in stream) == len(stream)
    assert stream.state_dict() == stream.state_after(1, 0) == stream.state_after(0, len(stream))
    assert make_stream(path).state_dict() == stream.state_after(0, 0)


def test_a_set_epoch_forgets_where_a_state_began(path: Path):
    stream = make_stream(path)
    stream.load_state_dict(stream.state_after(1, 9))
    stream.set_epoch(1)
    assert sum(1 for _ in stream) == len(stream)


def test_windows_that_have_been_given_are_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch):
    stream = make_stream(path)
    wanted = [row for batch in islice(stream.epoch(0), len(stream) - 2, None) for row in batch.rows]
    read: list[int] = []
    original = Dataset.read_rows

    def spy(self, rows_C, *rest):
        read.extend(rows_C)
        return original(self, rows_C, *rest)

    monkeypatch.setattr(Dataset, "read_rows", spy)
    stream.load_state_dict(stream.state_after(0, len(stream) - 2))
    given = [row for batch in stream for row in batch.rows]
    assert given == wanted
    assert set(read) == set(given)


CHANGES: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    "cells": ({"codes": np.where(np.arange(200) == 7, -1, CODES)}, DataError, "labels, cells"),
    "genes": ({"genes": ["gene 1", "gene 0"]}, DataError, "genes"),
    "normalisation": ({"normalize_to": 1e4}, SettingsError, "normalize_to 1000000.0, now 10000.0"),
    "layout": ({"layout": "dense"}, SettingsError, "layout 'csr', now 'dense'"),
    "seed": ({"seed": 1}, SettingsError, "seed 0, now 1"),
    "balance": ({"class_balance": "seed"}, SettingsError, "class_balance 'uniform', now 'seed'"),
    "repeats": ({"max_repeat": 2.0}, SettingsError, "max_repeat None, now 2.0"),
    "sizes": ({"batch_size": 8, "block_rows": 2}, SettingsError, "batch_size 7, now 8; block_rows 4, now 2"),
    "windows": ({"window_rows": 16}, SettingsError, "window_rows 32, now 16"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_state_of_another_stream_is_refused_by_what_differs(path: Path, what: str):
    changes, error, message = CHANGES[what]
    state = make_stream(path).state_after(1, 3)
    with pytest.raises(error, match=message):
        make_stream(path, **changes).load_state_dict(state)


def test_a_state_of_another_store_is_refused(path: Path, tmp_path: Path):
    adata = telling_adata(200)
    adata.X = sparse.csr_matrix(telling_counts(200) * 2)
    other = convert([write_h5ad(tmp_path / "other.h5ad", adata)], tmp_path / "other.zarr")
    with pytest.raises(DataError, match="different store"):
        make_stream(other).load_state_dict(make_stream(path).state_dict())


def test_a_state_of_another_order_is_refused(path: Path):
    store = Store(path)
    genes = store.datasets[0].genes
    in_order = in_order_stream(store, np.arange(200), genes, StreamSettings(**SMALL), CODES, layout="csr")
    in_order.load_state_dict(in_order.state_after(0, 4))
    assert [batch.rows[0] for batch in in_order] == in_order.plan.batch_bounds()[4:-1].tolist()
    with pytest.raises(UserError, match="another stream"):
        make_stream(path).load_state_dict(in_order.state_after(0, 4))


@pytest.mark.parametrize(
    "broken", [{}, {"version": 2}, {"epoch": -1}, {"batch": 1000}, {"epoch": "x"}, {"identity": 3}]
)
def test_what_is_no_state_is_refused(path: Path, broken: dict[str, Any]):
    stream = make_stream(path)
    state = cast("StreamState", {**stream.state_dict(), **broken} if broken else {})
    with pytest.raises(DataError):
        stream.load_state_dict(state)
