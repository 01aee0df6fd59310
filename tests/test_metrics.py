"""Figures that agree with scikit-learn, and with what can be counted by hand."""

from dataclasses import fields

import numpy as np
import pytest
from helpers import assert_frozen
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from scnym.results.labels import label_table
from scnym.results.metrics import HEADLINES, expected_calibration_error, measure, spread_over
from scnym.results.scored_cells import Judged, ranked


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
    sure_B = (probabilities**2).max(axis=1).astype(np.float32)
    assert found.calibration_error_uncalibrated == expected_calibration_error(sure_B, predicted == truth)


@given(seed=st.integers(0, 1000))
def test_cells_that_are_summed_up_apart_and_joined_are_those_summed_up_together(seed):
    random = np.random.default_rng(seed)
    truth, probabilities = random.integers(0, 4, 30), random.dirichlet(np.ones(4), 30)
    whole = Judged.of(truth, probabilities, probabilities)
    parts = [Judged.of(truth[some], probabilities[some], probabilities[some]) for some in (slice(13), slice(13, 30))]
    for one in fields(Judged):
        np.testing.assert_array_equal(getattr(Judged.joined(parts), one.name), getattr(whole, one.name))


ROUGH_BK = np.array([[0.7, 0.2, 0.1, 0.0], [0.6, 0.3, 0.1, 0.0], [0.1, 0.55, 0.35, 0.0], [0.3, 0.1, 0.6, 0.0]])
SURE_BK = np.array([[0.9, 0.08, 0.02, 0.0], [0.8, 0.15, 0.05, 0.0], [0.05, 0.7, 0.25, 0.0], [0.1, 0.0, 0.9, 0.0]])
TRUTH = np.array([0, 1, 1, 0])


def test_cells_are_summed_up_by_both_classes_and_the_probabilities_before_and_after_scaling():
    judged = Judged.of(TRUTH, ROUGH_BK, SURE_BK)
    np.testing.assert_array_equal(judged.best_C, [0, 0, 1, 2])
    np.testing.assert_array_equal(judged.second_C, [1, 1, 2, 0])
    np.testing.assert_array_equal(judged.confidence_C, np.array([0.7, 0.6, 0.55, 0.6], np.float32))
    np.testing.assert_array_equal(judged.second_confidence_C, np.array([0.2, 0.3, 0.35, 0.3], np.float32))
    np.testing.assert_array_equal(judged.likelihood_C, np.array([0.7, 0.3, 0.55, 0.3], np.float32))
    np.testing.assert_array_equal(judged.uncalibrated_C, np.array([0.9, 0.8, 0.7, 0.9], np.float32))
    assert not hasattr(judged, "__dict__")
    assert sum(getattr(judged, one.name).itemsize for one in fields(Judged)) == 18
    assert_frozen(judged)
    assert judged.ranked.best_B is judged.best_C
    assert judged.ranked.second_confidence_B is judged.second_confidence_C


@pytest.mark.parametrize(("n_classes", "code_bytes"), [(2, 1), (128, 1), (129, 2)])
def test_the_last_of_many_classes_keeps_its_code(n_classes: int, code_bytes: int):
    truth, probabilities = np.array([n_classes - 1, 0]), np.zeros((2, n_classes))
    probabilities[[0, 1], [n_classes - 1, 0]] = 1.0
    judged = Judged.of(truth, probabilities, probabilities)
    assert judged.best_C.tolist() == truth.tolist()
    assert judged.best_C.itemsize == judged.second_C.itemsize == code_bytes
    assert measure(truth, judged, [f"type {k}" for k in range(n_classes)]).accuracy == 1.0


