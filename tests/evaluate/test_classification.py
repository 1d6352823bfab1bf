"""Intervals hold what they claim, and every number agrees with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from pipeline.evaluate.classification import calibration, macro_f1_interval, majority_class, measure


@st.composite
def answers(draw, max_rows=60, max_classes=5):
    """(N,) labels and (N, K) probabilities, some of them exactly 0 or 1."""
    num_classes, rows = draw(st.integers(2, max_classes)), draw(st.integers(1, max_rows))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probabilities = generator.dirichlet(np.full(num_classes, draw(st.sampled_from([0.01, 0.3, 3.0]))), size=rows)
    return generator.integers(0, num_classes, rows), probabilities


def measured(labels, probabilities, **options):
    return measure(labels, probabilities, [f"c{i}" for i in range(probabilities.shape[1])], majority=0, **options)


@given(answers())
def test_values_are_those_of_scikit_learn(answer):
    labels, probabilities = answer
    predicted, indices = probabilities.argmax(1), np.arange(probabilities.shape[1])
    result = measured(labels, probabilities)
    occurring = np.union1d(labels, predicted)
    assert result.metrics["accuracy"].value == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert result.metrics["macro_f1"].value == pytest.approx(sklearn_metrics.f1_score(labels, predicted, labels=occurring, average="macro"))
    assert result.metrics["log_loss"].value == pytest.approx(sklearn_metrics.log_loss(labels, probabilities, labels=indices))
    assert result.confusion == tuple(map(tuple, sklearn_metrics.confusion_matrix(labels, predicted, labels=indices).tolist()))


@given(answers())
def test_every_row_is_counted_once_in_support_and_confusion(answer):
    labels, probabilities = answer
    result = measured(labels, probabilities)
    assert sum(metric.support for metric in result.per_class) == sum(map(sum, result.confusion)) == result.rows == len(labels)


@given(answers())
def test_every_interval_holds_its_value_and_is_finite(answer):
    for interval in measured(*answer).metrics.values():
        assert interval.low <= interval.value <= interval.high < np.inf


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    generator = np.random.default_rng(1)
    labels, probabilities = generator.integers(0, 3, 200), generator.dirichlet(np.ones(3), 200)
    assert measured(labels, probabilities, seed=3) == measured(labels, probabilities, seed=3)
    assert measured(labels, probabilities, seed=3) != measured(labels, probabilities, seed=4)


def test_resampling_the_confusion_matrix_equals_resampling_rows():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 300)
    predicted = np.where(generator.random(300) < 0.7, labels, generator.integers(0, 3, 300))
    picks = generator.integers(0, 300, (1000, 300))
    by_rows = [sklearn_metrics.f1_score(labels[pick], predicted[pick], average="macro") for pick in picks[:400]]
    interval = macro_f1_interval(sklearn_metrics.confusion_matrix(labels, predicted), 0.95, seed=0)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(by_rows, [0.025, 0.975])), abs=0.012)


@given(answers())
def test_calibration_bins_hold_every_row_and_their_gaps_make_the_error(answer):
    labels, probabilities = answer
    result = calibration(labels, probabilities)
    right, sure = probabilities.argmax(1) == labels, probabilities.max(1)
    gaps = [abs(np.sum(inside * (right - sure))) for bin in result.bins for inside in [(sure > bin.low) & (sure <= bin.high)]]
    assert sum(bin.count for bin in result.bins) == len(labels)
    assert all(bin.low - 1e-9 <= bin.confidence <= bin.high + 1e-9 for bin in result.bins)
    assert result.error == pytest.approx(sum(gaps) / len(labels))


def test_a_model_that_is_always_sure_and_half_right_has_a_calibration_error_of_one_half():
    labels, probabilities = np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])
    assert calibration(labels, probabilities).error == 0.5


def test_a_class_that_never_occurs_has_zeros_in_its_row_and_no_part_in_macro_f1():
    result = measured(np.array([0, 1]), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    assert result.metrics["macro_f1"].value == 1
    assert (result.per_class[2].support, result.per_class[2].f1) == (0, 0)


@pytest.mark.parametrize(
    ("counts", "expected"), [({"a": 1, "b": 5}, 1), ({"a": 5, "b": 5}, 0), ({"b": 1}, 1)], ids=["most", "tie: first", "class without rows"]
)
def test_majority_is_the_most_frequent_train_class(counts, expected):
    assert majority_class(counts, ["a", "b"]) == expected
    labels = np.array([0, 0, 0, 1])
    baseline = measure(labels, np.eye(2)[labels], ["a", "b"], majority=expected).baseline
    assert (baseline.answer, baseline.metrics) == ("ab"[expected], {"accuracy": [0.75, 0.25][expected]})
