"""The step plan, over thousands of shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.feed.plan import Plan, Position, evaluation_share

FILES = st.lists(st.integers(0, 60), min_size=1, max_size=20)


@st.composite
def plans(draw):
    lanes = draw(st.integers(1, 8))
    files = draw(FILES)
    batch = lanes * draw(st.integers(1, 6))
    assume(sum(files) // lanes >= batch // lanes)
    return Plan(tuple(files), batch, lanes, draw(st.integers(0, 1000)))


def rows_of_lane(plan: Plan, epoch: int, lane: int, first_step: int = 0) -> list[tuple[int, int]]:
    """(file, row) in the order that a lane gives them."""
    return [
        (segment.file, int(row))
        for segment in plan.segments(epoch, lane, first_step)
        for row in plan.row_order(epoch, segment.file)[segment.begin : segment.end]
    ]


def global_batches(plan: Plan, epoch: int, size: int, start: int = 0) -> list[list[tuple[int, int]]]:
    """Every global batch as the ranks of a world give it, rank after rank."""
    lanes = [[rows_of_lane(plan, epoch, lane, start) for lane in plan.lanes_of(rank, size)] for rank in range(size)]
    share = plan.rows_per_lane_batch
    return [
        [row for rank in lanes for lane in rank for row in lane[step * share : (step + 1) * share]]
        for step in range(plan.num_steps - start)
    ]


@given(plans(), st.integers(0, 3))
def test_no_row_comes_twice_and_fewer_than_a_batch_and_a_lane_each_are_left_out(plan, epoch):
    rows = [row for lane in range(plan.lanes) for row in rows_of_lane(plan, epoch, lane)]
    assert len(set(rows)) == len(rows) == plan.num_steps * plan.global_batch
    assert 0 <= plan.num_rows - len(rows) < plan.global_batch + plan.lanes


@given(plans(), st.integers(0, 3), st.integers(1, 8))
def test_the_global_batches_are_the_same_on_any_number_of_ranks(plan, epoch, size):
    assume(size <= plan.lanes)
    assert global_batches(plan, epoch, size) == global_batches(plan, epoch, 1)


@given(plans(), st.integers(0, 3), st.data())
def test_another_number_of_ranks_continues_with_the_rest_and_nothing_else(plan, epoch, data):
    position = Position(epoch, data.draw(st.integers(0, plan.num_steps)))
    size = data.draw(st.integers(1, plan.lanes))
    assert global_batches(plan, epoch, size, position.step) == global_batches(plan, epoch, 1)[position.step :]


@given(plans())
def test_epochs_differ_in_order_but_a_seed_always_gives_the_same(plan):
    assume(plan.num_rows >= 20 and plan.num_steps >= 1)
    again = Plan(plan.rows_per_file, plan.global_batch, plan.lanes, plan.seed)
    assert global_batches(plan, 0, 1) == global_batches(again, 0, 1)
    assert [rows_of_lane(plan, 0, lane) for lane in range(plan.lanes)] != [rows_of_lane(plan, 1, lane) for lane in range(plan.lanes)]


@given(plans(), st.integers(1, 8))
def test_every_rank_serves_a_lane_and_every_lane_has_one_rank(plan, size):
    assume(size <= plan.lanes)
    shares = [plan.lanes_of(rank, size) for rank in range(size)]
    assert [lane for share in shares for lane in share] == list(range(plan.lanes))
    assert all(len(share) for share in shares)


@given(FILES, st.integers(1, 9))
def test_evaluation_reads_every_row_once_over_all_ranks(rows_per_file, size):
    shares = [evaluation_share(rows_per_file, rank, size) for rank in range(size)]
    rows = [(segment.file, row) for share in shares for segment in share for row in range(segment.begin, segment.end)]
    assert rows == [(file, row) for file, count in enumerate(rows_per_file) for row in range(count)]
    sizes = [sum(segment.end - segment.begin for segment in share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_fewer_rows_than_a_batch_are_refused_with_the_numbers_and_the_way_out():
    with pytest.raises(DataError, match=r"75 train rows do not fill one global batch of 128 rows in 8 lanes.*global_batch to 72 or less"):
        Plan((40, 35), 128, 8, 0)


def test_more_ranks_than_lanes_are_refused():
    with pytest.raises(ValueError, match="9 ranks cannot share 8 lanes: set train.lanes to 9"):
        Plan((640,), 64, 8, 0).lanes_of(0, 9)


def test_the_order_of_a_file_is_a_permutation_of_its_rows():
    plan = Plan((7, 100), 10, 5, 3)
    assert np.array_equal(np.sort(plan.row_order(4, 1)), np.arange(100))
