"""Intervals hold what they claim."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate import intervals
from pipeline.evaluate.intervals import chunks, mean_interval, median_interval, resampled_means, wilson_interval


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.51, 0.999))
def test_wilson_stays_in_range_is_never_empty_and_mirrors(counts, confidence):
    successes, trials = counts
    interval = wilson_interval(successes, trials, confidence)
    mirrored = wilson_interval(trials - successes, trials, confidence)
    assert 0 <= interval.low < interval.high <= 1
    assert (interval.low, interval.high) == pytest.approx((1 - mirrored.high, 1 - mirrored.low), abs=1e-9)


def test_wilson_gives_the_textbook_interval():
    interval = wilson_interval(8, 10, 0.95)  # Agresti & Coull 1998's formula by hand
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_groups_of_rows_give_the_interval_that_rows_give(monkeypatch):
    values = np.random.default_rng(2).exponential(size=40_000)
    by_rows = mean_interval(values, 0.95, seed=0)
    monkeypatch.setattr(intervals, "MAX_UNITS", 3_000)
    by_groups = mean_interval(values, 0.95, seed=0)
    assert by_groups.value == by_rows.value
    assert by_groups.high - by_groups.low == pytest.approx(by_rows.high - by_rows.low, rel=0.15)


@given(st.integers(1, 5000), st.integers(1, 10_000_000))
def test_chunks_add_up_and_keep_the_memory_bound(total, cells_each):
    sizes = list(chunks(total, cells_each))
    assert sum(sizes) == total
    assert all(size == 1 or size * cells_each <= intervals.MAX_CELLS for size in sizes)


def test_a_resample_takes_the_same_rows_of_every_column():
    values = np.random.default_rng(3).normal(size=500)
    once, doubled = resampled_means([values, 2 * values], seed=0)
    assert doubled == pytest.approx(2 * once)


@pytest.mark.parametrize("rows", [5, 6, 301, 300])
def test_order_statistics_give_the_medians_that_resampled_rows_have(rows):
    generator = np.random.default_rng(rows)
    values = generator.exponential(size=rows)
    medians = np.median(values[generator.integers(0, rows, (20_000, rows))], axis=1)
    for confidence in (0.8, 0.95):
        interval = median_interval(values, confidence, seed=1)
        low, high = np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
        assert (interval.low, interval.high) == pytest.approx((min(low, interval.value), max(high, interval.value)), rel=0.1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.51, 0.999))
def test_a_median_interval_lies_within_the_values_and_holds_the_median(values, confidence):
    interval = median_interval(np.asarray(values), confidence, seed=0)
    assert interval.value == np.median(values)
    assert min(values) <= interval.low <= interval.value <= interval.high <= max(values)
