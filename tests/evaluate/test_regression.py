"""Every number agrees with scikit-learn's, intervals hold what they claim, and labels that do not vary are no accident."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from pipeline.errors import DataError
from pipeline.evaluate.regression import error_ranges, measure, to_raw_unit, train_mean
from pipeline.schema import METRICS, ColumnStatistics
from tests.evaluate.finished_regression import MEAN, STD, prepared_facts


@st.composite
def answers(draw, max_rows=60):
    """(N,) labels and predictions, at scales from a thousandth to a million and far from 0 or not."""
    rows, generator = draw(st.integers(2, max_rows)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, offset = 10.0 ** draw(st.integers(-3, 6)), draw(st.sampled_from([0.0, 1.0, -1000.0]))
    true = generator.normal(offset, 1, rows) * scale
    return true, true + generator.normal(draw(st.sampled_from([0.0, 3.0])), 1, rows) * scale * draw(st.sampled_from([0.0, 0.1, 1.0]))


def measured(true, predicted, mean=0.0, **options):
    return measure(np.asarray(true, np.float64), np.asarray(predicted, np.float64), mean=mean, **options)


@given(answers())
def test_values_are_those_of_scikit_learn(answer):
    true, predicted = answer
    result = measured(true, predicted, mean=true[0])
    assert tuple(result.metrics) == tuple(result.baseline.metrics) == METRICS["regression"]
    found = {name: interval.value for name, interval in result.metrics.items()}
    for values, answered in ((found, predicted), (result.baseline.metrics, np.full_like(true, true[0]))):
        assert values["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, answered))
        assert values["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(true, answered))
        assert values["r2"] == pytest.approx(sklearn_metrics.r2_score(true, answered), rel=1e-6, abs=1e-9)
        assert values["median_absolute_error"] == pytest.approx(sklearn_metrics.median_absolute_error(true, answered))


@given(answers())
def test_every_interval_holds_its_value_and_is_finite(answer):
    for interval in measured(*answer).metrics.values():
        assert -np.inf < interval.low <= interval.value <= interval.high < np.inf


def test_intervals_are_those_of_resampled_rows():
    generator = np.random.default_rng(1)
    true = generator.normal(50, 10, 400)
    predicted = true + generator.exponential(5, 400)
    picks = generator.integers(0, 400, (4000, 400))
    resampled = {
        "mae": [sklearn_metrics.mean_absolute_error(true[pick], predicted[pick]) for pick in picks],
        "rmse": [sklearn_metrics.root_mean_squared_error(true[pick], predicted[pick]) for pick in picks],
        "r2": [sklearn_metrics.r2_score(true[pick], predicted[pick]) for pick in picks],
        "median_absolute_error": [sklearn_metrics.median_absolute_error(true[pick], predicted[pick]) for pick in picks],
    }
    for name, interval in measured(true, predicted).metrics.items():
        low, high = np.quantile(resampled[name], [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.12 * (high - low)), name


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    true = np.random.default_rng(0).normal(size=100)
    assert measured(true, true + 1, seed=3) == measured(true, true + 1, seed=3)
    assert measured(true, true**2, seed=3) != measured(true, true**2, seed=4)


@pytest.mark.parametrize(("label", "predicted", "r2"), [(0.5, 0.5, 1.0), (0.5, 0.7, 0.0)], ids=["no error", "an error"])
def test_labels_that_do_not_vary_have_the_r2_of_scikit_learn(label, predicted, r2):
    found = measured([label] * 3, [predicted] * 3).metrics["r2"]
    assert (found.value, found.low, found.high) == (r2, r2, r2) == (sklearn_metrics.r2_score([label] * 3, [predicted] * 3),) * 3


def test_labels_whose_mean_is_rounded_do_not_vary_either():
    assert measured([0.1] * 3, [0.1, 0.1, 0.2]).metrics["r2"].value == 0  # scikit-learn 1.9 divides by the rounding error: -1.7e31


def test_one_row_is_enough():
    result = measured([2.0], [5.0])
    assert (result.metrics["mae"].value, result.metrics["mae"].low, result.metrics["mae"].high) == (3.0, 3.0, 3.0)
    assert result.metrics["r2"].value == 0.0


def test_predictions_as_large_as_unscaling_gives_do_not_overflow():
    largest = float(np.finfo(np.float32).max)
    result = measured([1.0, 2.0, 3.0], [largest, -largest, 3.0])
    assert all(np.isfinite([interval.low, interval.high]).all() for interval in result.metrics.values())


def test_ranges_are_tenths_of_the_rows_with_their_own_errors():
    true = np.arange(100.0)
    ranges = error_ranges(true, true + np.where(true < 50, 2.0, -4.0))
    assert [item.support for item in ranges] == [10] * 10
    assert (ranges[0].low, ranges[0].high, ranges[-1].high) == (0, 9, 99)
    assert [(item.mae, item.bias) for item in (ranges[0], ranges[-1])] == [(2, 2), (4, -4)]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60))
def test_ranges_hold_every_row_once_and_never_part_equal_labels(values):
    true = np.asarray(values, np.float64)
    ranges = error_ranges(true, true)
    assert sum(item.support for item in ranges) == len(true)
    assert all(left.high < right.low for left, right in zip(ranges, ranges[1:], strict=False))


def test_scaled_values_come_back_in_the_raw_unit():
    assert to_raw_unit(np.asarray([-1.0, 0.0, 2.0], np.float32), prepared_facts()) == pytest.approx([MEAN - STD, MEAN, MEAN + 2 * STD])


def test_the_baseline_answers_the_mean_of_the_train_rows():
    facts = prepared_facts()
    assert train_mean(facts) == MEAN
    statistics = ColumnStatistics(count=1, nulls=0, distinct=1, mean=44_999.5)
    assert train_mean(facts.model_copy(update={"statistics": {"price": statistics}})) == 44_999.5


def test_data_without_its_label_s_scaler_is_refused():
    with pytest.raises(DataError, match="does not say how the label price was scaled"):
        to_raw_unit(np.zeros(1), prepared_facts().model_copy(update={"target": None}))
