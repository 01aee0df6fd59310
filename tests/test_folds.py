"""Splits that leak nothing."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_frozen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

import scnym.runs.folds
from scnym import SplitSettings
from scnym.base.errors import DataError, UserError
from scnym.runs.folds import classes_of_one_group, make_folds, remarks_on_folds

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


def test_one_class_and_classes_of_one_cell_each_are_refused_with_the_way_out():
    with pytest.raises(DataError, match=r"--lower_group: one class only \('a'\); give a column with two or more"):
        make_folds(np.zeros(50, int), ("a",), SplitSettings())
    for n_folds in (0, 5):
        with pytest.raises(DataError, match="each of the 4 classes has one cell only, so none is left"):
            make_folds(np.arange(4), NAMES, SplitSettings(n_folds=n_folds))


@settings(max_examples=40, deadline=None)
@given(codes=codes_arrays, n_folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_where_no_class_is_rare_the_folds_are_those_of_scikit_learn(codes, n_folds, seed):
    *folds, _ = make_folds(codes.astype(np.int8), NAMES, SplitSettings(n_folds=n_folds, seed=seed))
    labelled = np.flatnonzero(codes >= 0)
    expected = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(labelled, codes[labelled])
    for fold, (rest, held_out) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold.held_out, labelled[held_out])
        np.testing.assert_array_equal(fold.learnt, labelled[rest])


@settings(max_examples=40, deadline=None)
@given(codes=codes_arrays, n_folds=st.integers(2, 5), seed=st.integers(0, 1000))
def test_where_no_class_is_rare_the_folds_of_groups_are_those_of_scikit_learn(codes, n_folds, seed):
    labelled, groups = np.flatnonzero(codes >= 0), np.arange(len(codes)) % 11
    *folds, _ = make_folds(codes, NAMES, SplitSettings(n_folds=n_folds, seed=seed), groups)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    expected = splitter.split(labelled, codes[labelled], groups[labelled])
    for fold, (rest, held_out) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold.held_out, labelled[held_out])
        np.testing.assert_array_equal(fold.learnt, labelled[rest])


@settings(max_examples=150, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 1, 2, 3, 4, 30]), min_size=2, max_size=6),
    n_folds=st.sampled_from([0, 2, 5, 10]),
    seed=st.integers(0, 1000),
)
def test_a_rare_class_is_held_out_as_often_as_it_can_be_and_always_learnt(sizes, n_folds, seed):
    assume(max(sizes) > 1)
    codes = np.append(np.repeat(np.arange(len(sizes)), sizes), [-1, -1])
    np.random.default_rng(seed).shuffle(codes)
    names = tuple(f"type {k}" for k in range(len(sizes)))
    *folds, final = make_folds(codes, names, SplitSettings(n_folds=n_folds, seed=seed))
    several = np.flatnonzero(np.isin(codes, np.flatnonzero(np.array(sizes) > 1)))
    held_out = np.concatenate([fold.held_out for fold in folds]) if folds else several
    np.testing.assert_array_equal(np.sort(held_out), several)
    assert len(folds) == min(n_folds, len(several))
    for code, size in enumerate(sizes):
        if folds:
            assert (code in final.not_judged) == (size == 1)
            assert sum(code in codes[fold.held_out] for fold in folds) >= min(size, len(folds)) * (size > 1)
    for fold in [*folds, final]:
        assert set(codes[fold.train]) == set(range(len(sizes)))
        assert len(fold.selection) >= 1
        np.testing.assert_array_equal(np.sort(np.append(fold.learnt, fold.held_out)), np.flatnonzero(codes >= 0))
        assert (fold.selection_by == "training") == np.array_equal(fold.selection, fold.train)


def test_where_every_class_has_one_cell_left_the_training_cells_select():
    *folds, final = make_folds(np.array([0, 0, 1, 1]), NAMES[:2], SplitSettings(n_folds=2))
    for fold in folds:
        assert fold.selection_by == "training"
        np.testing.assert_array_equal(fold.selection, fold.train)
        assert fold.sizes == {"train": 2, "selection": 0, "held_out": 2}
    assert final.selection_by == "cell"
    groups = np.arange(20)
    *folds, final = make_folds(np.repeat(np.arange(10), 2), tuple("abcdefghij"), SplitSettings(n_folds=2), groups)
    assert {fold.selection_by for fold in folds} == {"training"}
    assert final.selection_by != "training"


def test_what_becomes_of_rare_classes_is_said_in_a_line():
    codes, names = np.repeat([0, 1, 2, 3], [50, 1, 2, 3]), ("common", "one", "two", "three")
    wanted = SplitSettings()
    assert [*remarks_on_folds(make_folds(codes, names, wanted), codes, names, wanted)] == [
        "classes that are not judged, as no cell can be held out, and others learnt from: 'one'; held out in some "
        "folds only, having few cells: 'two (2 of 5)', 'three (3 of 5)'"
    ]
    alone = SplitSettings(n_folds=0)
    assert [*remarks_on_folds(make_folds(codes, names, alone), codes, names, alone)] == [
        "classes that are not judged, as no cell can be spared for selection: 'one', 'two', 'three'"
    ]
    codes = np.repeat([0, 1], [2, 1])
    assert [*remarks_on_folds(make_folds(codes, names[:2], wanted), codes, names[:2], wanted)] == [
        "2 folds in place of 5: others would hold out nothing, or learn one class only",
        "classes that are not judged, as no cell can be held out, and others learnt from: 'one'",
        "every class has one cell left to learn from, which also chooses the epoch: 'fold00', 'fold01'",
    ]
    codes = np.repeat([0, 1], [20, 20])
    assert not [*remarks_on_folds(make_folds(codes, names[:2], wanted), codes, names[:2], wanted)]


@settings(max_examples=80, deadline=None)
@given(
    n_groups=st.integers(2, 30),
    evenness=st.sampled_from([0.3, 1, 10]),
    n_folds=st.integers(2, 5),
    fraction=st.sampled_from([0.01, 0.1, 0.4]),
    seed=st.integers(0, 1000),
)
def test_no_group_is_in_two_parts_and_every_cell_that_can_be_is_held_out_once(
    n_groups, evenness, n_folds, fraction, seed
):
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
    ever = np.sort(np.concatenate([fold.held_out for fold in folds]))
    assert len(np.unique(ever)) == len(ever)
    if len(folds) == n_folds and not final.not_judged:
        np.testing.assert_array_equal(ever, labelled)
    for fold in [*folds, final]:
        together = np.append(fold.learnt, fold.held_out)
        assert len(np.unique(together)) == len(together)
        if not final.not_judged:
            np.testing.assert_array_equal(np.sort(together), labelled)
        held_out, train, selection = (set(groups[r]) for r in (fold.held_out, fold.train, fold.selection))
        assert not held_out & (train | selection)
        assert len(fold.held_out) or fold is final
        assert len(fold.selection)
        if fold.selection_by == "group":
            assert len(train | selection) >= 10
            assert not train & selection
        elsewhere = set(codes[labelled[~np.isin(groups[labelled], [*held_out])]])
        assert set(codes[fold.train]) == elsewhere  # a class is missing where all groups that have it are held out


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


def test_a_fold_of_groups_that_leaves_nothing_to_tell_apart_is_left_out():
    codes, groups = np.repeat([0, 1], [60, 6]), np.repeat(["a", "b", "c"], [33, 27, 6])
    assert classes_of_one_group(codes, ("x", "y"), groups) == ["y"]
    *folds, final = make_folds(codes, ("x", "y"), SplitSettings(n_folds=3), groups)
    assert [set(codes[fold.held_out]) for fold in folds] == [{0}, {0}]
    assert final.not_judged == {1}
    with pytest.raises(DataError, match=r"no fold has both a cell to hold out and two classes .*--n_folds 0"):
        make_folds(codes, ("x", "y"), SplitSettings(n_folds=2), np.repeat(["a", "b"], [60, 6]))


def test_a_rare_class_of_one_group_has_no_part_where_that_is_held_out_and_a_larger_one_is_unknown_there():
    codes, groups = np.array([0, 1] * 60 + [2] * 3 + [3] * 6), np.array([*"abcdef" * 20, *"a" * 9])
    *folds, final = make_folds(codes, NAMES, SplitSettings(n_folds=5), groups)
    (holding,) = (fold for fold in folds if "a" in groups[fold.held_out])
    assert set(codes[holding.held_out]) == {0, 1, 3}
    assert set(codes[holding.learnt]) == {0, 1}
    assert 2 not in codes[np.concatenate([holding.learnt, holding.held_out])]
    assert all(set(codes[fold.train]) == {0, 1, 2, 3} for fold in [*folds, final] if fold is not holding)
    assert final.not_judged == {2}


def test_a_class_without_cells_is_in_no_group():
    codes, groups = np.array([0, 0, 1, 1, -1]), np.array(["g", "h", "h", "h", "i"])
    assert classes_of_one_group(codes, ("x", "y", "nobody"), groups) == ["y"]


def test_a_class_all_of_whose_groups_are_held_out_together_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch):
    class HoldsOutTheEnd:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def split(self, rows, *_):
            places = np.arange(len(rows))
            yield places[:80], places[80:]

    monkeypatch.setattr(scnym.runs.folds, "StratifiedGroupKFold", HoldsOutTheEnd)
    codes, groups = np.array([0, 1] * 40 + [2] * 6), np.array(["g"] * 40 + ["h"] * 43 + ["i"] * 3)
    fold, _ = make_folds(codes, ("x", "y", "z"), SplitSettings(n_folds=2), groups)
    assert set(codes[fold.learnt]) == {0, 1}
    assert set(codes[fold.held_out]) == {2}