def test_figures_are_those_that_can_be_counted_by_hand():
    found = measure(TRUTH, Judged.of(TRUTH, ROUGH_BK, SURE_BK), ["a", "b", "c", "never"])
    np.testing.assert_array_equal(found.confusion_KK, [[1, 0, 1, 0], [1, 1, 0, 0], [0] * 4, [0] * 4])
    wanted = {"accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": (1 / 2 + 2 / 3 + 0) / 3, "n_cells": 4}
    losses = {"mean_loss": -np.log([0.7, 0.3, 0.55, 0.3]).mean()}
    errors = {
        "calibration_error": (0.3 + 2 * 0.6 + 0.45) / 4,  # 0.7 right; 0.6 wrong, twice; 0.55 right
        "calibration_error_uncalibrated": (0.8 + 0.8 + 0.3) / 4,  # 0.9 right and wrong; 0.8 wrong; 0.7 right
    }
    assert found.summary() == pytest.approx(wanted | losses | errors)
    assert tuple(found.summary()) == (*HEADLINES, "n_cells")
    assert found.per_class.to_dict(orient="index") == {
        "a": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2},
        "b": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        "c": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
        "never": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    }
    assert found.per_class["support"].dtype.kind == "i"
    assert found.to_json() == {
        **found.summary(),
        "per_class": found.per_class.to_dict(orient="index"),
        "confusion": found.confusion_KK.tolist(),
    }
    assert_frozen(found)


def test_a_class_that_was_held_to_be_impossible_costs_much_but_no_infinity():
    truth, sure_BK = np.array([1]), np.array([[1.0, 0.0]])
    found = measure(truth, Judged.of(truth, sure_BK, sure_BK), ["a", "b"])
    assert found.mean_loss == pytest.approx(-np.log(np.finfo(np.float32).tiny))
    assert (found.calibration_error, found.accuracy) == (1.0, 0.0)


def test_the_spread_over_folds_leaves_out_folds_without_cells_of_a_class():
    sure, names = np.eye(3), ["a", "b", "c"]
    folds = [measure(np.array(truth), Judged.of(np.array(truth), sure[predicted], sure[predicted]), names)
             for truth, predicted in (
        ([0, 0, 1, 2], [0, 1, 1, 2]), ([0, 0, 1, 1], [0, 0, 1, 0])
    )]  # fmt: skip
    spread = spread_over(folds)
    assert set(spread) == {*HEADLINES, "per_class"}
    assert set(spread["per_class"]["a"]) == {"precision", "recall", "f1"}
    assert spread_over([]) == {}
    assert spread_over(folds[:1])["per_class"]["c"]["f1"] == {"mean": 1.0, "sd": None}
    assert spread_over(folds[1:])["per_class"]["c"]["f1"] == {"mean": None, "sd": None}
    assert spread["accuracy"] == {"mean": 0.75, "sd": 0.0}
    assert spread["per_class"]["a"]["recall"] == {"mean": 0.75, "sd": pytest.approx(0.5**1.5)}
    assert spread["per_class"]["c"]["f1"] == {"mean": 1.0, "sd": None}


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    correct = np.array([True, True, True, False, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx((4 * 0.15 + 2 * 0.0) / 6)


def test_confidences_are_binned_by_fifteenths_and_a_sure_one_is_in_the_last_bin():
    edges = (np.arange(15) + 0.5) / 15
    correct = np.arange(15) % 2 == 0
    assert expected_calibration_error(edges, correct) == pytest.approx(np.abs(edges - correct).mean())
    together = np.array([14.05, 14.5, 15.0]) / 15
    correct = np.array([True, True, False])
    assert expected_calibration_error(together, correct) == pytest.approx((together.sum() - 2) / 3)
    apart = np.array([13.8, 14.2]) / 15
    assert expected_calibration_error(apart, np.array([True, False])) == pytest.approx((1.2 / 15 + 14.2 / 15) / 2)


def test_the_label_table_names_best_and_second():
    table = label_table(np.array(["x", "y"]), ranked(np.array([[0.2, 0.7, 0.1], [0.4, 0.2, 0.4]])), ["a", "b", "c"])
    assert table.to_dict(orient="records") == [
        {"cell_id": "x", "cell_type": "b", "confidence": 0.7, "margin": pytest.approx(0.5), "second": "a",
         "second_confidence": 0.2},
        {"cell_id": "y", "cell_type": "a", "confidence": 0.4, "margin": 0.0, "second": "c", "second_confidence": 0.4},
    ]  # fmt: skip
