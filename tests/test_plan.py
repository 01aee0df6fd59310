"""The plan keeps its promises for any classes, any sizes, any seed."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scnym.base.errors import DataError, SettingsError
from scnym.base.settings import balance_exponent
from scnym.feed.blocks import class_sizes, find_pieces
from scnym.feed.plan import SEED_SCHEME_DRAWS, BalancedPlan, InOrderPlan, digest, draws_per_class

BALANCES = ["natural", "seed", "uniform", "power:0.5"]
EARLIER_ORDERS = {"natural": "6da3bbf3", "seed": "fdeafa2f", "uniform": "0633da2f", "power:0.5": "347b2e45"}
"""How the digests of some plans' orders begin."""


def make_plan(codes: np.ndarray, balance: str = "uniform", **changes: int) -> BalancedPlan:
    sizes = {"batch_size": 32, "window_rows": 64, "block_rows": 8, "seed": 0, **changes}
    return BalancedPlan(codes, class_balance=balance, **sizes)


def rows_of(plan: BalancedPlan, epoch: int) -> np.ndarray:
    return np.concatenate([window.rows_W for window in plan.windows(epoch)])


codes_arrays = (
    st.lists(st.integers(-1, 4), min_size=20, max_size=400).map(np.array).filter(lambda codes: (codes >= 0).sum() >= 2)
)


@settings(max_examples=60, deadline=None)
@given(codes=codes_arrays, balance=st.sampled_from(BALANCES), clustered=st.booleans(), seed=st.integers(0, 2**31))
def test_every_class_gives_its_quota_and_no_masked_row_is_ever_drawn(codes, balance, clustered, seed):
    codes = np.sort(codes) if clustered else codes
    plan = make_plan(codes, balance, seed=seed)
    present = np.unique(codes[codes >= 0])
    counts = np.array([(codes == code).sum() for code in present])
    for epoch in range(3):
        rows = rows_of(plan, epoch)
        assert (codes[rows] >= 0).all()
        assert len(rows) == plan.n_draws
        drawn = np.array([(codes[rows] == code).sum() for code in present])
        expected = counts if balance == "natural" else draws_per_class(counts, balance)
        np.testing.assert_array_equal(drawn, expected)


@settings(max_examples=60, deadline=None)
@given(codes=codes_arrays, balance=st.sampled_from(BALANCES), epochs=st.integers(1, 4))
def test_no_cell_repeats_before_all_others_of_its_class_have_been_drawn(codes, balance, epochs):
    plan = make_plan(codes, balance)
    rows = np.concatenate([rows_of(plan, epoch) for epoch in range(epochs)])
    for code in np.unique(codes[codes >= 0]):
        members = np.flatnonzero(codes == code)
        times = np.bincount(rows[codes[rows] == code], minlength=len(codes))[members]
        assert times.max() - times.min() <= 1


@settings(max_examples=40, deadline=None)
@given(codes=codes_arrays, block_rows=st.integers(1, 40))
def test_any_prefix_of_windows_holds_each_class_to_within_one_block(codes, block_rows):
    plan = make_plan(np.sort(codes), "uniform", window_rows=40, block_rows=block_rows)
    windows = list(plan.windows(0))
    drawn = np.cumsum([np.bincount(np.sort(codes)[w.rows_W], minlength=5) for w in windows], axis=0)
    present = np.unique(codes[codes >= 0])
    for number, so_far in enumerate(drawn):
        due = (number + 1) * plan.draws_K // len(windows)
        assert (np.abs(so_far[present] - due) <= block_rows).all()


@settings(max_examples=30, deadline=None)
@given(n_classes=st.integers(1, 400), seed=st.integers(0, 1000), balance=st.sampled_from(BALANCES))
def test_windows_keep_their_size_however_many_classes_there_are(n_classes, seed, balance):
    sizes = np.random.default_rng(seed).integers(1, 300, n_classes)
    plan = make_plan(np.repeat(np.arange(n_classes), sizes), balance, window_rows=512, block_rows=64, seed=seed)
    windows = [len(window.rows_W) for window in plan.windows(0)]
    assert sum(windows) == plan.n_draws
    assert max(windows) <= 512 * 1.75


