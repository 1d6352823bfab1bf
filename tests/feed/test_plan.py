"""The step plan, over thousands of shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.feed.plan import EvaluationPlan, Plan, Position, evaluation_share

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


# Files of up to a million rows and 64 ranks: rows are counted as ranges, never listed.
WIDE_FILES = st.lists(st.one_of(st.integers(0, 3), st.integers(1, 1_000_000)), min_size=1, max_size=40)


@st.composite
def wide_plans(draw):
    lanes, files = draw(st.integers(1, 64)), draw(WIDE_FILES)
    share = sum(files) // lanes
    assume(share >= 1)
    batch = lanes * draw(st.integers(1, min(share, 5000)))
    return Plan(tuple(files), batch, lanes, draw(st.integers(0, 2**31)))


def ranges(segments):
    """(file, begin, end) in the files' shuffled orders, sorted, touching ones joined."""
    joined = []
    for file, begin, end in sorted((segment.file, segment.begin, segment.end) for segment in segments):
        if joined and joined[-1][0] == file and joined[-1][2] == begin:
            joined[-1][2] = end
        else:
            joined.append([file, begin, end])
    return joined


def are_disjoint(parts):
    return all(left[0] != right[0] or left[2] <= right[1] for left, right in zip(parts, parts[1:], strict=False))


@settings(max_examples=1000)
@given(wide_plans(), st.integers(0, 5), st.integers(1, 64))
def test_ranges_of_any_size_are_disjoint_and_all_but_the_stated_rest(plan, epoch, size):
    assume(size <= plan.lanes)
    lanes = [plan.segments(epoch, lane) for lane in range(plan.lanes)]
    served = [lane for rank in range(size) for lane in plan.lanes_of(rank, size)]
    assert served == list(range(plan.lanes))
    parts = sorted((segment.file, segment.begin, segment.end) for lane in lanes for segment in lane)
    assert are_disjoint(parts)
    assert all(0 <= begin < end <= plan.rows_per_file[file] for file, begin, end in parts)
    rows = sum(end - begin for _, begin, end in parts)
    assert rows == plan.num_steps * plan.global_batch and 0 <= plan.num_rows - rows < plan.global_batch + plan.lanes


@settings(max_examples=1000)
@given(wide_plans(), st.integers(0, 5), st.data())
def test_a_position_splits_every_lane_into_what_was_and_what_is_left(plan, epoch, data):
    step = data.draw(st.integers(0, plan.num_steps))
    lane = data.draw(st.integers(0, plan.lanes - 1))
    whole, rest = plan.segments(epoch, lane), plan.segments(epoch, lane, step)
    assert sum(segment.end - segment.begin for segment in rest) == (plan.num_steps - step) * plan.rows_per_lane_batch
    left = {(segment.file, segment.end) for segment in rest}
    assert left <= {(segment.file, segment.end) for segment in whole}
    assert [segment.file for segment in rest] == [segment.file for segment in whole][len(whole) - len(rest) :]


@settings(max_examples=1000)
@given(WIDE_FILES, st.integers(1, 5000), st.integers(1, 64))
def test_padded_evaluation_takes_equal_steps_and_every_row_once(rows_per_file, batch, size):
    plan = EvaluationPlan(tuple(rows_per_file), batch, size)
    shares = [plan.share(rank) for rank in range(size)]
    parts = ranges([segment for share in shares for segment in share])
    assert parts == [[file, 0, count] for file, count in enumerate(rows_per_file) if count]
    for rank, share in enumerate(shares):
        rows = sum(segment.end - segment.begin for segment in share)
        assert rows + plan.num_padded(rank) == plan.num_steps * batch and plan.num_padded(rank) >= 0
    assert plan.num_steps == 0 or min(plan.num_padded(rank) for rank in range(size)) < batch
