"""Batches hold the right numbers of the right cells, whatever the genes, windows, layout and workers."""

import tracemalloc
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
from scnym import ConvertSettings, Store, StreamDataset, StreamSettings, convert, in_order_stream, training_stream
from scnym.base.errors import ScnymError, SettingsError
from scnym.disk.store import Dataset
from scnym.feed.batches import window_size
from scnym.feed.plan import BalancedPlan, InOrderPlan


def make_store(path: Path, adata=None) -> Store:
    return Store(convert([write_h5ad(path / "cells.h5ad", adata)], path / "cells.zarr"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("many"), telling_adata(100))


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
    adata = telling_adata()
    adata.obs["total"] = telling_counts().sum(axis=1) * 2
    path = write_h5ad(tmp_path / "cells.h5ad", adata)
    store = Store(convert([path], tmp_path / "cells.zarr", ConvertSettings(library_size_column="total")))
    stream = in_order_stream(store, np.arange(40), store.datasets[0].genes, SMALL)
    expected = ln_cpm(telling_counts(), telling_counts().sum(axis=1) * 2)
    np.testing.assert_allclose(all_of(stream)[1], expected, rtol=1e-5)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(14)), kept=st.integers(3, 14))
def test_genes_in_any_order_with_any_missing_give_the_same_values_for_the_shared_ones(tmp_path_factory, order, kept):
    folder = tmp_path_factory.mktemp("store")
    store = make_store(folder)
    genes = [f"gene {k}" for k in order[:kept]]  # genes 12 and 13 are not in the store
    stream = in_order_stream(store, np.arange(40), genes, SMALL, layout="csr")
    _, x = all_of(stream)
    for batch in stream:
        rows = np.split(batch.x.col_indices().numpy(), batch.x.crow_indices().numpy()[1:-1])
        assert all((np.diff(row) > 0).all() for row in rows)
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
        stream = training_stream(store, np.zeros(50, int), genes, SMALL, layout=layout)
        rows, x = all_of(stream)
        np.testing.assert_allclose(x, expected[rows], rtol=1e-5)
        np.testing.assert_array_equal(stream.measured_SG, [[True, True, True], [True, True, False]])
        assert all(((batch.rows >= 40) == batch.sources).all() for batch in stream)


def test_ids_and_symbols_of_several_sources_meet_on_the_models_genes(tmp_path: Path):
    first, second = telling_adata(), telling_adata(10)
    second.obs_names = [f"other {k}" for k in range(10)]
    second.var["symbol"] = list(second.var_names)
    second.var_names = [f"ENSG{k:011d}.3" for k in range(12)]
    paths = [write_h5ad(tmp_path / "a.h5ad", first), write_h5ad(tmp_path / "b.h5ad", second)]
    store = Store(convert(paths, tmp_path / "both.zarr"))
    stream = in_order_stream(store, np.arange(50), [f"GENE {k}" for k in range(12)], SMALL)
    expected = np.vstack([ln_cpm(telling_counts()), ln_cpm(telling_counts(10))])
    found = [gene_map.matched_by for gene_map in stream.gene_maps]
    assert found[0] == {"name in other case": 12}
    np.testing.assert_allclose(all_of(stream)[1][:40], expected[:40], rtol=1e-5)
    stream = in_order_stream(store, np.arange(50), list(first.var_names), SMALL)
    assert stream.gene_maps[1].matched_by == {"var column 'symbol'": 12}
    np.testing.assert_allclose(all_of(stream)[1], expected, rtol=1e-5)


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
        path = write_h5ad(tmp_path / name / "cells.h5ad", adata)
        store = Store(convert([path], tmp_path / name / "cells.zarr", ConvertSettings(counts_as="estimated")))
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


def test_conditions_travel_with_their_cells(store: Store):
    codes, conditions = np.arange(40) % 3, np.arange(40) * 7 % 5 - 1
    stream = training_stream(store, codes, store.datasets[0].genes, SMALL, conditions_C=conditions)
    for batch in stream:
        np.testing.assert_array_equal(batch.conditions.numpy(), conditions[batch.rows])
    plain = training_stream(store, codes, store.datasets[0].genes, SMALL)
    assert all((batch.conditions == -1).all() for batch in plain)
    assert stream.identity != plain.identity


