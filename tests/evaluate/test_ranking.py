"""Ranks of what was taken among what was not: known ones, ties, and a model that tells nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.evaluate.ranking import measure, ranks_of_positives

LABELS = np.tile([1, 0, 0, 0], 3)
SCORES = np.asarray([9, 1, 2, 3, 2, 3, 1, 0, 0, 1, 2, 3], float)  # ranks 1, 2, 4


def test_hits_and_gains_follow_from_ranks():
    assert ranks_of_positives(SCORES, LABELS, 3).tolist() == [1, 2, 4]
    found = measure(SCORES, LABELS, 3, top=2, confidence=0.95)
    assert found["hit_rate"].value == pytest.approx(2 / 3)
    assert found["ndcg"].value == pytest.approx((1 + 1 / math.log2(3)) / 3)
    assert found["ndcg"].low <= found["ndcg"].value <= found["ndcg"].high


def test_equal_scores_share_the_middle_place():
    assert ranks_of_positives(np.zeros(12), LABELS, 3).tolist() == [2.5, 2.5, 2.5]
    assert measure(np.zeros(12), LABELS, 3, top=2, confidence=0.95)["hit_rate"].value == 0


def test_scores_at_random_hit_as_often_as_there_are_places():
    generator = np.random.default_rng(0)
    labels = np.tile(np.arange(21) == 0, 4000).astype(np.int64)
    found = measure(generator.normal(size=len(labels)), labels, 20, top=10, confidence=0.95)
    assert found["hit_rate"].value == pytest.approx(10 / 21, abs=0.02)


@pytest.mark.parametrize("labels", [LABELS[::-1], LABELS[:-1], np.ones(12, np.int64)], ids=["order", "count", "labels"])
def test_rows_in_another_order_are_refused(labels):
    with pytest.raises(DataError, match="followed by 3 candidates"):
        ranks_of_positives(np.zeros(len(labels)), labels, 3)
