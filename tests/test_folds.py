"""Splits that leak nothing."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import scnym.runs.folds
from scnym import SplitSettings
from scnym.base.errors import DataError, SettingsError, UserError
from scnym.runs.folds import classes_of_one_group, make_folds

codes_arrays = st.lists(st.integers(-1, 3), min_size=60, max_size=300).map(
    lambda codes: np.array([*codes, *[0, 1, 2, 3] * 5])
)
NAMES = ("a", "b", "c", "d")


@settings(max_examples=60, deadline=None)
@given(codes=codes_arrays, n_folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_parts_of_a_fold_never_overlap_and_every_cell_is_held_out_exactly_once(codes, n_folds, seed):
    *folds, final = make_folds(codes, NAMES, SplitSettings(n_folds=n_folds, seed=seed))
    labelled = np.flatnonzero(codes >= 0)
    assert len(folds) == n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.held_out for fold in folds])), labelled)
    for fold in [*folds, final]:
        together = np.concatenate([fold.train, fold.selection, fold.held_out])
        np.testing.assert_array_equal(np.sort(together), labelled)
        assert set(codes[fold.train]) == {0, 1, 2, 3}
        assert len(fold.selection) >= 1
    assert len(final.held_out) == 0


def test_folds_are_stratified_and_sized_as_promised():
    codes = np.repeat([0, 1, 2, 3], [500, 300, 150, 50])
    for fold in make_folds(codes, NAMES, SplitSettings())[:-1]:
        np.testing.assert_array_equal(np.bincount(codes[fold.held_out]), [100, 60, 30, 10])
        np.testing.assert_array_equal(np.bincount(codes[fold.selection]), [40, 24, 12, 4])


def test_folds_are_named_in_order_and_give_rows_in_order():
    folds = make_folds(np.repeat([0, 1, 2, 3], 50)[::-1].copy(), NAMES, SplitSettings(n_folds=3))
    assert [fold.name for fold in folds] == ["fold00", "fold01", "fold02", "all_data"]
    for fold in folds:
        assert fold.selection_by == "cell"
        for rows in (fold.train, fold.selection, fold.held_out):
            assert (np.diff(rows) > 0).all()
    assert_frozen(folds[0])


def test_a_tenth_of_every_class_selects_rounded_and_never_all_of_it():
    (final,) = make_folds(np.repeat([0, 1, 2, 3], [4, 5, 15, 24]), NAMES, SplitSettings(n_folds=0))
    np.testing.assert_array_equal(np.bincount(np.repeat([0, 1, 2, 3], [4, 5, 15, 24])[final.selection]), [0, 1, 2, 2])
    most = SplitSettings(n_folds=0, selection_fraction=0.9)
    (final,) = make_folds(np.repeat([0, 1], [4, 2]), ("a", "b"), most)
    np.testing.assert_array_equal(np.bincount(np.repeat([0, 1], [4, 2])[final.train]), [1, 1])


def test_where_a_tenth_is_no_cell_one_of_the_largest_class_selects():
    codes = np.repeat([0, 1, 2], [3, 4, 2])
    for seed in range(5):
        (final,) = make_folds(codes, NAMES[:3], SplitSettings(n_folds=0, seed=seed))
        np.testing.assert_array_equal(codes[final.selection], [1])
    assert len(make_folds(np.array([0, 0, 1, 1]), NAMES[:2], SplitSettings(n_folds=0))[0].selection) == 1
    with pytest.raises(SettingsError, match="too few cells to set any aside for selection; give more labelled cells"):
        make_folds(np.array([0, 0, 1, 1]), NAMES[:2], SplitSettings(n_folds=2))


def test_selection_differs_between_folds_and_seeds():
    codes, settings_of = np.zeros(100, int), [SplitSettings(n_folds=0, seed=seed) for seed in (0, 1)]
    codes[50:] = 1
    finals = [make_folds(codes, NAMES[:2], one)[-1].selection for one in settings_of]
    with_folds = make_folds(codes, NAMES[:2], SplitSettings())[-1].selection
    assert not np.array_equal(finals[0], finals[1])
    assert not np.array_equal(finals[0], with_folds)


@pytest.mark.parametrize(("fraction", "n_selected"), [(0.1, 10), (0.2, 20), (0.4, 50), (0.6, 50), (0.001, 5)])
def test_the_groups_that_select_are_as_near_to_the_share_as_even_parts_come(fraction: float, n_selected: int):
    codes, groups = np.tile([0, 1, 0, 1, 0], 20), np.repeat(np.arange(20), 5)
    settings_ = SplitSettings(n_folds=0, selection_fraction=fraction)
    (final,) = make_folds(codes, NAMES[:2], settings_, groups)
    assert final.selection_by == "group"
    assert len(final.selection) == n_selected
    assert not set(groups[final.selection]) & set(groups[final.train])


def test_the_seed_decides_which_groups_select():
    codes, groups = np.tile([0, 1, 0, 1, 0], 20), np.repeat(np.arange(20), 5)
    chosen = set()
    for seed in range(5):
        (final,) = make_folds(codes, NAMES[:2], SplitSettings(n_folds=0, seed=seed), groups)
        assert final.selection_by == "group"
        chosen.add(frozenset(groups[final.selection].tolist()))
    assert len(chosen) > 1


def test_of_uneven_groups_those_select_that_come_nearest_to_the_share():
    groups = np.repeat(np.arange(12), [30, 30, 30, 30, *[8] * 6, 20, 12])
    codes = np.tile([0, 1], 100)
    (final,) = make_folds(codes, NAMES[:2], SplitSettings(n_folds=0), groups)
    assert final.selection_by == "group"
    assert len(final.selection) == 20


def test_groups_do_not_select_where_a_class_would_be_left_without_cells():
    groups, codes = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
    codes[:4] = 2  # which only one group has
    settings_ = SplitSettings(n_folds=0, selection_fraction=0.5)
    finals = [make_folds(codes, NAMES[:3], replace(settings_, seed=seed), groups)[-1] for seed in range(4)]
    for final in finals:
        assert final.selection_by == "group"
        assert 2 in codes[final.train]


def test_the_seed_decides_the_folds():
    codes = np.repeat([0, 1, 2, 3], 50)
    first, again, other = (make_folds(codes, NAMES, SplitSettings(seed=seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a.train, b.train) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].held_out, other[0].held_out)


def test_no_folds_gives_the_final_model_only():
    (final,) = make_folds(np.repeat([0, 1, 2, 3], 50), NAMES, SplitSettings(n_folds=0))
    assert final.name == "all_data"


def test_classes_too_small_or_too_few_are_refused_with_the_way_out():
    codes = np.repeat([0, 1, 2, 3], [50, 50, 50, 4])
    with pytest.raises(DataError, match=r"fewer than 5 cells: 'd \(4\)'; .*--min_cells_per_class 5"):
        make_folds(codes, NAMES, SplitSettings())
    with pytest.raises(DataError, match=r"--lower_group: one class only \('a'\); give a column with two or more"):
        make_folds(np.zeros(50, int), ("a",), SplitSettings())
    with pytest.raises(DataError, match=r"fewer than 2 cells: 'd \(1\)'; leave them out"):
        make_folds(np.array([0, 0, 1, 1, 2, 2, 3]), NAMES, SplitSettings(n_folds=0))
    assert make_folds(np.repeat([0, 1, 2, 3], 5), NAMES, SplitSettings())


@settings(max_examples=80, deadline=None)
@given(
    n_groups=st.integers(2, 30),
    evenness=st.sampled_from([0.3, 1, 10]),
    n_folds=st.integers(2, 5),
    fraction=st.sampled_from([0.01, 0.1, 0.4]),
    seed=st.integers(0, 1000),
)
def test_no_group_is_in_two_parts_and_every_cell_is_held_out_once(n_groups, evenness, n_folds, fraction, seed):
    random = np.random.default_rng(seed)
    groups = random.choice(n_groups, 200, p=random.dirichlet(np.full(n_groups, evenness))).astype(str)
    codes = random.integers(-1, 4, 200)
    labelled = np.flatnonzero(codes >= 0)
    try:
        wanted = SplitSettings(n_folds=n_folds, seed=seed, selection_fraction=fraction)
        *folds, final = make_folds(codes, NAMES, wanted, groups)
    except UserError:
        assume(False)  # groups that cannot be dealt are refused, as other tests show
        return
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.held_out for fold in folds])), labelled)
    for fold in [*folds, final]:
        together = np.concatenate([fold.train, fold.selection, fold.held_out])
        np.testing.assert_array_equal(np.sort(together), labelled)
        held_out, train, selection = (set(groups[r]) for r in (fold.held_out, fold.train, fold.selection))
        assert not held_out & (train | selection)
        assert len(fold.held_out) or fold is final
        assert len(fold.selection)
        if fold.selection_by == "group":
            assert len(train | selection) >= 10
            assert not train & selection
        alone = classes_of_one_group(codes, NAMES, groups)
        assert {NAMES[code] for code in set(codes[fold.train])} >= {*NAMES} - {*alone}


def test_selection_takes_whole_groups_from_ten_on_and_cells_below():
    codes = np.tile([0, 1, 2, 3], 60)
    for n_groups, by in ((40, "group"), (11, "cell"), (5, "cell")):
        first, *_, final = make_folds(codes, NAMES, SplitSettings(), (np.arange(240) // 4 % n_groups).astype(str))
        assert first.selection_by == by
        assert final.selection_by == ("group" if n_groups >= 10 else "cell")
        assert 10 <= len(first.selection) <= 40


def test_groups_that_cannot_be_dealt_are_refused_with_the_way_out():
    codes = np.tile([0, 1, 2, 3], 20)
    with pytest.raises(DataError, match=r"3 groups .* fewer than 5 folds; give --n_folds 3"):
        make_folds(codes, NAMES, SplitSettings(), (np.arange(80) // 4 % 3).astype(str))
    with pytest.raises(DataError, match=r"1 groups .* column with two groups"):
        make_folds(codes, NAMES, SplitSettings(), np.full(80, "one"))
    codes, groups = np.repeat([0, 1], [60, 6]), np.repeat(["a", "b", "c", "a", "b"], [20, 20, 20, 3, 3])
    assert make_folds(codes, ("x", "y"), SplitSettings(n_folds=3), groups)
    groups = np.repeat(["a", "b", "c"], [33, 27, 6])
    assert classes_of_one_group(codes, ("x", "y"), groups) == ["y"]
    with pytest.raises(DataError, match=r"leave one class only to learn from.*--n_folds or --seed"):
        make_folds(codes, ("x", "y"), SplitSettings(n_folds=3), groups)


def test_a_class_without_cells_is_in_no_group():
    codes, groups = np.array([0, 0, 1, 1, -1]), np.array(["g", "h", "h", "h", "i"])
    assert classes_of_one_group(codes, ("x", "y", "nobody"), groups) == ["y"]


def test_a_class_that_several_groups_have_must_be_there_to_learn_from(monkeypatch: pytest.MonkeyPatch):
    class HoldsOutTheEnd:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def split(self, rows, *_):
            yield rows[:80], rows[80:]

    monkeypatch.setattr(scnym.runs.folds, "StratifiedGroupKFold", HoldsOutTheEnd)
    codes, groups = np.array([0, 1] * 40 + [2] * 6), np.array(["g"] * 40 + ["h"] * 43 + ["i"] * 3)
    with pytest.raises(DataError, match=r"leave no cell of 'z' to learn from in one fold"):
        make_folds(codes, ("x", "y", "z"), SplitSettings(n_folds=2), groups)
    groups[80:] = "i"  # one group: nothing can be done, and no other split would help
    assert make_folds(codes, ("x", "y", "z"), SplitSettings(n_folds=2), groups)
