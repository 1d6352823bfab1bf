"""Signatures of texts, and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.minhash import MIN_RECALL, NUM_HASHES, bands, jaccard, recall, rows_per_band, shingles, signatures

WORDS = st.lists(st.sampled_from("a b c d e f g h i j k l m n o p".split()), min_size=1, max_size=30)


@given(WORDS, st.integers(1, 5))
def test_shingles_are_the_different_runs_of_words(words, length):
    size = min(length, len(words))
    runs = {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}
    assert len(shingles(" ".join(words), length)) == len(runs)


@given(WORDS, WORDS, st.integers(1, 3))
def test_jaccard_is_that_of_the_sets_of_runs(left, right, length):
    def runs(words):
        size = min(length, len(words))
        return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}

    expected = len(runs(left) & runs(right)) / len(runs(left) | runs(right))
    assert jaccard(shingles(" ".join(left), length), shingles(" ".join(right), length)) == pytest.approx(expected)


def test_case_and_punctuation_make_no_difference():
    assert np.array_equal(shingles("The CAT, sat; on: it!", 3), shingles("the cat sat on it", 3))
    assert len(shingles("?!", 3)) == 1


@given(st.lists(WORDS, min_size=1, max_size=200))
def test_a_signature_does_not_depend_on_the_texts_beside_it(texts):
    sets = [shingles(" ".join(words), 2) for words in texts]
    together = signatures(sets)
    assert np.array_equal(together, np.concatenate([signatures([one]) for one in sets]))
    assert together.shape == (len(texts), NUM_HASHES)


def pair_with(similarity: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of 400 or fewer with this Jaccard similarity."""
    common = round(200 * 2 * similarity / (1 + similarity))
    values = random.integers(0, 2**64 - 1, 400 - common, np.uint64)
    return np.unique(values[:200]), np.unique(values[200 - common :])


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_pairs_at_the_threshold_become_candidates(similarity):
    random, rows = np.random.default_rng(7), rows_per_band(similarity)
    assert recall(similarity, rows) >= MIN_RECALL
    pairs = [pair_with(similarity, random) for _ in range(300)]
    left, right = (bands(signatures([pair[side] for pair in pairs]), rows) for side in (0, 1))
    assert np.mean((left == right).any(axis=1)) > 0.97


def test_signatures_agree_as_often_as_sets_are_alike():
    random = np.random.default_rng(3)
    for similarity in (0.2, 0.5, 0.8):
        pairs = [pair_with(similarity, random) for _ in range(200)]
        left, right = (signatures([pair[side] for pair in pairs]) for side in (0, 1))
        assert abs(np.mean(left == right) - similarity) < 0.02


def test_unlike_texts_are_rarely_candidates_and_a_band_counts_only_in_its_place():
    random = np.random.default_rng(1)
    sets = [random.integers(0, 2**64 - 1, 30, np.uint64) for _ in range(300)]
    found = bands(signatures(sets), 4)
    assert len(np.unique(found)) == found.size
    same = signatures([sets[0]])
    assert len(np.unique(bands(np.repeat(same[:, :4], NUM_HASHES // 4, axis=1).reshape(1, -1), 4))) > 1