@settings(max_examples=60, deadline=None)
@given(codes=codes_arrays, balance=st.sampled_from(BALANCES), share=st.floats(0, 1), clustered=st.booleans())
def test_windows_from_a_draw_on_are_the_last_ones_of_the_epoch(codes, balance, share, clustered):
    plan = make_plan(np.sort(codes) if clustered else codes, balance)
    first_draw = int(share * plan.n_draws)
    everything, rest = list(plan.windows(1)), list(plan.windows(1, first_draw=first_draw))
    assert [window.first for window in rest] == [w.first for w in everything if w.first + len(w.rows_W) > first_draw]
    for late, whole in zip(rest, everything[len(everything) - len(rest) :], strict=True):
        np.testing.assert_array_equal(late.rows_W, whole.rows_W)


@settings(max_examples=60, deadline=None)
@given(codes=codes_arrays, block_rows=st.integers(1, 40))
def test_pieces_hold_every_row_of_their_class_once_in_order(codes, block_rows):
    sizes = class_sizes(codes)
    np.testing.assert_array_equal(sizes, np.bincount(codes[codes >= 0]))
    for pieces in find_pieces(codes, sizes, block_rows):
        every = np.arange(len(pieces.blocks_P))
        np.testing.assert_array_equal(pieces.rows(every), np.flatnonzero(codes == pieces.code))
        np.testing.assert_array_equal(
            pieces.rows(every[-1:]) // block_rows, np.full(pieces.lengths_P[-1], pieces.blocks_P[-1])
        )


