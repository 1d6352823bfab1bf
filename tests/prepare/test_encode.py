"""Encoders of category columns, and rows through them."""

from __future__ import annotations

import math
from collections import Counter
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.prepare.encode import encode, feature_names, fit_encoder, fit_target, merge, target_sums
from pipeline.schema import CategoryEncoder
from pipeline.sections.data import Encode

NUM_FOLDS = 3
JOBS = {"nurse": 3, "cook": 2, "baker": 2, "smith": 1}
METHODS = ("one_hot", "ordinal", "vocabulary", "hash", "target")
texts = st.sampled_from(["a", "b", "c", "", "ß", "名", None])
labels = st.sampled_from([0.0, 1.0])


@st.composite
def train_rows(draw, num_targets: int = 2, numbers: st.SearchStrategy[float] = labels):
    """(values, folds, targets (N, P)) of at least one row."""
    row = st.tuples(texts, st.integers(0, NUM_FOLDS - 1), st.lists(numbers, min_size=num_targets, max_size=num_targets))
    values, folds, targets = zip(*draw(st.lists(row, min_size=1, max_size=30)), strict=True)
    return text(values), np.array(folds), np.array(targets)


def text(values) -> pa.Array:
    return pa.array(values, pa.string())


def blocks(values: pa.Array, cuts: list[int]) -> list[slice]:
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def fit(method: str, values: pa.Array, folds: NDArray[np.int64], targets: NDArray[np.float64], **options: object) -> CategoryEncoder:
    chosen = Encode.model_validate({"method": method, "folds": NUM_FOLDS, **options})
    if method == "target":
        return fit_target("x", chosen, target_sums(values, folds, targets))
    return fit_encoder("x", chosen, Counter(values.drop_null().to_pylist()), is_complete=True)


def fit_jobs(method: str, **options: object) -> CategoryEncoder:
    return fit_encoder("job", Encode.model_validate({"method": method, **options}), JOBS, is_complete=True)


# Of every method


@pytest.mark.parametrize("method", METHODS)
@given(rows=train_rows(), cuts=st.lists(st.integers(0, 30), max_size=4), is_train=st.booleans())
def test_rows_are_encoded_alike_however_they_are_cut_into_blocks(method, rows, cuts, is_train):
    values, folds, _ = rows
    encoder = fit(method, *rows)
    parts = [encode(values[block], encoder, folds[block] if is_train else None) for block in blocks(values, cuts)]
    chunked = pa.chunked_array([values[block] for block in blocks(values, cuts)])
    whole = encode(values, encoder, folds if is_train else None)
    assert (np.concatenate(parts) == whole).all()
    assert (encode(chunked, encoder, folds if is_train else None) == whole).all()


@pytest.mark.parametrize("method", METHODS)
@given(rows=train_rows())
def test_a_block_is_float32_of_the_encoder_s_width_with_a_name_for_each_position(method, rows):
    encoder = fit(method, *rows)
    found = encode(rows[0], encoder, None)
    assert found.dtype == np.float32 and found.shape == (len(rows[0]), encoder.width)
    assert len(set(feature_names(encoder))) == encoder.width


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [text([]), pa.chunked_array([], pa.string())], ids=["array", "no chunks"])
def test_a_block_without_rows_is_encoded_as_none(method, values):
    encoder = fit(method, text(["a"]), np.array([0]), np.array([[1.0]]))
    assert encode(values, encoder, None).shape == (0, encoder.width)


@pytest.mark.parametrize("method", ["one_hot", "ordinal", "vocabulary", "target"])
def test_unknown_and_null_go_to_one_place_that_no_known_value_has(method):
    values = text(["a", "a", "a", "b", None])
    encoder = fit(method, values, np.zeros(5, np.int64), np.array([[1.0], [1.0], [1.0], [0.0], [0.5]]), smoothing=0.5)
    a, b, unknown, null = encode(text(["a", "b", "never seen", None]), encoder, None).tolist()
    assert unknown == null and unknown not in (a, b) and a != b


# one_hot, ordinal, vocabulary, hash


def test_one_hot_has_a_position_for_each_value_in_sorted_order_and_one_for_the_rest():
    found = encode(text(["smith", "pilot", "baker"]), fit_jobs("one_hot"), None)
    assert found.tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


def test_ordinal_is_the_place_in_sorted_order_and_the_rest_last():
    assert encode(text(["baker", "cook", "smith", "pilot", None]), fit_jobs("ordinal"), None)[:, 0].tolist() == [0, 1, 3, 4, 4]


