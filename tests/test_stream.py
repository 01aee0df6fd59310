"""Batches hold the right numbers of the right cells, whatever the genes, windows, layout and workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import clustered_adata, dense, ln_cpm, telling_adata, telling_counts, write_h5ad
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.utils.data import DataLoader

import scnym.feed.stream
from scnym import Store, StreamDataset, StreamSettings, convert, in_order_stream, training_stream
from scnym.base.errors import ScnymError, SettingsError
from scnym.disk.store import Dataset
from scnym.feed.plan import InOrderPlan


def make_store(path: Path, adata=None) -> Store:
    return Store(convert([write_h5ad(path / "cells.h5ad", adata)], path / "cells.zarr"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


def all_of(stream: StreamDataset) -> tuple[np.ndarray, np.ndarray]:
    batches = [(batch.rows, batch.x.to_dense().numpy().copy()) for batch in stream]
    return np.concatenate([rows for rows, _ in batches]), np.vstack([x for _, x in batches])


SMALL = StreamSettings(batch_size=7, window_rows=16, block_rows=4)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_batches_hold_ln_cpm_of_the_cells_they_name(store: Store, layout):
    stream = training_stream(store, np.zeros(40, int), store.datasets[0].genes, SMALL, layout=layout)
    rows, x = all_of(stream)
    assert sorted(rows) == list(range(40))
    np.testing.assert_allclose(x, ln_cpm(telling_counts())[rows], rtol=1e-5)


@pytest.mark.parametrize("total", [1e4, 1e6])
def test_the_library_size_is_what_the_stream_is_told(store: Store, total: float):
    stream = in_order_stream(store, np.arange(40), store.datasets[0].genes, SMALL, normalize_to=total)
    np.testing.assert_allclose(all_of(stream)[1], ln_cpm(telling_counts(), to=total), rtol=1e-5)


@pytest.mark.parametrize("total", [1e4, 1e6])
def test_log_normalised_input_gives_the_same_batches_as_its_counts(tmp_path: Path, total: float):
    adata = telling_adata()
    counts = telling_counts()
    adata.X = sparse.csr_matrix(np.log1p(counts / counts.sum(axis=1, keepdims=True) * total).astype(np.float32))
    store = make_store(tmp_path, adata)
    stream = in_order_stream(store, np.arange(40), store.datasets[0].genes, SMALL)
    np.testing.assert_allclose(all_of(stream)[1], ln_cpm(counts), rtol=1e-4)


def test_a_gene_panel_is_normalised_by_the_full_library(tmp_path: Path):
    from scnym import ConvertSettings

    adata = telling_adata()
    adata.obs["total"] = telling_counts().sum(axis=1) * 2
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    store = Store(convert([path], tmp_path / "cells.zarr", ConvertSettings(library_size_column="total")))
    stream = in_order_stream(store, np.arange(40), store.datasets[0].genes, SMALL)
    expected = ln_cpm(telling_counts(), telling_counts().sum(axis=1) * 2)
    np.testing.assert_allclose(all_of(stream)[1], expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(14)), kept=st.integers(1, 14))
def test_genes_in_any_order_with_any_missing_give_the_same_values_for_the_shared_ones(tmp_path_factory, order, kept):
    folder = tmp_path_factory.mktemp("store")
    store = make_store(folder)
    genes = [f"gene {k}" for k in order[:kept]]  # genes 12 and 13 are not in the store
    _, x = all_of(in_order_stream(store, np.arange(40), genes, SMALL, layout="csr"))
    expected = np.hstack([ln_cpm(telling_counts()), np.zeros((40, 2))])[:, order[:kept]]
    np.testing.assert_allclose(x, expected, rtol=1e-5)


def test_several_sources_with_different_genes_stream_as_one(tmp_path: Path):
    first, second = telling_adata(), telling_adata(10, 8)
    second = second[:, ::-1].copy()
    second.obs_names = [f"other {k}" for k in range(10)]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    store = Store(convert(paths, tmp_path / "both.zarr"))
    genes = [f"gene {k}" for k in (3, 0, 11)]
    expected = np.vstack(
        [
            ln_cpm(telling_counts())[:, [3, 0, 11]],
            np.hstack([ln_cpm(telling_counts(10, 8))[:, [3, 0]], np.zeros((10, 1))]),
        ]
    )
    for layout in ("dense", "csr"):
        rows, x = all_of(training_stream(store, np.zeros(50, int), genes, SMALL, layout=layout))
        np.testing.assert_allclose(x, expected[rows], rtol=1e-5)


def test_a_cell_with_no_counts_gives_zeros(tmp_path: Path):
    adata = telling_adata()
    counts = telling_counts()
    counts[3] = 0
    adata.X = sparse.csr_matrix(counts)
    store = make_store(tmp_path, adata)
    for layout in ("dense", "csr"):
        _, x = all_of(in_order_stream(store, np.arange(40), store.datasets[0].genes, SMALL, layout=layout))
        assert np.isfinite(x).all()
        assert not x[3].any()


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_values_of_every_size_and_dtype_are_normalised_alike(tmp_path: Path, layout):
    adata = telling_adata(6, 4)
    counts = np.array([[1, 15, 16, 0], [70_000, 3, 0, 1], [2, 2, 2, 2], [300, 0, 1, 9], [0, 0, 0, 1], [5, 4, 3, 2]])
    for name, values in (("whole", counts), ("broken", counts * 25.5)):
        adata.X = sparse.csr_matrix(values.astype(np.float64))
        (tmp_path / name).mkdir()
        store = make_store(tmp_path / name, adata)
        _, x = all_of(in_order_stream(store, np.arange(6), store.datasets[0].genes, SMALL, layout=layout))
        np.testing.assert_allclose(x, ln_cpm(values), rtol=1e-5)


def test_rows_outside_the_mask_are_never_read(store: Store, monkeypatch: pytest.MonkeyPatch):
    read: list[np.ndarray] = []
    original = Dataset.read_rows

    def spy(self, rows_C, *rest):
        read.append(rows_C)
        return original(self, rows_C, *rest)

    monkeypatch.setattr(Dataset, "read_rows", spy)
    codes = np.where(np.arange(40) % 3 == 0, -1, np.arange(40) % 2)
    stream = training_stream(store, codes, store.datasets[0].genes, SMALL)
    rows = np.concatenate([batch.rows for _ in range(3) for batch in stream])
    assert set(rows) == set(np.concatenate(read)) == set(np.flatnonzero(codes >= 0))


def test_labels_travel_with_their_cells(store: Store):
    codes = np.arange(40) % 3
    for batch in training_stream(store, codes, store.datasets[0].genes, SMALL):
        np.testing.assert_array_equal(batch.labels.numpy(), codes[batch.rows])


def test_each_pass_has_a_new_order_and_a_set_epoch_repeats_one(store: Store):
    stream = training_stream(store, np.zeros(40, int), store.datasets[0].genes, SMALL)
    first, second = all_of(stream)[0], all_of(stream)[0]
    assert not np.array_equal(first, second)
    stream.set_epoch(0)
    np.testing.assert_array_equal(all_of(stream)[0], first)
    np.testing.assert_array_equal(np.concatenate([b.rows for b in stream.epoch(1)]), second)


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_give_the_same_batches_in_the_same_order_and_a_new_order_every_epoch(store: Store, persistent: bool):
    codes, genes = np.arange(40) % 3, store.datasets[0].genes
    alone = training_stream(store, codes, genes, SMALL)
    orders = [[batch.rows.tolist() for batch in alone] for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    for n_workers in (1, 2):
        stream = training_stream(store, codes, genes, SMALL)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=n_workers,
            persistent_workers=persistent,
            multiprocessing_context="spawn",
        )
        assert [[batch.rows.tolist() for batch in loader] for _ in range(3)] == orders


def test_a_data_loader_without_workers_gives_the_same_batches(store: Store):
    codes, genes = np.arange(40) % 3, store.datasets[0].genes
    expected = [batch.rows.tolist() for batch in training_stream(store, codes, genes, SMALL)]
    loader = DataLoader(training_stream(store, codes, genes, SMALL), batch_size=None)
    assert [batch.rows.tolist() for batch in loader] == expected
    assert len(loader) == len(expected)


def test_a_store_used_after_a_fork_is_refused_instead_of_hanging(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.datasets[0].read_rows(np.arange(3))
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(ScnymError, match="spawn"):
        store.datasets[0].read_rows(np.arange(3))


def test_batches_kept_in_a_list_do_not_change_unless_the_buffer_is_shared(store: Store):
    plan = InOrderPlan(np.arange(40), batch_size=7, window_rows=16)
    kept = list(StreamDataset(store, plan, store.datasets[0].genes))
    np.testing.assert_allclose(torch.cat([batch.x for batch in kept]).numpy(), ln_cpm(telling_counts()), rtol=1e-5)


def test_the_memory_cap_shrinks_windows_and_refuses_what_cannot_fit(tmp_path: Path):
    store = make_store(tmp_path, clustered_adata(2000, 60))
    genes = store.datasets[0].genes
    tight = StreamSettings(batch_size=64, memory_bytes=10**7)
    assert scnym.feed.stream._window_size(store, 30_000, tight, "dense")[1] < 16_384
    with pytest.raises(SettingsError, match="--stream_memory"):
        in_order_stream(store, np.arange(2000), [f"g{k}" for k in range(50_000)], tight)
    rows, x = all_of(in_order_stream(store, np.arange(2000), genes, tight))
    np.testing.assert_allclose(x, ln_cpm(dense(clustered_adata(2000, 60))), rtol=1e-5)
    assert len(rows) == 2000


def test_an_abandoned_epoch_leaves_no_thread_behind(store: Store):
    import threading

    batches: Any = iter(training_stream(store, np.zeros(40, int), store.datasets[0].genes, SMALL))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if "read-ahead" in thread.name]
