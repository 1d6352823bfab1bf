"""Rows of one series become steps on its grid; what is missing stays missing or is filled as the recipe says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.windows.steps import NOWHERE, Columns, build_steps, fill_sources, gaps, off_grid, step_numbers, step_time
from pipeline.sections.series import Windows

NAN = float("nan")
TARGET = Columns(targets=(0,), known=(), static=())


def windows(**settings: object) -> Windows:
    return Windows.model_validate({"time": "t", "period_s": 60.0, "history": 3, "horizon": 2, **settings})


def steps_of(numbers: list[int], values: list[float], columns: Columns = TARGET, **settings: object):
    matrix = np.asarray(values, np.float64).reshape(len(numbers), -1)
    return build_steps(np.asarray(numbers), matrix, columns, windows(**settings))


def test_every_step_from_the_first_row_to_the_last_is_there():
    steps = steps_of([7, 8, 11], [1, 2, 3])
    assert steps.first == 7
    np.testing.assert_array_equal(steps.values[:, 0], [1, 2, NAN, NAN, 3])
    np.testing.assert_array_equal(steps.has_row, [True, True, False, False, True])
    np.testing.assert_array_equal(steps.rows, [0, 1, NOWHERE, NOWHERE, 2])
    assert gaps(steps) == [(9, 2)]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", 2.0), ("sum", 6.0), ("min", 1.0), ("max", 3.0), ("first", 1.0), ("last", 3.0)],
    ids=lambda value: str(value),
)
def test_rows_of_a_period_become_one_step(how, expected):
    steps = steps_of([4, 4, 4, 5], [1, 2, 3, 9], resample=how)
    assert steps.values[:, 0].tolist() == [expected, 9]


def test_missing_values_are_left_out_of_an_aggregate_and_nothing_but_missing_is_missing():
    steps = steps_of([4, 4, 5, 5], [1, NAN, NAN, NAN], resample="mean")
    np.testing.assert_array_equal(steps.values[:, 0], [1, NAN])
    assert steps.is_measured[:, 0].tolist() == [True, False]


def test_forward_fills_short_runs_and_leaves_long_ones():
    steps = steps_of([0, 3, 7], [1, 2, 3], fill="forward", max_fill=2)
    np.testing.assert_array_equal(steps.values[:, 0], [1, 1, 1, 2, NAN, NAN, NAN, 3])
    assert steps.is_measured[:, 0].tolist() == [True, False, False, True, False, False, False, True]
    assert steps.rows.tolist() == [0, 0, 0, 1, NOWHERE, NOWHERE, NOWHERE, 2]


def test_zero_fills_what_is_forecast_but_carries_what_is_known_ahead():
    columns = Columns(targets=(0,), known=(1,), static=())
    steps = steps_of([0, 2], [[5.0, 1.25], [6.0, 1.5]], columns, fill="zero", max_fill=1)
    np.testing.assert_array_equal(steps.values, [[5, 1.25], [0, 1.25], [6, 1.5]])


def test_what_never_changes_is_carried_as_far_as_a_history_is_long():
    columns = Columns(targets=(0,), known=(), static=(1,))
    rows = [[1.0, 4.0], [1.0, NAN], [1.0, NAN], [1.0, NAN]]
    steps = steps_of([0, 1, 2, 3], rows, columns)
    np.testing.assert_array_equal(steps.values[:, 1], [4, 4, 4, NAN])


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5))
def test_a_run_is_filled_whole_or_not_at_all(is_given, longest):
    column = np.asarray(is_given)[:, None]
    sources = fill_sources(column, longest)[:, 0]
    text = "".join("x" if flag else "." for flag in is_given)
    for place, flag in enumerate(is_given):
        before, after = text.rfind("x", 0, place + 1), text.find("x", place)
        is_short = before >= 0 and after >= 0 and after - before - 1 <= longest
        assert sources[place] == (place if flag else before if is_short else NOWHERE)


def test_stamps_between_two_steps_are_off_the_grid():
    times = np.asarray([0.0, 60.0, 61.0, 119.9999999])
    numbers = step_numbers(times, windows())
    assert off_grid(times, numbers, windows()).tolist() == [False, False, True, False]
    assert numbers.tolist() == [0, 1, 1, 2]
    assert not off_grid(times, step_numbers(times, windows(resample="mean")), windows(resample="mean")).any()


def test_an_anchor_moves_the_grid():
    monday = windows(period_s=7 * 86_400.0, anchor="2024-01-01")
    times = step_time(np.asarray([0, 3]), monday)
    assert step_numbers(times, monday).tolist() == [0, 3]
    assert times[0] == 1_704_067_200


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fill": "forward"}, "max_fill"),
        ({"max_fill": 3}, "fill"),
        ({"resample": "mean", "duplicates": "mean"}, "duplicates"),
        ({"season": 4}, "season"),
        ({"anchor": "monday"}, "anchor"),
    ],
    ids=["fill alone", "max_fill alone", "two rules for a stamp", "season beyond the history", "no time"],
)
def test_settings_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        windows(**settings)