def test_vocabulary_is_the_rank_by_frequency_from_1_and_the_rest_0():
    encoder = fit_jobs("vocabulary")
    assert encoder.values == ("nurse", "baker", "cook", "smith")  # of equally frequent ones, in sorted order
    assert encode(text(["nurse", "cook", "pilot", None]), encoder, None)[:, 0].tolist() == [1, 3, 0, 0]


def test_vocabulary_leaves_out_what_is_rare_or_beyond_its_size():
    assert fit_jobs("vocabulary", min_count=2).values == ("nurse", "baker", "cook")
    assert fit_jobs("vocabulary", size=2).values == ("nurse", "baker")


def test_hash_needs_no_train_value_and_never_changes():
    encoder = fit_encoder("job", Encode(method="hash", buckets=64), {}, is_complete=False)
    found = encode(text(["nurse", "名", "pilot"]), encoder, None)
    expected = [int.from_bytes(blake2b(value.encode()).digest()[:8], "big") % 64 for value in ("nurse", "名", "pilot")]
    assert found.argmax(axis=1).tolist() == expected == [24, 9, 54]
    assert (found.sum(axis=1) == 1).all()


def test_hash_gives_null_the_bucket_of_an_empty_text():
    null, empty = encode(text([None, ""]), fit_jobs("hash"), None)
    assert (null == empty).all() and null.sum() == 1


@given(st.lists(st.text(max_size=5), max_size=200))
def test_hash_fills_buckets_evenly_whatever_the_values(values):
    distinct = sorted({f"{value}{index}" for index, value in enumerate(values * 5)})
    encoder = fit_encoder("x", Encode(method="hash", buckets=4), {}, is_complete=False)
    shares = encode(text(distinct), encoder, None).sum(axis=0)
    assert shares.max(initial=0) <= len(distinct) / 4 + 6 * (len(distinct) * 3 / 16) ** 0.5 + 1


@given(st.permutations(list(JOBS)), st.sampled_from(["one_hot", "ordinal", "vocabulary"]))
def test_an_encoder_does_not_depend_on_the_order_of_the_counts(jobs, method):
    shuffled = fit_encoder("job", Encode(method=method), {job: JOBS[job] for job in jobs}, is_complete=True)
    assert shuffled == fit_jobs(method)


@pytest.mark.parametrize(("method", "word"), [("one_hot", "one-hot"), ("ordinal", "ordinal")])
@pytest.mark.parametrize(("num_values", "is_complete"), [(1001, True), (1000, False)])
def test_too_many_values_are_refused_with_a_way_out(method, word, num_values, is_complete):
    message = (
        f"Column zip has more than 1,000 values in the train rows; {word} is not for it. "
        "Use encode: {zip: {method: hash}} or vocabulary, or set role: ignore."
    )
    counts = {str(value): 1 for value in range(num_values)}
    with pytest.raises(DataError) as caught:
        fit_encoder("zip", Encode(method=method), counts, is_complete=is_complete)
    assert str(caught.value) == message
    assert fit_encoder("zip", Encode(method="vocabulary"), counts, is_complete=is_complete).width == 1


def test_a_thousand_values_are_not_too_many():
    assert fit_encoder("zip", Encode(), {str(value): 1 for value in range(1000)}, is_complete=True).width == 1001


# target


def test_target_is_the_smoothed_mean_of_the_other_folds():
    values, folds = text(["a", "a", "b", "a"]), np.array([0, 1, 1, 2])
    encoder = fit("target", values, folds, np.array([[1.0], [0.0], [1.0], [1.0]]), smoothing=2)
    assert encoder.values == ("a", "b")
    assert encoder.means == ((3.5 / 5,), (2.5 / 3,), (0.75,))  # a: (2 + 2 * 3/4) / (3 + 2); b: (1 + 1.5) / (1 + 2); the rest: the prior
    prior = 2 / 3  # without fold 0: of 0, 1, 1
    assert encoder.fold_means[0] == pytest.approx(np.array([[(1 + 2 * prior) / 4], [(1 + 2 * prior) / 3], [prior]]))
    assert encode(values, encoder, folds)[0, 0] == np.float32((1 + 2 * prior) / 4)
    assert encode(values, encoder, None)[:, 0] == pytest.approx([0.7, 0.7, 2.5 / 3, 0.7])


@given(train_rows(numbers=st.floats(-100, 100)))
def test_target_agrees_with_a_row_by_row_reading_of_its_definition(rows):
    values, folds, targets = rows
    encoder = fit("target", values, folds, targets, smoothing=3)
    listed = np.array(["null" if value is None else value for value in values.to_pylist()])
    for index, found in enumerate(encode(values, encoder, folds)):
        others = folds != folds[index]
        same = others & (listed == listed[index])
        prior = targets[others].mean(axis=0) if others.any() else np.zeros(2)
        assert found == pytest.approx((targets[same].sum(axis=0) + 3 * prior) / (same.sum() + 3), rel=1e-5, abs=1e-5)


