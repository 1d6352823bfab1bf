"""Exact sums: nothing is rounded, so neither order nor parts matter."""

from __future__ import annotations

import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.exact import UNIT_BITS, exact_mean, exact_std, exact_sum, exact_sum_of_squares

UNIT = Fraction(1, 2**UNIT_BITS)
NUMBERS = st.floats(-3.5e38, 3.5e38)
LARGE_ENOUGH = NUMBERS.filter(lambda value: value == 0 or abs(value) > 1e-145)  # whose squares lose nothing
MANY = {
    "close to zero": lambda rng: rng.normal(size=50_000),
    "far from zero": lambda rng: 1e15 + rng.normal(size=50_000),
    "cancelling": lambda rng: np.concatenate([rng.normal(size=25_000) * 1e30, rng.normal(size=25_000)]),
    "over 180 powers of ten": lambda rng: rng.choice([-1.0, 1.0], 50_000) * 10 ** rng.uniform(-145, 38, 50_000),
    "all at the limit": lambda rng: np.full(50_000, 3.5e38),
    "whole": lambda rng: rng.integers(-1000, 1000, 50_000).astype(np.float64),
}


def total(values: list[float]) -> Fraction:
    return sum(map(Fraction, values), Fraction())


def total_of_squares(values: list[float]) -> Fraction:
    return sum((Fraction(value) ** 2 for value in values), Fraction())


@given(st.lists(NUMBERS))
def test_a_sum_is_that_of_fractions(values):
    assert exact_sum(np.array(values, np.float64)) * UNIT == total(values)


@given(st.lists(LARGE_ENOUGH))
def test_a_sum_of_squares_is_that_of_fractions(values):
    assert exact_sum_of_squares(np.array(values, np.float64)) * UNIT == total_of_squares(values)


@pytest.mark.parametrize("kind", MANY)
def test_sums_over_several_blocks_are_those_of_fractions(kind):
    values = MANY[kind](np.random.default_rng(0))
    assert exact_sum(values) * UNIT == total(values.tolist())
    assert exact_sum_of_squares(values) * UNIT == total_of_squares(values.tolist())


@given(st.lists(NUMBERS, min_size=1), st.randoms(use_true_random=False), st.data())
def test_sums_of_parts_in_any_order_add_up_to_the_sum(values, random, data):
    cut = data.draw(st.integers(0, len(values)))
    shuffled = random.sample(values, len(values))
    for add in (exact_sum, exact_sum_of_squares):
        assert add(np.array(values)) == add(np.array(shuffled[:cut], np.float64)) + add(np.array(shuffled[cut:], np.float64))


def test_sums_leave_the_values_as_they_were():
    values = np.array([1.0, 0.1, -3.0])
    exact_sum(values), exact_sum_of_squares(values)
    assert values.tolist() == [1.0, 0.1, -3.0]


def test_sums_take_every_second_value_of_an_array():
    values = np.arange(100.0)
    assert exact_sum(values[::2]) * UNIT == 2450


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("add", [exact_sum, exact_sum_of_squares])
def test_what_is_not_a_finite_number_in_range_is_refused(add, value):
    with pytest.raises(ValueError, match="expect finite values"):
        add(np.array([1.0, value, 2.0]))


@given(st.lists(LARGE_ENOUGH, min_size=1))
def test_mean_and_deviation_are_correctly_rounded(values):
    array = np.array(values)
    sums = exact_sum(array), exact_sum_of_squares(array)
    mean = total(values) / len(values)
    variance = sum(((Fraction(value) - mean) ** 2 for value in values), Fraction()) / len(values)
    assert exact_mean(len(values), sums[0]) == float(mean)
    assert is_rounded_root(exact_std(len(values), *sums), variance)


def is_rounded_root(root: float, square: Fraction) -> bool:
    """No neighbour of `root` is closer to the square root: it lies between the middles to both sides."""
    below, above = (max((Fraction(root) + Fraction(float(np.nextafter(root, to)))) / 2, Fraction()) for to in (-np.inf, np.inf))
    return below**2 <= square <= above**2


def test_a_deviation_far_from_zero_does_not_cancel():
    values = 1e15 + np.random.default_rng(0).normal(size=10_000)
    found = exact_std(len(values), exact_sum(values), exact_sum_of_squares(values))
    assert found == pytest.approx(statistics.pstdev(map(Fraction, values.tolist())), rel=1e-15)