def test_each_pass_has_a_new_order_and_a_set_epoch_repeats_one(store: Store):
    stream = training_stream(store, np.zeros(40, int), store.datasets[0].genes, SMALL)
    first, second = all_of(stream)[0], all_of(stream)[0]
    assert not np.array_equal(first, second)
    stream.set_epoch(0)
    np.testing.assert_array_equal(all_of(stream)[0], first)
    np.testing.assert_array_equal(np.concatenate([b.rows for b in stream.epoch(1)]), second)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than cores
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_give_the_same_batches_in_the_same_order_and_a_new_order_every_epoch(store: Store, persistent: bool):
    codes, genes = np.arange(40) % 3, store.datasets[0].genes
    alone = training_stream(store, codes, genes, SMALL)
    orders = [[batch.rows.tolist() for batch in alone] for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    for n_workers in (1, 2, 4):
        stream = training_stream(store, codes, genes, SMALL)
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=n_workers,
            persistent_workers=persistent,
            multiprocessing_context="spawn",
        )
        assert [[batch.rows.tolist() for batch in loader] for _ in range(3)] == orders


@settings(max_examples=25, deadline=None)
@given(n_workers=st.integers(1, 12), first_batch=st.integers(0, 14))
def test_a_worker_reads_only_the_rows_of_its_own_batches(many: Store, n_workers: int, first_batch: int):
    stream = training_stream(many, np.arange(100) % 3, many.datasets[0].genes, SMALL)
    alone = [batch.rows.tolist() for batch in stream.epoch(1)][first_batch:]
    original = Dataset.read_rows
    for worker in range(n_workers):
        read: list[int] = []

        def spy(self, rows_C, *rest, read=read):
            read.extend(rows_C)
            return original(self, rows_C, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Dataset, "read_rows", spy)
            mine = list(stream.epoch(1, first_batch=first_batch, worker=worker, n_workers=n_workers))
        assert [batch.rows.tolist() for batch in mine] == alone[worker::n_workers]
        assert sorted(read) == sorted(row for batch in mine for row in batch.rows)


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_window_that_is_too_large_is_read_in_several_goes_with_the_same_batches(many: Store, layout):
    plan = BalancedPlan(np.zeros(100, int), class_balance="natural", batch_size=7, window_rows=64, block_rows=4, seed=0)
    genes = many.datasets[0].genes
    whole = all_of(StreamDataset(many, plan, genes, layout=layout))
    longest = int(np.diff(many.datasets[0].indptr_C1).max()) * many.datasets[0].bytes_per_element
    original = Dataset.read_rows
    for stretch_bytes in (longest, 3 * longest, 20 * longest):
        read: list[int] = []

        def spy(self, rows_C, *rest, read=read):
            found = original(self, rows_C, *rest)
            read.append(found.values_N.nbytes + found.indices_N.nbytes)
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Dataset, "read_rows", spy)
            parts = all_of(StreamDataset(many, plan, genes, layout=layout, stretch_bytes=stretch_bytes))
        assert max(read) <= stretch_bytes + longest
        assert len(read) >= 2
        for a, b in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rows_that_become_longer_take_no_more_than_two_stretches_of_memory(tmp_path: Path):
    lengths = np.linspace(10, 1500, 6000).astype(int)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    adata = telling_adata(6000, 1500)
    adata.X = sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=adata.shape)
    store = make_store(tmp_path, adata)
    plan = InOrderPlan(np.arange(6000), batch_size=8, window_rows=2000)
    stretch_bytes = 2_000_000
    stream = StreamDataset(store, plan, store.datasets[0].genes, layout="csr", stretch_bytes=stretch_bytes)
    assert next(iter(stream)).x.shape == (8, 1500)  # compiles
    tracemalloc.start()
    assert sum(len(batch.rows) for batch in stream) == 6000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.4 * stretch_bytes