@given(train_rows(num_targets=3, numbers=st.floats(-1e30, 1e30)), st.integers(0, 29), st.floats(-1e30, 1e30))
def test_a_row_s_own_label_has_no_part_in_its_own_encoding(rows, index, label):
    values, folds, targets = rows
    changed = targets.copy()
    changed[index % len(values)] = label
    before, after = (encode(values, fit("target", values, folds, part), folds) for part in (targets, changed))
    same_fold = folds == folds[index % len(values)]
    assert before[same_fold].tobytes() == after[same_fold].tobytes()


@given(train_rows(numbers=st.floats(-1e3, 1e3)), st.lists(st.integers(0, 30), max_size=4), st.randoms())
def test_sums_are_the_same_to_the_last_bit_for_any_order_of_rows_and_parts(rows, cuts, random):
    values, folds, targets = rows
    whole = target_sums(values, folds, targets)
    order = list(range(len(values)))
    random.shuffle(order)
    shuffled = values.take(order), folds[order], targets[order]
    parts = [target_sums(*(column[block] for column in shuffled)) for block in blocks(values, cuts)]
    random.shuffle(parts)
    middle = len(parts) // 2
    assert merge(parts).equals(whole)
    assert merge([merge(parts[middle:]), *parts[:middle]]).equals(whole)


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_real_numbers_are_exact_so_that_no_order_of_rows_shows(seed):
    random = np.random.default_rng(seed)
    targets = random.normal(0, 1000, (5000, 1))
    forth, back = (target_sums(text(["a"] * 5000), np.zeros(5000, np.int64), part) for part in (targets, targets[::-1]))
    assert forth.equals(back)
    assert forth["sums"].to_pylist() == [[math.fsum(round(target * 2**20) / 2**20 for target in targets[:, 0])]]


@given(train_rows())
def test_sums_count_every_row_once(rows):
    values, folds, targets = rows
    found = target_sums(values, folds, targets)
    keys = list(zip(found["value"].to_pylist(), found["fold"].to_pylist(), strict=True))
    assert dict(zip(keys, found["rows"].to_pylist(), strict=True)) == Counter(zip(values.to_pylist(), folds.tolist(), strict=True))
    assert np.array(found["sums"].to_pylist()).sum(axis=0).tolist() == targets.sum(axis=0).tolist()


def test_target_leaves_what_is_rare_to_the_rest():
    values, folds = text(["a", "a", "a", "b", "b", "c", None]), np.zeros(7, np.int64)
    targets = np.array([[0.0], [0.0], [0.0], [0.0], [0.0], [1.0], [1.0]])
    for options in ({"min_count": 2}, {"size": 2}):
        encoder = fit("target", values, folds, targets, smoothing=1e-9, **options)
        assert encoder.values == ("a", "b") and encoder.means[-1] == pytest.approx((1.0,))


def test_a_fold_that_has_all_rows_leaves_zeros_and_no_nan():
    values, folds = text(["a", "b"]), np.zeros(2, np.int64)
    assert encode(values, fit("target", values, folds, np.ones((2, 1))), folds).tolist() == [[0.0], [0.0]]


def test_target_without_a_train_row_is_refused():
    nothing = target_sums(text([]), np.zeros(0, np.int64), np.zeros((0, 1)))
    with pytest.raises(DataError, match="Column x has no train row"):
        fit_target("x", Encode(method="target"), merge([nothing, nothing]))


def test_target_is_not_made_from_counts():
    with pytest.raises(ValueError, match="fit_target"):
        fit_jobs("target")


# names


def test_each_position_has_a_name_that_says_what_it_is():
    assert feature_names(fit_jobs("one_hot")) == ["job=baker", "job=cook", "job=nurse", "job=smith", "job=(other)"]
    assert feature_names(fit_jobs("ordinal")) == feature_names(fit_jobs("vocabulary")) == ["job"]
    assert feature_names(fit_jobs("hash", buckets=3)) == ["job#0", "job#1", "job#2"]
    values, folds = text(["a", "b"]), np.array([0, 1])
    assert feature_names(fit("target", values, folds, np.ones((2, 1)))) == ["x"]
    assert feature_names(fit("target", values, folds, np.eye(2, 3))) == ["x~class0", "x~class1", "x~class2"]


def test_a_value_that_is_called_other_does_not_share_its_name_with_the_rest():
    encoder = fit_encoder("x", Encode(), {"(other)": 1}, is_complete=True)
    assert feature_names(encoder) == ["x=(other)", "x=((other))"]
