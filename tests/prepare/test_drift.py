"""Drift of columns between two runs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.prepare.drift import check_drift, compare, jensen_shannon, population_stability, warnings
from pipeline.prepare.sketch import category_sketch, number_sketch
from pipeline.schema import Drifted, Shift
from pipeline.sections.data import Drift

COUNTS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1).filter(lambda pairs: any(map(any, pairs)))
NUM_ROWS = 20_000
SHAPES = {  # shift in standard deviations -> rows
    "normal": lambda rng, shift: rng.normal(shift, 1, NUM_ROWS),
    "far from zero": lambda rng, shift: 1e6 + rng.normal(shift, 1, NUM_ROWS),
    "in two buckets": lambda rng, shift: 52.5 + 0.02 * rng.normal(shift, 1, NUM_ROWS),
    "a third is one value": lambda rng, shift: np.where(rng.random(NUM_ROWS) < 0.3, 7.3, rng.normal(shift, 1, NUM_ROWS)),
    "a third is one value, far from zero": lambda rng, shift: np.where(
        rng.random(NUM_ROWS) < 0.3, 1000.3, 1000 + rng.normal(shift, 1, NUM_ROWS)
    ),
    "whole": lambda rng, shift: np.rint(rng.normal(5 + 2 * shift, 2, NUM_ROWS)),
}


def shift_of(before, after, limits=None) -> Shift:
    (shift,) = compare({"x": before}, {"x": after}, limits or Drift())
    return shift


def numbers(*values):
    return number_sketch(np.array(values, np.float64))


def texts(*values):
    return category_sketch(pa.array(values, pa.string()))


@given(COUNTS)
def test_divergence_of_shares_from_themselves_is_zero(pairs):
    rows = np.array([before for before, _ in pairs]) + 1
    assert population_stability(rows, rows) == jensen_shannon(rows, rows) == 0


@given(COUNTS)
def test_divergences_are_in_range_and_the_same_both_ways(pairs):
    before, after = np.array(pairs).T
    assert 0 <= jensen_shannon(before, after) <= 1
    assert jensen_shannon(before, after) == pytest.approx(jensen_shannon(after, before), abs=1e-12)
    assert population_stability(before, after) >= 0
    assert population_stability(before, after) == pytest.approx(population_stability(after, before))


def test_divergences_are_those_of_the_textbook():
    before, after = np.array([500_000, 500_000]), np.array([250_000, 750_000])
    assert population_stability(before, after) == pytest.approx(0.25 * np.log(3), rel=1e-4)
    assert jensen_shannon(before, after) == pytest.approx(0.0487949, rel=1e-4)


@given(st.lists(st.one_of(st.just(np.nan), st.floats(-1e30, 1e30)), min_size=1))
def test_the_same_numbers_have_not_shifted(values):
    sketch = numbers(*values)
    assert shift_of(sketch, sketch) == Shift(column="x", psi=0, js=0)


@given(st.lists(st.one_of(st.none(), st.text(max_size=2)), min_size=1))
def test_the_same_texts_have_not_shifted(values):
    sketch = texts(*values)
    assert shift_of(sketch, sketch) == Shift(column="x", psi=0, js=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_rows_of_the_same_source_are_close_and_shifted_ones_are_not(shape):
    before, same, moved = (number_sketch(SHAPES[shape](np.random.default_rng(seed), shift)) for seed, shift in ((0, 0), (1, 0), (2, 1)))
    assert shift_of(before, same).psi < 0.06
    assert shift_of(before, same).verdict == "ok"
    assert shift_of(before, moved).psi > 0.3
    assert shift_of(before, moved).verdict == "warn"


def test_a_few_counted_values_compare_with_many_that_are_not():
    rng = np.random.default_rng(0)
    before, after = (number_sketch(rng.integers(0, high, 50_000).astype(np.float64)) for high in (1000, 1040))
    assert before.is_complete and not after.is_complete
    assert shift_of(before, after).psi < 0.06


def test_missing_values_are_a_bin_of_their_own():
    before, after = numbers(*range(100)), numbers(*range(100), *[np.nan] * 100)
    assert shift_of(before, after).psi > 1
    assert shift_of(texts(*"ab" * 50), texts(*"ab" * 50, *[None] * 100)).psi > 1


def test_a_column_that_became_empty_has_shifted():
    full, empty = numbers(*range(1000)), numbers(*[np.nan] * 1000)
    assert shift_of(full, empty).js > 0.95
    assert shift_of(empty, full).js > 0.95


def test_texts_beyond_the_counted_ones_share_a_bin():
    before, after = (category_sketch(pa.array([f"value {number % 5000}" for number in range(start, start + 50_000)])) for start in (0, 7))
    shift = shift_of(before, after)
    assert shift.psi < 0.01
    assert shift.new_categories == ()


def test_new_categories_come_most_frequent_first():
    assert shift_of(texts("a", "b"), texts("a", "c", "d", "d")).new_categories == ("d", "c")


def test_at_most_twenty_new_categories_are_listed():
    assert len(shift_of(texts("a"), texts(*(f"new {number}" for number in range(50)))).new_categories) == 20


def test_no_category_is_new_where_not_all_earlier_ones_are_known():
    before = category_sketch(pa.array([f"value {number}" for number in range(2000)]))
    assert shift_of(before, texts("never seen")).new_categories == ()


def test_columns_of_one_side_and_of_another_kind_are_skipped():
    before = {"both": numbers(1), "gone": numbers(1), "kind": numbers(1)}
    after = {"both": numbers(1), "new": numbers(1), "kind": texts("1")}
    assert [shift.column for shift in compare(before, after, Drift())] == ["both"]


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ({"new_categories": "ignore", "warn_psi": 100}, "ok"),
        ({"new_categories": "ignore"}, "warn"),
        ({"new_categories": "warn", "warn_psi": 100}, "warn"),
        ({"new_categories": "fail", "warn_psi": 100}, "fail"),
        ({"new_categories": "ignore", "max_psi": 1}, "fail"),
        ({"new_categories": "ignore", "max_js": 0.2}, "fail"),
        ({"new_categories": "ignore", "max_psi": 100, "max_js": 1, "warn_psi": 100}, "ok"),
    ],
)
def test_limits_decide_the_verdict(limits, verdict):
    assert shift_of(texts(*"ab" * 50), texts(*"bc" * 50), Drift(**limits)).verdict == verdict


def test_a_failure_names_every_column_with_what_was_found_and_the_limit():
    limits = Drift(max_psi=0.25, max_js=0.1, new_categories="fail")
    before, after = {"age": numbers(*range(100)), "city": texts("a", "b")}, {"age": numbers(*range(50, 150)), "city": texts("a", "q")}
    drifted = Drifted(against="run-1", shifts=compare(before, after, limits))
    with pytest.raises(DataError) as refused:
        check_drift(drifted, limits)
    message = str(refused.value)
    for part in (
        "2 of 2",
        "run-1",
        "age: PSI",
        "drift.max_psi 0.25",
        "drift.max_js 0.1",
        "city",
        "'q'",
        "Mend the source",
        "raise drift.max_psi",
    ):
        assert part in message


def test_a_failure_without_limits_names_what_was_found():
    drifted = Drifted(against="run-1", shifts=(Shift(column="age", psi=0.5, js=0.125, new_categories=("q",), verdict="fail"),))
    with pytest.raises(DataError, match="age: PSI 0.5, Jensen-Shannon 0.125, new categories 'q'"):
        check_drift(drifted)


def test_a_warning_is_a_line_and_no_failure():
    limits = Drift()
    drifted = Drifted(against="run-1", shifts=compare({"city": texts("a", "b")}, {"city": texts("a", "q")}, limits))
    check_drift(drifted, limits)
    (line,) = warnings(drifted, limits)
    assert line.startswith("city has shifted from run-1: ") and "'q'" in line


def test_columns_that_have_not_shifted_are_not_mentioned():
    drifted = Drifted(against="run-1", shifts=compare({"x": numbers(1)}, {"x": numbers(1)}, Drift()))
    check_drift(drifted, Drift())
    assert warnings(drifted, Drift()) == ()
