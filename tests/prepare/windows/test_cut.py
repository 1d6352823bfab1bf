"""Windows of a series: which there are, in which split, and that no split's window holds a later split's target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.windows.cut import NEITHER, Cut, cut_windows, split_of_steps
from pipeline.prepare.windows.steps import Columns, build_steps, context
from pipeline.sections.data import Split
from pipeline.sections.series import Windows

TARGET = Columns(targets=(0,), known=(), static=())
NAN = float("nan")


def make(**settings: object) -> Windows:
    return Windows.model_validate({"time": "t", "period_s": 3600.0, "history": 3, "horizon": 2, **settings})


def by_time(validation_from: int, test_from: int, gap: int = 0) -> Split:
    stamps = [np.datetime_as_string(np.datetime64(hour * 3600, "s")) for hour in (validation_from, test_from)]
    boundaries = {"validation_from": str(stamps[0]), "test_from": str(stamps[1])}
    return Split.model_validate({"by": "time", "column": "t", "gap_s": gap * 3600.0, **boundaries})


def cut(values: list[float], windows: Windows, split: Split, *, first: int = 0, begin: int = 0, end: int = 10_000) -> tuple[Cut, int]:
    """(windows of a series that starts at step `first`, whose forecasts are made at steps begin to end; its first step)."""
    steps = build_steps(first + np.arange(len(values)), np.asarray(values, np.float64)[:, None], TARGET, windows)
    split_of = split_of_steps(steps.first + np.arange(len(steps)), split, windows)
    return cut_windows(steps, split_of, TARGET, windows, first=begin, last=end), steps.first


def test_a_window_for_every_step_that_has_a_whole_past_and_future():
    found, _ = cut(list(range(10)), make(), by_time(100, 200))
    assert found.starts.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.splits.tolist() == [0] * 6
    assert not any(found.lost.values())


def test_forecasts_are_made_at_whole_strides_from_the_anchor_wherever_a_series_begins():
    found, _ = cut(list(range(30)), make(stride=6), by_time(100, 200), first=4)
    origins = found.starts + 4 + 2
    assert ((origins + 1) % 6 == 0).all()
    assert origins.tolist() == [11, 17, 23, 29]


def test_a_window_over_a_hole_is_not_made_and_is_counted():
    found, _ = cut([0, 1, 2, NAN, 4, 5, 6, 7, 8, 9], make(), by_time(100, 200))
    assert found.starts.tolist() == [4, 5]
    assert found.lost["hole"] == 4


def test_what_was_filled_in_is_no_truth_to_forecast():
    found, _ = cut([0, 1, 2, NAN, 4, 5, 6, 7, 8, 9], make(fill="forward", max_fill=1), by_time(100, 200))
    assert found.starts.tolist() == [1, 2, 3, 4, 5]  # as history it will do
    found, _ = cut([0, 1, 2, NAN, 4, 5, 6, 7, 8, 9], make(fill="zero", max_fill=1), by_time(100, 200))
    assert found.starts.tolist() == [0, 1, 2, 3, 4, 5]  # no row means none sold


def test_a_horizon_lies_in_one_split_and_without_reach_back_so_does_the_history():
    found, _ = cut(list(range(20)), make(), by_time(8, 14))
    assert [(start, split) for start, split in zip(found.starts.tolist(), found.splits.tolist(), strict=True)] == [
        *((start, 0) for start in (0, 1, 2, 3)),
        *((start, 1) for start in (8, 9)),
        *((start, 2) for start in (14, 15)),
    ]
    assert found.lost["boundary"] == 8
    found, _ = cut(list(range(20)), make(reach_back=True), by_time(8, 14))
    assert dict(zip(found.starts.tolist(), found.splits.tolist(), strict=True)) == {
        **dict.fromkeys((0, 1, 2, 3), 0),
        **dict.fromkeys((5, 6, 7, 8, 9), 1),
        **dict.fromkeys((11, 12, 13, 14, 15), 2),
    }


def test_targets_within_the_gap_before_a_boundary_are_of_no_split():
    split_of = split_of_steps(np.arange(20), by_time(8, 14, gap=2), make())
    assert split_of.tolist() == [0] * 6 + [NEITHER] * 2 + [1] * 4 + [NEITHER] * 2 + [2] * 6


def test_a_period_that_holds_a_boundary_is_of_no_split():
    daily = make(period_s=86_400.0, resample="sum")
    assert split_of_steps(np.arange(4), by_time(36, 72), daily).tolist() == [0, NEITHER, 1, 2]


SERIES = st.lists(st.one_of(st.floats(-10, 10), st.just(NAN)), min_size=6, max_size=60)
SETTINGS = st.fixed_dictionaries(
    {
        "history": st.integers(1, 5),
        "horizon": st.integers(1, 4),
        "gap": st.integers(0, 2),
        "stride": st.integers(1, 3),
        "reach_back": st.booleans(),
    },
    optional={},
)
FILLS = st.sampled_from([{}, {"fill": "forward", "max_fill": 1}, {"fill": "forward", "max_fill": 3}, {"fill": "zero", "max_fill": 2}])


@given(SERIES, SETTINGS, FILLS, st.integers(5, 25), st.integers(1, 20), st.integers(0, 3))
def test_no_train_window_holds_a_target_of_validation_nor_validation_one_of_test(values, settings, fill, boundary, length, gap):
    windows, split = make(**settings, **fill), by_time(boundary, boundary + length, gap)
    found, first = cut(values, windows, split, first=3)
    targets = [set(), set(), set()]
    seen = [set(), set(), set()]
    for start, part in zip(found.starts.tolist(), found.splits.tolist(), strict=True):
        begin = first + start
        ahead = begin + windows.history + windows.gap
        targets[part] |= set(range(ahead, ahead + windows.horizon))
        seen[part] |= set(range(begin, begin + windows.span))
    assert not seen[0] & (targets[1] | targets[2])
    assert not seen[1] & targets[2]
    assert all(step < boundary - gap for step in targets[0])
    if not windows.reach_back:
        assert not seen[0] & seen[1]
        assert not seen[1] & seen[2]


@given(SERIES, SETTINGS, FILLS, st.integers(3, 17))
def test_stretches_of_a_series_give_the_windows_of_the_whole(values, settings, fill, stretch):
    windows, split = make(**settings, **fill), by_time(20, 40)
    matrix, first = np.asarray(values, np.float64)[:, None], 5
    numbers = first + np.arange(len(values))
    is_row = ~np.isnan(matrix[:, 0])  # a missing step is a missing row here
    if not is_row.any():
        return
    numbers, matrix = numbers[is_row], matrix[is_row]

    def found(keep: np.ndarray, begin: int, end: int) -> set[tuple[int, int, bytes]]:
        if not keep.any():
            return set()
        steps = build_steps(numbers[keep], matrix[keep], TARGET, windows)
        split_of = split_of_steps(steps.first + np.arange(len(steps)), split, windows)
        made = cut_windows(steps, split_of, TARGET, windows, first=begin, last=end)
        return {
            (steps.first + start, part, steps.values[start : start + windows.span].tobytes())
            for start, part in zip(made.starts.tolist(), made.splits.tolist(), strict=True)
        }

    before, after = context(windows)
    whole = found(np.ones(len(numbers), bool), 0, 10_000)
    parts = [
        found((numbers >= begin - before) & (numbers <= begin + stretch - 1 + after), begin, begin + stretch - 1)
        for begin in range(0, int(numbers[-1]) + stretch, stretch)
    ]
    assert sum(map(len, parts)) == len(whole)
    assert set().union(*parts) == whole


@pytest.mark.parametrize("stride", [1, 4])
def test_a_series_shorter_than_a_window_gives_none(stride):
    found, _ = cut([1, 2, 3, 4], make(stride=stride), by_time(100, 200))
    assert len(found.starts) == 0
