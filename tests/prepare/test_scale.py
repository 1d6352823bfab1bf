"""Scalers of number columns, from a sketch of train rows."""

from __future__ import annotations

from functools import reduce
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.preprocessing import PowerTransformer

from pipeline.errors import DataError
from pipeline.prepare.scale import MAX_KNOTS, fit_scaler
from pipeline.prepare.sketch import merge, number_sketch
from pipeline.scaling import LARGEST, scale, unscale, yeo_johnson
from pipeline.schema import NumberScaler
from pipeline.sections.data import Scaling

METHODS = get_args(Scaling)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


def fitted(method: Scaling, values: NDArray[np.float64]) -> tuple[NumberScaler, NDArray[np.float64]]:
    """The scaler of some train rows, and those rows scaled."""
    scaler = fit_scaler("x", method, number_sketch(values))
    return scaler, scale(values, scaler)


DRAWS = {
    "normal": lambda random: random.normal(3, 2, 4000),
    "lognormal": lambda random: random.lognormal(0, 1, 4000),
    "exponential": lambda random: random.exponential(100, 4000),
    "negative gamma": lambda random: -random.gamma(2, 50, 4000),
    "heavy on both sides": lambda random: random.standard_t(4, 4000) * 10,
    "pareto": lambda random: 1000 * (1 + random.pareto(1, 4000)),
    "uniform": lambda random: random.uniform(-1, 5, 4000),
    "counts": lambda random: random.poisson(3, 4000).astype(np.float64),
    "years": lambda random: random.normal(2000, 100, 4000).round(),
    "mostly zero": lambda random: random.exponential(2000, 4000) * (random.random(4000) < 0.1),
}


@pytest.fixture(params=DRAWS)
def drawn(request) -> NDArray[np.float64]:
    return DRAWS[request.param](np.random.default_rng(0))


@pytest.mark.parametrize(("method", "error"), [("standard", 1e-9), ("log", 0.01), ("yeo_johnson", 0.01)])
def test_standardised_rows_have_mean_0_and_deviation_1(drawn, method, error):
    scaled = fitted(method, drawn)[1]
    assert scaled.mean() == pytest.approx(0, abs=error) and scaled.std() == pytest.approx(1, abs=error)


def test_minmax_fills_0_to_1(drawn):
    scaled = fitted("minmax", drawn)[1]
    assert scaled.min() == 0 and scaled.max() == 1


def test_max_abs_reaches_1_and_keeps_zero_and_sign(drawn):
    scaled = fitted("max_abs", drawn)[1]
    assert np.abs(scaled).max() == 1 and (np.sign(scaled) == np.sign(drawn)).all()


def test_robust_puts_the_median_at_0_and_the_quartiles_1_apart(drawn):
    scaled = fitted("robust", drawn)[1]
    low, middle, high = np.quantile(scaled, [0.25, 0.5, 0.75])
    if low == high:  # mostly zero
        assert middle == 0 and scaled.std() == pytest.approx(1)
    else:
        assert middle == pytest.approx(0, abs=0.1) and high - low == pytest.approx(1, abs=0.1)


def test_quantile_is_the_share_of_rows_below(drawn):
    scaled = fitted("quantile", drawn)[1]
    below = np.searchsorted(np.sort(drawn), drawn) / len(drawn)
    assert np.abs(scaled - below).max() < 0.02


def test_none_changes_nothing(drawn):
    assert (fitted("none", drawn)[1] == drawn).all()