def test_amplification_is_what_is_decoded_for_what_is_wanted_and_clustering_lowers_it(tmp_path: Path):
    codes = np.tile(np.repeat(np.arange(30), 2), 100)
    adata = telling_adata(6000, 60)
    adata.obs["cell_type"] = [f"type {code:02d}" for code in codes]
    settings = StreamSettings(batch_size=32, class_balance="seed", window_rows=256, block_rows=32)
    streams = {}
    for name, column in (("as it is", None), ("clustered", "cell_type")):
        path = write_h5ad(tmp_path / f"{name}.h5ad", adata)
        store = Store(convert([path], tmp_path / f"{name}.zarr", ConvertSettings(cluster_by=column)))
        types = store.obs["cell_type"].cat.codes.to_numpy().astype(int)
        streams[name] = training_stream(store, np.where(types < 3, types, -1), store.datasets[0].genes, settings)
    assert streams["as it is"].read_amplification > 5
    assert streams["clustered"].read_amplification < streams["as it is"].read_amplification / 2
    foretold = streams["as it is"].amplification_if_clustered(codes)
    assert foretold == pytest.approx(streams["clustered"].read_amplification, rel=0.1)


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


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_batches_that_are_kept_do_not_change_unless_the_buffer_is_shared(store: Store, layout, every: int):
    plan = InOrderPlan(np.arange(40), batch_size=3, window_rows=16)
    stream = StreamDataset(store, plan, store.datasets[0].genes, layout=layout)
    kept = [batch for number, batch in enumerate(stream) if number % every == 0]
    rows, x = np.concatenate([batch.rows for batch in kept]), [batch.x.to_dense() for batch in kept]
    np.testing.assert_allclose(torch.cat(x).numpy(), ln_cpm(telling_counts())[rows], rtol=1e-5)


@pytest.mark.parametrize("keep", [lambda x: x.values(), lambda x: x.values().numpy()[1:3], lambda x: x.values()[1:3]])
def test_a_part_of_a_csr_batch_that_is_kept_does_not_change(store: Store, keep):
    plan = InOrderPlan(np.arange(40), batch_size=4, window_rows=16)
    kept, copies = [], []
    for batch in StreamDataset(store, plan, store.datasets[0].genes, layout="csr"):
        kept.append(keep(batch.x))
        copies.append(np.asarray(kept[-1]).copy())
    for one, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(np.asarray(one), copy)


def test_the_memory_of_csr_batches_that_are_gone_is_used_again(store: Store):
    plan = InOrderPlan(np.arange(40), batch_size=4, window_rows=40)
    places = {b.x.values().data_ptr() for b in StreamDataset(store, plan, store.datasets[0].genes, layout="csr")}
    assert len(places) <= 3


@pytest.mark.parametrize("changed", ["same", "reversed", "fewer", "more"])
def test_csr_batches_are_the_same_whichever_way_genes_are_copied(store: Store, changed: str):
    genes = list(store.datasets[0].genes)
    models = {"same": genes, "reversed": genes[::-1], "fewer": genes[:-2], "more": ["other", *genes]}[changed]
    rows, x = all_of(in_order_stream(store, np.arange(40), models, SMALL, layout="csr"))
    expected = ln_cpm(telling_counts())[rows]
    for gene in set(models) & set(genes):
        np.testing.assert_allclose(x[:, models.index(gene)], expected[:, genes.index(gene)], rtol=1e-5)


def test_the_memory_cap_shrinks_windows_and_refuses_what_cannot_fit(tmp_path: Path):
    store = make_store(tmp_path, clustered_adata(2000, 60))
    genes = store.datasets[0].genes
    tight = StreamSettings(batch_size=64, memory_bytes=10**7)
    assert window_size(store, 15_000, tight, "dense")[1] < 16_384
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


@pytest.mark.parametrize(("batch_size", "window_rows", "longest"), [(4, 30, 16), (2, 30, 12), (4, 10, 10)])
def test_few_rows_are_read_together_where_nothing_is_shuffled(
    store: Store, monkeypatch: pytest.MonkeyPatch, batch_size: int, window_rows: int, longest: int
):
    monkeypatch.setattr(scnym.feed.stream, "LEAST_WINDOW", 12)
    settings = StreamSettings(batch_size=batch_size, window_rows=window_rows)
    stream = in_order_stream(store, np.arange(store.n_cells), store.datasets[0].genes, settings)
    assert max(len(window.rows_W) for window in stream.plan.windows(0)) == longest
