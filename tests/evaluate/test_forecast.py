"""Forecasts against what needs no model: over all steps, step by step, in raw units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate.forecast import LAST, SEASON, Forecasts, measure, naive_forecasts, to_raw_units
from pipeline.schema import METRICS, NumberScaler, WindowFacts
from pipeline.summary import baseline


def facts(*, horizon: int = 3, gap: int = 0, season: int | None = None, history: int = 8, targets: int = 1) -> WindowFacts:
    scalers = tuple(
        NumberScaler(column=f"t{place}", method="standard", offset=10.0 * place, scale=2.0, fill=0.0) for place in range(targets)
    )
    lengths = {"history": history, "horizon": horizon, "gap": gap, "stride": 1, "period_s": 60.0, "season": season}
    return WindowFacts(**lengths, scale="train", targets=scalers, rows=1, train_steps=1, gaps=0, lost={})


def forecasts(num_windows: int = 40, *, noise: float = 0.5) -> Forecasts:
    rng = np.random.default_rng(4)
    true = rng.normal(size=(num_windows, 3, 2)) * [1.0, 100.0]
    naive = {LAST: true + 2.0, SEASON: true - 1.0}
    return Forecasts(true, true + noise * np.asarray([1.0, -1.0, 1.0])[None, :, None], naive)


def test_the_last_value_is_told_for_every_step():
    history = np.arange(16.0).reshape(2, 8, 1)
    assert naive_forecasts(history, facts())[LAST].tolist() == [[[7.0]] * 3, [[15.0]] * 3]


@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 5))
def test_a_season_before_is_the_latest_known_step_at_the_same_place_of_the_season(season, horizon, gap):
    history = 8
    found = naive_forecasts(np.arange(float(history))[None, :, None], facts(horizon=horizon, gap=gap, season=season))[SEASON][0, :, 0]
    for step, known in enumerate(found.astype(int).tolist()):
        ahead = history + gap + step
        assert (ahead - known) % season == 0
        assert history - season <= known < history


def test_raw_units_come_back_from_the_train_steps_and_from_a_windows_own_history():
    windows = facts(targets=2)
    values = np.asarray([[[1.0, 2.0]]], np.float32)
    assert to_raw_units(values, None, windows).tolist() == [[[2.0, 14.0]]]
    shift = np.asarray([[[5.0, 3.0], [0.0, 1.0]]], np.float32)  # (1, targets, 2)
    assert to_raw_units(values, shift, windows).tolist() == [[[16.0, 14.0]]]


def test_a_model_is_held_against_the_hardest_naive_forecast():
    result = measure(forecasts())
    assert result.baseline.answer == SEASON and result.naive == {LAST: pytest.approx(2.0), SEASON: pytest.approx(1.0)}
    assert set(result.metrics) == {*METRICS["regression"], "skill"} == set(result.baseline.metrics)
    assert result.metrics["mae"].value == pytest.approx(0.5)
    assert result.metrics["skill"].value == pytest.approx(0.5)
    assert baseline(result) == "the value of a season before: 1.000"


def test_errors_are_told_step_by_step_and_target_by_target():
    steps = measure(forecasts()).steps
    assert [(item.step, item.target) for item in steps] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert [item.bias for item in steps] == pytest.approx([0.5, 0.5, -0.5, -0.5, 0.5, 0.5])
    assert all(item.mae == pytest.approx(0.5) and item.naive_mae == pytest.approx(1.0) for item in steps)


def test_metrics_over_all_numbers_are_those_of_the_numbers_in_a_row():
    rng = np.random.default_rng(9)
    true = rng.normal(size=(50, 3, 1))
    predicted = true + rng.normal(size=true.shape)
    result = measure(Forecasts(true, predicted, {LAST: np.zeros_like(true)}))
    errors = (predicted - true).ravel()
    assert result.metrics["mae"].value == pytest.approx(np.abs(errors).mean())
    assert result.metrics["rmse"].value == pytest.approx(np.sqrt((errors**2).mean()))
    assert result.metrics["r2"].value == pytest.approx(1 - (errors**2).mean() / true.var())
    assert result.metrics["median_absolute_error"].value == pytest.approx(np.median(np.abs(errors)))
    assert all(item.low <= item.value <= item.high for item in result.metrics.values())
    assert sum(item.support for item in result.ranges) == 150


def test_where_nothing_ever_changes_there_is_no_skill_to_have():
    true = np.ones((5, 3, 1))
    assert measure(Forecasts(true, true, {LAST: true})).metrics["skill"].value == 0
    assert measure(Forecasts(true, true + 1, {LAST: true})).metrics["skill"].value == -1e9