def test_a_plan_of_many_cells_takes_a_few_bytes_for_each():
    codes = np.repeat(np.arange(50), 20_000)
    tracemalloc.start()
    plan = make_plan(codes, "uniform", batch_size=256, window_rows=16_384, block_rows=64)
    next(plan.windows(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(codes)


def test_a_plan_remembers_no_more_after_many_epochs_than_after_a_few():
    plan = make_plan(np.zeros(20_000, int), window_rows=2048, block_rows=1)
    tracemalloc.start()
    held = []
    for epoch in range(12):
        rows_of(plan, epoch)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[2] < 20_000


def test_each_epoch_has_a_new_order_and_the_same_seed_gives_the_same_one():
    codes = np.repeat([0, 1, 2], 100)
    orders = [rows_of(make_plan(codes), epoch) for epoch in range(3)]
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[1], orders[2])
    np.testing.assert_array_equal(rows_of(make_plan(codes), 1), orders[1])
    assert not np.array_equal(rows_of(make_plan(codes, seed=1), 1), orders[1])


def test_batches_mix_the_classes_of_a_clustered_store():
    codes = np.repeat(np.arange(4), 256)
    rows = rows_of(make_plan(codes, "natural", window_rows=512, batch_size=64), 0)
    for batch in rows.reshape(-1, 64):
        assert len(np.unique(codes[batch])) >= 3


def entropy(codes: np.ndarray) -> float:
    shares = np.bincount(codes) / len(codes)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


@pytest.mark.parametrize(
    "sizes", [100_000 / np.arange(1, 51), 60_000 * 0.85 ** np.arange(50) + 20], ids=["zipf", "steep"]
)
def test_batches_of_a_clustered_store_are_as_mixed_as_random_cells(sizes: np.ndarray):
    codes = np.repeat(np.arange(50), sizes.astype(int))
    plan = make_plan(codes, "natural", batch_size=256, window_rows=16_384, block_rows=64)
    random = np.random.default_rng(0)
    bounds = plan.batch_bounds()
    streamed = [entropy(codes[batch]) for epoch in range(2) for batch in np.split(rows_of(plan, epoch), bounds[1:-1])]
    at_random = [entropy(random.choice(codes, 256, replace=False)) for _ in range(len(streamed))]
    assert np.mean(streamed) == pytest.approx(np.mean(at_random), rel=0.01)


def test_natural_balance_reads_whole_blocks():
    codes = np.tile([0, 1, 2, 3], 64)
    for window in make_plan(codes, "natural", block_rows=16, window_rows=64).windows(0):
        blocks, sizes = np.unique(window.rows_W // 16, return_counts=True)
        assert (sizes == 16).all()
        assert len(blocks) == 4


def test_natural_balance_reads_whole_blocks_where_a_window_has_no_room_for_one_of_each_class():
    codes = np.repeat(np.arange(20), 24)
    for window in make_plan(codes, "natural", block_rows=8, window_rows=64).windows(0):
        _, sizes = np.unique(window.rows_W // 8, return_counts=True)
        assert (sizes == 8).all()


def test_the_schemes_give_the_draws_that_their_names_promise():
    counts = np.array([100, 400, 2500])
    np.testing.assert_array_equal(draws_per_class(counts, "natural"), [100, 400, 2500])
    np.testing.assert_array_equal(draws_per_class(counts, "uniform"), [1000, 1000, 1000])
    np.testing.assert_array_equal(draws_per_class(counts, "power:0.5"), [375, 750, 1875])
    np.testing.assert_array_equal(draws_per_class(counts, "seed"), [128, 128, 128])


@given(
    counts=st.lists(st.integers(1, 10**4), min_size=1, max_size=40),
    balance=st.sampled_from(BALANCES),
    most=st.floats(1, 50),
)
def test_no_class_gives_more_than_the_greatest_multiple_of_its_cells(counts, balance, most):
    counts = np.array(counts)
    bounded, free = draws_per_class(counts, balance, most), draws_per_class(counts, balance)
    assert (bounded <= most * counts).all()
    assert (bounded >= 1).all()
    np.testing.assert_array_equal(bounded[free <= most * counts], free[free <= most * counts])


def test_without_repeats_no_cell_is_drawn_twice_in_any_epoch():
    plan = BalancedPlan(
        np.repeat([0, 1, 2], [10, 300, 700]),
        class_balance="uniform",
        max_repeat=1,
        batch_size=16,
        window_rows=64,
        block_rows=8,
        seed=0,
    )
    np.testing.assert_array_equal(plan.draws_K, [10, 300, 336])
    assert np.bincount(rows_of(plan, 0)).max() == 1


def test_the_seed_scheme_never_lets_a_small_class_cut_the_others_for_good():
    counts = np.array([5, 10_000])
    np.testing.assert_array_equal(draws_per_class(counts, "seed"), [SEED_SCHEME_DRAWS] * 2)
    np.testing.assert_array_equal(draws_per_class(np.array([500, 10_000]), "seed"), [500, 500])
    codes = np.repeat([0, 1], [5, 1000])
    plan = make_plan(codes, "seed")
    seen = np.unique(np.concatenate([rows_of(plan, epoch) for epoch in range(8)]))
    assert len(seen) == 1005


@given(counts=st.lists(st.integers(1, 10**6), min_size=1, max_size=60), exponent=st.floats(0, 1))
def test_proportional_schemes_draw_as_many_cells_as_there_are(counts, exponent):
    draws = draws_per_class(np.array(counts), f"power:{exponent:.3f}")
    assert (draws >= 1).all()
    assert sum(counts) <= draws.sum() <= sum(counts) + len(counts)
    np.testing.assert_array_equal(draws_per_class(np.array(counts), "natural"), counts)


@settings(max_examples=40)
@given(n=st.integers(2, 2000), batch_size=st.integers(2, 300))
def test_batches_are_even_so_none_is_left_with_a_single_cell(n, batch_size):
    plan = make_plan(np.zeros(n, int), "natural", batch_size=batch_size, window_rows=4096)
    sizes = np.diff(plan.batch_bounds())
    assert sizes.sum() == n
    assert sizes.max() <= max(batch_size, 3)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 2


def test_a_plan_in_order_gives_every_row_once_in_order():
    rows = np.array([3, 5, 8, 13, 21, 34])
    plan = InOrderPlan(rows, batch_size=4, window_rows=4)
    np.testing.assert_array_equal(np.concatenate([w.rows_W for w in plan.windows(0)]), rows)
    assert [window.first for window in plan.windows(0, first_draw=4)] == [4]
    assert plan.n_batches == 2
    assert InOrderPlan(rows[:0], batch_size=4, window_rows=4).n_batches == 0


def test_a_plan_in_order_goes_on_with_the_window_that_holds_a_draw():
    plan = InOrderPlan(np.arange(10, 20), batch_size=4, window_rows=4)
    assert [window.first for window in plan.windows(3)] == [0, 4, 8]
    assert [window.first for window in plan.windows(0, first_draw=7)] == [4, 8]
    np.testing.assert_array_equal(next(plan.windows(0, first_draw=5)).rows_W, [14, 15, 16, 17])


@settings(deadline=None)
@given(n=st.integers(0, 200), batch_size=st.integers(1, 40), count=st.integers(1, 6))
def test_processes_share_every_batch_evenly_and_leave_no_cell(n, batch_size, count):
    plan = InOrderPlan(np.arange(n), batch_size=batch_size, window_rows=64)
    bounds = plan.batch_bounds()
    least = int(np.diff(bounds).min(initial=count))
    if least < count:
        words = f"--batch_size: a batch of {least} cells cannot be shared by {count} processes; give a larger one, "
        with pytest.raises(SettingsError, match=f"{words}or start fewer processes"):
            plan.shares(0, count)
        return
    shares = [plan.shares(number, count) for number in range(count)]
    np.testing.assert_array_equal(shares[0][0], bounds[:-1])
    np.testing.assert_array_equal(shares[-1][1], bounds[1:])
    for (_, end), (start, _) in pairwise(shares):
        np.testing.assert_array_equal(end, start)
    sizes = np.array([end - start for start, end in shares])
    assert (sizes.max(axis=0) - sizes.min(axis=0) <= 1).all()


def test_plans_are_the_same_if_all_that_decides_their_order_is():
    codes = np.array([0, 1, 2, 0, 1, -1] * 20)
    plan = make_plan(codes, "natural")
    assert plan.identity() == {
        "plan": "balanced",
        "cells": digest(np.where(codes >= 0, 0, -1).astype(np.int8)),  # no class is told from another
        **{"class_balance": "natural", "batch_size": 32, "window_rows": 64, "block_rows": 8, "seed": 0},
        "max_repeat": None,
    }
    assert make_plan(codes).identity() != make_plan(codes[::-1].copy()).identity()
    rows = np.array([1, 5], np.int32)
    wanted = {"plan": "in order", "batch_size": 4, "rows": digest(rows.astype(np.int64))}
    assert InOrderPlan(rows, batch_size=4, window_rows=4).identity() == wanted
    assert digest(rows[:1], rows[1:]) == digest(rows) != digest(rows[::-1])


def test_a_plan_for_rows_in_another_order_draws_as_one_made_for_them():
    codes = np.repeat([0, 1, 2], 40)
    order = np.random.default_rng(0).permutation(120)
    moved = make_plan(codes, "power:0.5", seed=3).rearranged(order)
    np.testing.assert_array_equal(rows_of(moved, 2), rows_of(make_plan(codes[order], "power:0.5", seed=3), 2))


def test_orders_are_those_of_earlier_versions_so_that_a_run_goes_on_after_an_upgrade():
    codes = np.repeat([0, 1, 2], [50, 30, 100])
    orders = {
        balance: digest(*(window.rows_W for epoch in range(3) for window in make_plan(codes, balance).windows(epoch)))
        for balance in BALANCES
    }
    assert {balance: order[:8] for balance, order in orders.items()} == EARLIER_ORDERS


def test_a_plan_needs_two_cells():
    with pytest.raises(DataError, match="fewer than two cells to train on; give more labelled cells"):
        make_plan(np.array([-1, 0, -1]))
    assert make_plan(np.array([-1, 0, 0])).n_draws == 2


@pytest.mark.parametrize("scheme", ["", "even", "power", "power:2", "power:-1", "power:x"])
def test_an_unknown_balance_is_refused_with_the_known_ones(scheme: str):
    with pytest.raises(SettingsError, match="natural, seed, uniform, or power:A"):
        balance_exponent(scheme)


@pytest.mark.parametrize("n_classes", [127, 128, 129, 130, 32_769])
def test_no_class_is_dropped_whatever_their_number(n_classes: int):
    codes = np.arange(n_classes).repeat(2)
    drawn = np.unique(codes[rows_of(make_plan(codes, "natural", window_rows=4096), 0)])
    assert len(drawn) == n_classes
    assert len(np.unique(codes[rows_of(make_plan(codes, "uniform", window_rows=4096), 0)])) == n_classes
