"""The measures of a shuffle, on orders whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.feed.plan import Plan
from pipeline.feed.quality import MEASURED_ROWS, consumed, distinct_per_batch, mean_run, measure, rank_correlation, scaled


def test_equal_orders_correlate_wholly_reversed_ones_inversely_and_random_ones_not():
    order = np.random.default_rng(0).permutation(20_000)
    assert rank_correlation(order, order) == pytest.approx(1)
    assert rank_correlation(order, order[::-1]) == pytest.approx(-1)
    assert abs(rank_correlation(order, np.random.default_rng(1).permutation(20_000))) < 0.03


def test_rows_of_only_one_order_do_not_count():
    assert rank_correlation(np.array([0, 1, 2, 3, 9]), np.array([0, 1, 2, 3, 7])) == pytest.approx(1)


def test_runs_and_labels_of_a_batch_are_counted():
    labels = np.array([0, 0, 1, 1, 1, 2])
    assert mean_run(labels) == 2
    assert distinct_per_batch(labels, 3) == 2  # {0, 1} and {1, 2}


def test_consumed_rows_are_those_of_the_global_batches():
    plan = Plan((50, 30, 41, 100), 16, 4, 3)
    rows = consumed(plan, 2)
    assert len(rows) == len(set(rows.tolist())) == plan.num_steps * 16
    offsets = np.concatenate([[0], np.cumsum(plan.rows_per_file)])
    first = plan.segments(2, 1)[0]  # lane 1 gives places 4 to 7 of every batch
    assert rows[4:8].tolist() == (offsets[first.file] + plan.row_order(2, first.file)[first.begin : first.begin + 4]).tolist()


def test_more_lanes_draw_from_more_labels_of_sorted_rows():
    narrow, wide = (measure(Plan((1000,) * 40, 80, lanes, 7)) for lanes in (1, 40))
    assert narrow.window_rows == 1000 and wide.window_rows == 40_000
    assert narrow.classes_per_batch < 2 and wide.classes_per_batch > 9.9
    assert narrow.label_run > 900  # a file is one label
    assert wide.label_run == pytest.approx(2, rel=0.1)  # each lane gives two rows after each other
    assert abs(wide.order_correlation) < 0.1


def test_a_large_plan_is_measured_on_a_smaller_one_of_its_shape():
    plan = Plan((5_000_000,) * 30, 1024, 16, 1)
    small = scaled(plan)
    assert abs(small.num_rows - MEASURED_ROWS) < 100
    assert (len(small.rows_per_file), small.lanes, small.global_batch) == (30, 16, 1024)
