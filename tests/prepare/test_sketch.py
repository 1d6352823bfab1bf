"""Sketches of columns: the same for the same rows however they are cut and ordered, and close to what they stand for."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from fractions import Fraction
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.buckets import bucket_of
from pipeline.prepare.sketch import NumberSketch, category_sketch, from_json, merge, number_sketch, to_json
from pipeline.prepare.summary import summarise
from pipeline.prepare.value_sample import SAMPLE

NUMBERS = st.floats(-3.5e38, 3.5e38)
ROWS = st.lists(st.one_of(NUMBERS, st.just(math.nan), st.sampled_from([0.0, -0.0, 1.0, 1.5])), max_size=60)
TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=60)
SHARES = np.linspace(0, 1, 101)
COLUMNS = {
    "normal": lambda rng: rng.normal(size=40_000),
    "far from zero": lambda rng: 1e6 + rng.normal(size=40_000),
    "negative": lambda rng: -rng.lognormal(0, 3, 40_000),
    "half zero": lambda rng: np.where(rng.random(40_000) < 0.5, 0, rng.normal(size=40_000)),
    "one value in three": lambda rng: np.where(rng.random(40_000) < 0.3, 7.3, rng.normal(size=40_000)),
    "missing": lambda rng: np.where(rng.random(40_000) < 0.5, np.nan, rng.normal(size=40_000)),
    "few": lambda rng: rng.integers(-5, 6, 40_000).astype(np.float64),
    "just counted": lambda rng: rng.permutation(np.arange(40_000.0) % SAMPLE),
    "one too many": lambda rng: rng.permutation(np.arange(40_000.0) % (SAMPLE + 1)),
    "constant": lambda rng: np.full(40_000, 0.1),
    "zero": lambda rng: np.zeros(40_000),
    "never there": lambda rng: np.full(40_000, np.nan),
    "over 180 powers of ten": lambda rng: 10 ** rng.uniform(-145, 38, 40_000),
}


@pytest.fixture(params=COLUMNS)
def column(request):
    return COLUMNS[request.param](np.random.default_rng(0))


def texts(values):
    return pa.array(values, pa.string())


def in_parts(make, rows, cuts):
    places = [0, *sorted(cuts), len(rows)]
    return [make(rows[start:stop]) for start, stop in zip(places, places[1:], strict=False)]


def array(values):
    return np.array(values, np.float64)


@given(ROWS, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_any_parts_of_numbers_in_any_order_merge_into_the_same_sketch(rows, cuts, random):
    shuffled = array(random.sample(rows, len(rows)))
    parts = in_parts(number_sketch, shuffled, [min(cut, len(rows)) for cut in cuts])
    assert reduce(merge, random.sample(parts, len(parts))) == number_sketch(array(rows))


@given(TEXTS, st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_any_parts_of_texts_in_any_order_merge_into_the_same_sketch(rows, cuts, random):
    shuffled = random.sample(rows, len(rows))
    parts = in_parts(lambda part: category_sketch(texts(part)), shuffled, [min(cut, len(rows)) for cut in cuts])
    assert reduce(merge, random.sample(parts, len(parts))) == category_sketch(texts(rows))


def test_parts_of_a_large_column_merge_into_the_same_sketch(column):
    rng = np.random.default_rng(1)
    whole = number_sketch(column)
    parts = in_parts(number_sketch, rng.permutation(column), rng.integers(0, len(column), 7).tolist())
    added = NumberSketch()
    for rows in np.array_split(rng.permutation(column), [100, 3000, 3001, 30_000]):
        added.add(rows)
    assert reduce(merge, parts) == whole
    assert added == whole


@pytest.mark.parametrize("distinct", [SAMPLE - 1, SAMPLE, SAMPLE + 1, 20_000])
def test_parts_of_many_texts_merge_into_the_same_sketch(distinct):
    rng = np.random.default_rng(0)
    rows = [f"value {number}" for number in rng.permutation(np.arange(60_000) % distinct).tolist()]
    whole = category_sketch(texts(rows))
    parts = in_parts(lambda part: category_sketch(texts(part)), sorted(rows), [10, 5000, 5001, 40_000])
    assert reduce(merge, parts) == whole
    assert whole.is_complete == (distinct <= SAMPLE)
    assert whole.distinct == pytest.approx(distinct, rel=0 if whole.is_complete else 0.1)


def test_texts_in_chunks_are_those_of_one_array():
    rows = ["a", None, "b", "a", ""]
    chunks = pa.chunked_array([texts(rows[:2]), texts([]), texts(rows[2:])])
    assert category_sketch(chunks) == category_sketch(texts(rows))
    assert category_sketch(chunks).value_counts == {"": 1, "a": 2, "b": 1}


def test_merging_leaves_both_sketches_as_they_were(column):
    left, right = number_sketch(column[:1000]), number_sketch(column[1000:])
    merge(left, right).add(column)
    assert (left, right) == (number_sketch(column[:1000]), number_sketch(column[1000:]))


def test_sketches_of_two_kinds_do_not_merge():
    with pytest.raises(TypeError, match="of one kind"):
        merge(number_sketch(array([1])), category_sketch(texts(["1"])))


def test_sketches_of_other_rows_differ():
    assert number_sketch(array([1, 2])) != number_sketch(array([1, 1, 2]))
    assert number_sketch(array([1])) != number_sketch(array([1, math.nan]))
    assert category_sketch(texts(["a"])) != category_sketch(texts(["a", None]))


@pytest.mark.parametrize("packed", [False, True], ids=["lists", "packed"])
def test_a_sketch_of_numbers_comes_back_from_json(column, packed):
    sketch = number_sketch(column)
    back = from_json(json.loads(json.dumps(to_json(sketch, packed=packed), allow_nan=False)))
    assert back == sketch
    back.add(column), sketch.add(column)
    assert back == sketch


@given(TEXTS)
def test_a_sketch_of_texts_comes_back_from_json(rows):
    sketch = category_sketch(texts(rows))
    assert from_json(json.loads(json.dumps(to_json(sketch)))) == sketch


@given(ROWS)
def test_counts_and_extremes_are_those_of_the_rows(rows):
    present = [value for value in rows if not math.isnan(value)]
    sketch = number_sketch(array(rows))
    assert (sketch.count, sketch.nulls) == (len(present), len(rows) - len(present))
    assert sketch.value_counts == Counter(present)
    assert sketch.distinct == len(set(present))
    assert sketch.is_complete
    assert (sketch.min, sketch.max) == (min(present, default=math.inf), max(present, default=-math.inf))


def test_moments_are_those_of_fractions(column):
    present = [Fraction(value) for value in column[~np.isnan(column)].tolist()]
    sketch = number_sketch(column)
    if not present:
        assert math.isnan(sketch.mean) and math.isnan(sketch.std)
        return
    assert sketch.mean == float(sum(present) / len(present))
    assert sketch.std == pytest.approx(float(statistics.pstdev(present)), rel=1e-15)


def test_a_large_mean_does_not_hide_a_small_deviation():
    values = 1e15 + np.random.default_rng(0).integers(-2, 3, 1000) / 8
    assert number_sketch(values).std == number_sketch(values - 1e15).std > 0


def test_quantiles_are_within_a_five_hundredth_of_the_value(column):
    present = column[~np.isnan(column)]
    if not len(present):
        return
    found, right = number_sketch(column).quantiles(SHARES.tolist()), np.quantile(present, SHARES, method="inverted_cdf")
    assert (np.abs(found - right) <= 0.002 * np.abs(right)).all()


@given(st.lists(NUMBERS.filter(lambda value: value == 0 or abs(value) > 1e-307), min_size=1), st.floats(0, 1))
def test_quantiles_of_few_values_are_exact(rows, share):
    assert number_sketch(array(rows)).quantile(share) == np.quantile(rows, share, method="inverted_cdf")


def test_the_ends_are_exact(column):
    sketch = number_sketch(column)
    if sketch.count:
        assert (sketch.quantile(0), sketch.quantile(1)) == (sketch.min, sketch.max)


def test_quantiles_of_nothing_are_nan():
    assert math.isnan(number_sketch(array([])).quantile(0.5))


def test_quantiles_far_from_zero_follow_the_sample():
    values = 1e9 + np.random.default_rng(0).normal(size=100_000)  # all in one bucket
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    assert number_sketch(values).quantiles(shares) == pytest.approx(np.quantile(values, shares), abs=0.15)


def test_weighted_values_stand_for_every_row(column):
    sketch = number_sketch(column)
    values, counts = sketch.weighted_values()
    assert counts.sum() == sketch.count
    assert (counts >= 0).all()
    assert (np.diff(values) >= 0).all()
    assert ((values >= sketch.min) & (values <= sketch.max)).all()


@given(st.lists(NUMBERS, min_size=2))
def test_buckets_are_in_the_order_of_their_values(rows):
    assert (np.diff(bucket_of(np.sort(array(rows)) + 0.0)) >= 0).all()


@pytest.mark.parametrize("distinct", [1025, 2000, 10_000, 300_000])
@pytest.mark.parametrize("spread", [1.0, 1e-9], ids=["whole", "tiny"])
def test_the_number_of_distinct_values_is_off_by_a_few_standard_errors_at_most(distinct, spread):
    values = np.resize(np.arange(distinct) * spread, 300_000)
    sketch = number_sketch(values)
    assert not sketch.is_complete
    assert sketch.distinct == pytest.approx(distinct, rel=4 / math.sqrt(SAMPLE))


def test_a_sample_of_many_values_has_their_exact_counts():
    values = np.random.default_rng(0).integers(0, 5000, 100_000)
    right = Counter(values.tolist())
    sample = number_sketch(values.astype(np.float64)).value_counts
    assert len(sample) == SAMPLE
    assert all(rows == right[int(value)] for value, rows in sample.items())


def test_what_two_sketches_would_both_count_is_what_lies_below_both_bounds():
    left, right = (number_sketch(np.random.default_rng(seed).integers(0, 5000, 20_000).astype(np.float64)) for seed in (0, 1))
    bound = min(left.bound, right.bound)
    seen = [set(sketch.counts_within(bound)[0].tolist()) for sketch in (left, right)]
    assert len(seen[0] & seen[1]) > 0.9 * len(seen[0] | seen[1])


def test_a_summary_of_few_numbers_lists_the_most_frequent():
    found = summarise(number_sketch(array([1, 1, 1, 2.5, 2.5, 1 / 3, math.nan])))
    assert found.top == (("1", 3), ("2.5", 2), ("0.3333333333333333", 1))
    assert (found.count, found.nulls, found.distinct, found.min, found.max) == (6, 1, 3, 1 / 3, 2.5)
    assert found.quantiles["0.5"] == 1


def test_a_summary_of_many_numbers_lists_none():
    found = summarise(number_sketch(np.random.default_rng(0).normal(size=5000)))
    assert found.top == ()
    assert found.histogram is not None and len(found.histogram.counts) == 40


def test_a_summary_of_texts_lists_the_most_frequent_and_has_no_moments():
    found = summarise(category_sketch(texts(["b", "b", "a", "c", None])))
    assert found.top == (("b", 2), ("a", 1), ("c", 1))
    assert (found.count, found.nulls, found.distinct) == (4, 1, 3)
    assert (found.mean, found.histogram, found.quantiles) == (None, None, {})


@pytest.mark.parametrize("sketch", [number_sketch(array([])), category_sketch(texts([]))], ids=["numbers", "texts"])
def test_a_summary_of_nothing_is_empty(sketch):
    found = summarise(sketch)
    assert (found.count, found.nulls, found.distinct, found.top, found.mean, found.histogram) == (0, 0, 0, (), None, None)


def test_a_histogram_has_every_row_between_rising_edges(column):
    sketch = number_sketch(column)
    histogram = summarise(sketch).histogram
    if not sketch.count:
        assert histogram is None
        return
    assert sum(histogram.counts) == sketch.count
    assert len(histogram.edges) == len(histogram.counts) + 1 <= 41
    assert (np.diff(histogram.edges) > 0).all()


def test_a_histogram_is_close_to_that_of_the_rows():
    values = np.random.default_rng(0).normal(size=100_000)
    histogram = summarise(number_sketch(values)).histogram
    right, _ = np.histogram(np.clip(values, histogram.edges[0], histogram.edges[-1]), histogram.edges)
    assert np.abs(np.array(histogram.counts) - right).sum() < 0.05 * len(values)


def test_each_of_few_whole_numbers_has_a_bin_of_its_own():
    values = np.repeat(np.arange(17.0), np.arange(1, 18))
    assert summarise(number_sketch(values)).histogram.counts == tuple(range(1, 18))
