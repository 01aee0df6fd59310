"""Splits that leak nothing, and figures that agree with scikit-learn."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics

import scnym.runs.folds
from scnym import SplitSettings
from scnym.base.errors import DataError, UserError
from scnym.results.answers import ranked
from scnym.results.judged import Judged
from scnym.results.labels import label_table
from scnym.results.metrics import expected_calibration_error, measure, spread_over
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
    with pytest.raises(DataError, match="one class only"):
        make_folds(np.zeros(50, int), ("a",), SplitSettings())


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


@given(seed=st.integers(0, 1000), n_classes=st.integers(2, 6))
def test_metrics_agree_with_scikit_learn(seed, n_classes):
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, 40)
    probabilities = random.dirichlet(np.ones(n_classes), 40)
    judged = Judged.of(truth, probabilities, probabilities**2)
    found = measure(truth, judged, [str(k) for k in range(n_classes)])
    predicted = probabilities.argmax(axis=1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    macro_recall = metrics.recall_score(truth, predicted, labels=np.unique(truth), average="macro")
    assert found.balanced_accuracy == pytest.approx(macro_recall)
    assert found.mean_loss == pytest.approx(metrics.log_loss(truth, probabilities, labels=range(n_classes)))
    assert found.confusion_KK.sum() == 40
    sure_B = (probabilities**2).max(axis=1)
    assert found.calibration_error_uncalibrated == expected_calibration_error(sure_B, predicted == truth)


@given(seed=st.integers(0, 1000))
def test_cells_that_are_summed_up_apart_and_joined_are_those_summed_up_together(seed):
    random = np.random.default_rng(seed)
    truth, probabilities = random.integers(0, 4, 30), random.dirichlet(np.ones(4), 30)
    whole = Judged.of(truth, probabilities, probabilities)
    parts = [Judged.of(truth[some], probabilities[some], probabilities[some]) for some in (slice(13), slice(13, 30))]
    for one in fields(Judged):
        np.testing.assert_array_equal(getattr(Judged.joined(parts), one.name), getattr(whole, one.name))


def test_the_spread_over_folds_leaves_out_folds_without_cells_of_a_class():
    sure, names = np.eye(3), ["a", "b", "c"]
    folds = [measure(np.array(truth), Judged.of(np.array(truth), sure[predicted], sure[predicted]), names)
             for truth, predicted in (
        ([0, 0, 1, 2], [0, 1, 1, 2]), ([0, 0, 1, 1], [0, 0, 1, 0])
    )]  # fmt: skip
    spread = spread_over(folds)
    assert spread["accuracy"] == {"mean": 0.75, "sd": 0.0}
    assert spread["per_class"]["a"]["recall"] == {"mean": 0.75, "sd": pytest.approx(0.5**1.5)}
    assert spread["per_class"]["c"]["f1"] == {"mean": 1.0, "sd": None}


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    correct = np.array([True, True, True, False, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx((4 * 0.15 + 2 * 0.0) / 6)


def test_the_label_table_names_best_and_second():
    table = label_table(np.array(["x", "y"]), ranked(np.array([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]])), ["a", "b", "c"])
    assert table.to_dict(orient="records") == [
        {"cell_id": "x", "cell_type": "b", "confidence": 0.7, "margin": pytest.approx(0.5), "second": "a",
         "second_confidence": 0.2},
        {"cell_id": "y", "cell_type": "a", "confidence": 0.4, "margin": 0.0, "second": "c", "second_confidence": 0.4},
    ]  # fmt: skip
