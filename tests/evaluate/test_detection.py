"""Known anomalies told apart by a score: the same figures as scikit-learn's, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.evaluate.detection import auc_interval, average_precision_interval

SCORED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40)  # few scores, so that many are equal


@given(SCORED)
def test_auc_and_average_precision_are_scikit_learns_with_ties_too(rows):
    scores, flags = np.asarray([score for score, _ in rows], float), np.asarray([flag for _, flag in rows])
    assume(flags.any() and not flags.all())
    area, precision = auc_interval(scores, flags, 0.95), average_precision_interval(scores, flags, 0.95)
    assert area.value == pytest.approx(roc_auc_score(flags, scores))
    assert precision.value == pytest.approx(average_precision_score(flags, scores))
    assert area.low <= area.value <= area.high and precision.low <= precision.value <= precision.high


def draw(generator: np.random.Generator, num_anomalies: int = 40, num_others: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores one deviation apart: their true area is Φ(1 / √2)."""
    scores = np.concatenate([generator.normal(1, 1, num_anomalies), generator.normal(0, 1, num_others)])
    return scores, np.arange(num_anomalies + num_others) < num_anomalies


def test_an_80_percent_interval_of_the_area_holds_the_true_one_about_80_times_in_100():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = auc_interval(*draw(generator), 0.8)
        held += found.low <= 0.7602499 <= found.high
    assert 0.75 <= held / 400 <= 0.85


def test_the_bootstrap_of_average_precision_is_that_of_rows_drawn_and_sorted_again():
    scores, flags = draw(np.random.default_rng(1))
    found = average_precision_interval(scores, flags, 0.9)
    generator = np.random.default_rng(2)
    picks = [generator.integers(0, len(scores), len(scores)) for _ in range(1000)]
    low, high = np.quantile([average_precision_score(flags[pick], scores[pick]) for pick in picks], [0.05, 0.95])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_one_anomaly_alone_has_an_interval():
    found = auc_interval(np.asarray([3.0, 1.0, 2.0, 5.0]), np.asarray([True, False, False, False]), 0.95)
    assert found.value == pytest.approx(2 / 3) and 0 <= found.low < found.value < found.high <= 1
