"""Reconstruction errors: thresholds of validation rows, anomalies above them, and errors by label and column."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate.reconstruction import Errors, Running, errors_by_feature, errors_by_label, measure, scaled

VALIDATION = np.arange(1, 101) / 100  # 0.01 to 1


def errors(squared: list[float]) -> Errors:
    values = np.asarray(squared)
    return Errors(values, np.sqrt(values), values[:1], values[:1])


def test_the_threshold_is_exceeded_by_the_share_of_validation_rows_that_was_asked_for():
    result = measure(errors([0.5, 0.96, 3.0]), errors([1, 1, 1]), VALIDATION, None, quantile=0.95)
    assert result.threshold.value == pytest.approx(0.96) and (VALIDATION > result.threshold.value).mean() == pytest.approx(0.04)
    assert (result.threshold.flagged, result.threshold.known, result.threshold.hits) == (1, None, None)
    assert set(result.metrics) == {"mse", "mae"} and result.headline == "mse"
    assert result.baseline.metrics["mse"] == 1


def test_known_anomalies_are_counted_above_the_threshold_and_ranked():
    is_anomaly = np.asarray([False, False, True, True])
    result = measure(errors([0.1, 2.0, 3.0, 0.5]), errors([1, 2, 3, 4]), VALIDATION, is_anomaly, quantile=0.95)
    assert (result.threshold.flagged, result.threshold.known, result.threshold.hits) == (2, 2, 1)
    assert result.metrics["auc"].value == pytest.approx(0.75) and result.headline == "auc"
    assert result.baseline.metrics["auc"] == 1  # the distance from the mean tells these apart


def test_errors_by_label_are_means_with_the_worst_first():
    found = errors_by_label(np.asarray([1.0, 3.0, 8.0]), np.asarray([0, 0, 2]), ("a", "b", "c"))
    assert [(item.label, item.support, item.mse) for item in found] == [("c", 1, 8.0), ("a", 2, 2.0)]


def test_running_errors_are_those_of_all_rows_at_once():
    rows = np.random.default_rng(0).normal(size=(50, 6))
    running = Running()
    for part in np.array_split(rows, 7):
        running.add(part)
    found = running.errors()
    np.testing.assert_allclose(found.squared, (rows**2).mean(axis=1))
    np.testing.assert_allclose(found.absolute_by_number, np.abs(rows).mean(axis=0))
    by_feature = errors_by_feature(found, found, list("abcdef"))
    assert [item.mse for item in by_feature] == pytest.approx(list((rows**2).mean(axis=0)))


def test_pixels_are_scaled_by_their_channel():
    pixels = np.asarray([[[[10, 40]], [[20, 80]]]], np.uint8)  # (1, 2, 1, 2)
    np.testing.assert_allclose(scaled(pixels, (10.0, 40.0)), [[1, 1, 2, 2]])
