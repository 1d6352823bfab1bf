"""Numbers to model units and back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from pipeline.scaling import LARGEST, scale, unscale, yeo_johnson
from pipeline.schema import NumberScaler
from pipeline.sections.data import Scaling

METHODS = get_args(Scaling)
EPSILON = float(np.finfo(np.float64).eps)
KNOTS = (0.0, 1.0, 1.0, 1.0, 5.0)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e6, 1e6)
powers = st.floats(-5, 5)


def make(method: str = "standard", **changes: object) -> NumberScaler:
    facts = {"column": "x", "method": method, "offset": 0.0, "scale": 1.0, "fill": 0.0}
    facts |= {"yeo_johnson": {"power": 1.0}, "quantile": {"knots": KNOTS}}.get(method, {})
    return NumberScaler.model_validate({**facts, **changes})


def slope(x: float, scaler: NumberScaler) -> float:
    """Of f at x."""
    if scaler.method == "log":
        return 1 / (1 + abs(x))
    if scaler.method == "yeo_johnson":
        return float((1 + abs(x)) ** ((scaler.power - 1) * (1 if x >= 0 else -1)))
    return 1.0


@pytest.mark.parametrize(
    ("scaler", "x", "expected"),
    [
        (make("none"), -7.5, -7.5),
        (make("standard", offset=10, scale=4), 12, 0.5),
        (make("minmax", offset=-2, scale=8), 0, 0.25),
        (make("robust", offset=3, scale=2), 2, -0.5),
        (make("max_abs", scale=4), -3, -0.75),
        (make("log", offset=1, scale=2), np.e - 1, 0.0),
        (make("log"), 1 - np.e, -1.0),
        (make("yeo_johnson", power=2), 3, 7.5),
        (make("yeo_johnson", power=2), 1 - np.e, -1.0),
        (make("yeo_johnson", power=0), np.e - 1, 1.0),
        (make("yeo_johnson", power=0), -3, -7.5),
        (make("quantile"), 0.5, 0.125),
    ],
    ids=lambda value: value.method if isinstance(value, NumberScaler) else "",
)
def test_each_method_is_that_of_the_table(scaler, x, expected):
    assert scale(np.array([x]), scaler)[0] == pytest.approx(expected)


@given(moderate, st.sampled_from([name for name in METHODS if name != "quantile"]), moderate, st.floats(1e-3, 1e6), powers)
def test_unscale_gives_back_what_was_scaled(x, method, offset, scale_, power):
    scaler = make(method, offset=offset, scale=scale_, power=power)
    bent = float(scale(np.array([x]), make(method, power=power))[0])
    possible = 64 * EPSILON * ((abs(bent) + abs(offset)) / slope(x, scaler) + abs(x) + 1)  # a bent number has only so many digits
    assume(possible < 1e-3 * (1 + abs(x)) and abs(bent) < LARGEST * min(scale_, 1) / 2)
    assert unscale(scale(np.array([x]), scaler), scaler)[0] == pytest.approx(x, rel=0, abs=possible)


@given(st.lists(moderate, min_size=2, max_size=20).map(sorted), st.floats(0, 1))
def test_quantile_gives_back_what_lies_between_its_knots(knots, part):
    scaler = make("quantile", knots=knots)
    x = min(max(knots[0] + part * (knots[-1] - knots[0]), knots[0]), knots[-1])
    possible = 16 * EPSILON * len(knots) * (knots[-1] - knots[0] + abs(x))
    assert unscale(scale(np.array([x]), scaler), scaler)[0] == pytest.approx(x, rel=0, abs=possible)


@given(st.lists(st.sampled_from([-3e38, -2.0, 0.0, 5e-324, 0.1, 1 / 3, 7.0, 3e38]), min_size=2, max_size=1001).map(sorted))
def test_every_knot_comes_back_to_the_last_bit(knots):
    scaler = make("quantile", knots=knots)
    assert unscale(scale(np.array(knots), scaler), scaler).tolist() == knots


def test_a_value_that_is_several_knots_has_the_share_below_it_and_all_their_shares_lead_back():
    scaler = make("quantile", knots=KNOTS)
    assert scale(np.array([1.0]), scaler)[0] == 0.25
    assert unscale(np.array([0.25, 0.4, 0.5, 0.75]), scaler).tolist() == [1.0] * 4
    assert scale(np.array([0.999, 1.0, 1.001, 5.0]), scaler) == pytest.approx([0.24975, 0.25, 0.7500625, 1.0])


def test_outside_the_knots_is_cut_off():
    scaler = make("quantile", knots=KNOTS)
    assert scale(np.array([-9.0, 9.0]), scaler).tolist() == [0.0, 1.0]
    assert unscale(np.array([-0.5, 1.5]), scaler).tolist() == [0.0, 5.0]


@pytest.mark.parametrize("knots", [(2.0, 2.0), (2.0, 2.0, 2.0), (2.0, 2.0, 3.0), (1.0, 2.0, 2.0)])
def test_a_flat_end_of_the_knots_is_no_division_by_zero(knots):
    found = scale(np.array([0.0, 2.0, 9.0]), make("quantile", knots=knots)).tolist()
    assert found == [0.0, {1.0: 0.5}.get(knots[0], 0.0), 1.0]


@given(st.lists(float32s, min_size=1, max_size=20), st.sampled_from(METHODS), float32s, st.floats(1e-300, 1e300), powers)
def test_whatever_is_scaled_or_answered_is_finite_in_float32(values, method, offset, scale_, power):
    scaler = make(method, offset=offset, scale=scale_, power=power, fill=offset, knots=sorted([*values, offset]))
    numbers = np.array([*values, np.nan, LARGEST, -LARGEST])
    assert np.isfinite(scale(numbers, scaler).astype(np.float32)).all()
    assert np.isfinite(unscale(numbers[~np.isnan(numbers)], scaler).astype(np.float32)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_number_becomes_the_fill(method):
    scaler = make(method, offset=1, scale=2, fill=0.75)
    assert scale(np.array([np.nan]), scaler) == scale(np.array([0.75]), scaler)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_answers_nan_is_not_hidden(method):
    assert np.isnan(unscale(np.array([np.nan]), make(method))).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (0,), (6,), (3, 2)])
def test_the_shape_is_kept(method, shape):
    numbers = np.full(shape, 0.5)
    assert scale(numbers, make(method)).shape == unscale(numbers, make(method)).shape == shape


@pytest.mark.parametrize(("power", "answer", "raw"), [(-2.0, 0.6, LARGEST), (4.0, -0.6, -LARGEST)])
def test_an_answer_beyond_the_bound_of_a_power_is_cut_off(power, answer, raw):
    assert unscale(np.array([answer]), make("yeo_johnson", power=power))[0] == raw


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20), powers)
def test_yeo_johnson_is_that_of_scipy(values, power):
    assert yeo_johnson(np.array(values), power) == pytest.approx(stats.yeojohnson(np.array(values), power), rel=1e-9, abs=1e-9)
