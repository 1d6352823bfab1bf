"""Which file is read when: each once where memory allows, and never a row for two lanes."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.feed.plan import Plan
from pipeline.feed.schedule import num_read_twice, schedule


@st.composite
def schedules(draw):
    lanes = draw(st.integers(1, 8))
    files = draw(st.lists(st.integers(0, 40), min_size=1, max_size=25))
    batch = lanes * draw(st.integers(1, 5))
    assume(sum(files) // lanes >= batch // lanes)
    plan = Plan(tuple(files), batch, lanes, draw(st.integers(0, 99)))
    size = draw(st.integers(1, lanes))
    own = plan.lanes_of(draw(st.integers(0, size - 1)), size)
    first_step = draw(st.integers(0, plan.num_steps - 1))
    return plan, [plan.segments(0, lane, first_step) for lane in own], draw(st.integers(0, 60))


@given(schedules())
def test_every_segment_is_read_for_once(given_):
    plan, lanes, keep_rows = given_
    reads = schedule(lanes, plan.rows_per_lane_batch, keep_rows)
    dealt = [(part.lane, part.index, read.file, part.begin, part.end) for read in reads for part in read.parts]
    wanted = [(lane, index, s.file, s.begin, s.end) for lane, segments in enumerate(lanes) for index, s in enumerate(segments)]
    assert sorted(dealt) == sorted(wanted)


@given(schedules())
def test_a_file_comes_no_later_than_the_step_that_needs_it(given_):
    plan, lanes, keep_rows = given_
    reads = schedule(lanes, plan.rows_per_lane_batch, keep_rows)
    assert [read.step for read in reads] == sorted(read.step for read in reads)
    for read in reads:
        for part in read.parts:
            before = sum(segment.end - segment.begin for segment in lanes[part.lane][: part.index])
            needed = before // plan.rows_per_lane_batch
            assert read.step < needed if part.is_kept else read.step == needed


@given(schedules())
def test_kept_rows_stay_within_their_limit_and_with_room_no_file_is_read_twice(given_):
    plan, lanes, keep_rows = given_
    reads = schedule(lanes, plan.rows_per_lane_batch, keep_rows)
    assert sum(part.end - part.begin for read in reads for part in read.parts if part.is_kept) <= keep_rows
    assert num_read_twice(schedule(lanes, plan.rows_per_lane_batch, plan.num_rows)) == 0


def test_without_room_a_file_that_two_lanes_share_is_read_for_each():
    lanes = [Plan((100, 100, 100), 10, 2, 0).segments(0, lane) for lane in range(2)]
    assert num_read_twice(schedule(lanes, 5, keep_rows=0)) == 1
    assert num_read_twice(schedule(lanes, 5, keep_rows=50)) == 0