@pytest.mark.parametrize("method", METHODS)
def test_train_rows_come_back(drawn, method):
    scaler, scaled = fitted(method, drawn)
    assert unscale(scaled, scaler) == pytest.approx(drawn, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@given(values=st.lists(float32s, min_size=1, max_size=30), others=st.lists(float32s, max_size=5))
def test_every_scaler_of_every_column_is_finite_there_and_back(method, values, others):
    scaler, _ = fitted(method, np.array(values))
    scaled = scale(np.array([*values, *others, np.nan]), scaler)
    assert np.isfinite([scaler.offset, scaler.scale, scaler.fill, *scaler.knots]).all() and scaler.scale > 0
    assert np.isfinite(scaled.astype(np.float32)).all() and np.isfinite(unscale(scaled, scaler)).all()


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("none", "max_abs")])
@given(value=float32s, num_rows=st.integers(1, 50))
def test_a_constant_column_becomes_zeros(method, value, num_rows):
    assert not fitted(method, np.full(num_rows, value))[1].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_scaler_does_not_depend_on_how_rows_were_cut_into_parts(drawn, method):
    parts = [number_sketch(part) for part in np.split(np.random.default_rng(1).permutation(drawn), [7, 7, 1500])]
    assert fit_scaler("x", method, reduce(merge, reversed(parts))) == fitted(method, drawn)[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_column_without_values_is_refused(method):
    message = "^Column age has no value in any train row. Expected numbers: set role: ignore, or mend the source.$"
    with pytest.raises(DataError, match=message):
        fit_scaler("age", method, number_sketch(np.empty(0)))


@pytest.mark.parametrize("method", METHODS)
def test_what_float32_cannot_hold_is_refused(method):
    with pytest.raises(DataError, match=r"Column x holds -1e\+39 in the train rows; expected numbers within ±3.4e\+38"):
        fit_scaler("x", method, number_sketch(np.array([0.0, 3.0, -1e39])))


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_number_becomes_the_mean_or_for_ranks_the_median(method):
    values = np.array([1.0, 2.0, 4.0, 8.0, 100.0])
    expected = 4.0 if method in ("robust", "quantile") else 23.0
    assert fitted(method, values)[0].fill == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "mostly zero"])
@pytest.mark.parametrize("seed", range(2))
def test_the_power_is_that_of_scipy_and_scikit_learn(name, seed):
    values = DRAWS[name](np.random.default_rng(seed))
    power = fitted("yeo_johnson", values)[0].power
    assert power == pytest.approx(stats.yeojohnson(values)[1], abs=0.05)
    assert power == pytest.approx(PowerTransformer().fit(values[:, None]).lambdas_[0], abs=0.05)


@given(st.floats(0, 2), st.integers(0, 1000))
def test_the_power_that_a_column_was_bent_by_is_found(power, seed):
    normal = np.random.default_rng(seed).normal(0, 1, 3000)
    bent = unscale(normal, NumberScaler(column="x", method="yeo_johnson", offset=0, scale=1, fill=0, power=power))
    assert fitted("yeo_johnson", bent)[0].power == pytest.approx(power, abs=0.15)


def test_a_power_never_squeezes_rows_into_the_last_digits():
    values = 2000 + 100 * np.random.default_rng(0).exponential(1, 3000)  # -5 would be likelier, but is 0.2 for all of them
    scaler, scaled = fitted("yeo_johnson", values)
    assert len(np.unique(yeo_johnson(values, -5.0))) < 30
    assert scaled.std() == pytest.approx(1, abs=0.01) and unscale(scaled, scaler) == pytest.approx(values, rel=1e-6)
    assert abs(stats.skew(scaled)) < stats.skew(values)


@pytest.mark.parametrize("method", ["standard", "robust", "log", "yeo_johnson"])
@pytest.mark.parametrize(("centre", "spread"), [(1.7e9, 3e4), (-290.0, 1.0), (1e-5, 1e-9)])
def test_a_column_that_lies_within_a_bucket_or_two_of_the_sketch_is_standardised_all_the_same(method, centre, spread):
    scaled = fitted(method, np.random.default_rng(0).normal(centre, spread, 5000))[1]
    assert scaled.mean() == pytest.approx(0, abs=0.1) and scaled.std() == pytest.approx(1, abs=0.3 if method == "robust" else 0.1)


@given(st.lists(float32s, min_size=1, max_size=50))
def test_knots_never_fall_and_reach_from_the_smallest_to_the_largest(values):
    knots = fitted("quantile", np.array(values))[0].knots
    assert list(knots) == sorted(knots) and (knots[0], knots[-1]) == (min(values), max(values))
    assert len(knots) == max(len(values), 2)


def test_knots_have_a_limit(drawn):
    assert len(fitted("quantile", drawn)[0].knots) == MAX_KNOTS


def test_an_outlier_that_train_rows_did_not_have_is_cut_off_at_float32():
    scaler = fitted("yeo_johnson", -np.random.default_rng(0).exponential(1, 1000) + 100)[0]
    assert scaler.power > 4
    assert scale(np.array([LARGEST]), scaler)[0] == LARGEST
