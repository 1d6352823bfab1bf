"""How high a recommender puts what somebody took among items that they did not take. Pure: arrays in, records out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.evaluate.intervals import Floats, mean_interval
from pipeline.schema import Interval


def measure(
    scores: Floats, labels: NDArray[np.int64], candidates: int, *, top: int, confidence: float, seed: int = 0
) -> dict[str, Interval]:
    """`hit_rate` and `ndcg` of the first `top` places, with bootstraps of positives.

    Args:
        scores: (P * (1 + candidates),) of each positive and, right after it, its candidates; higher first.
        labels: of the same rows, 1 for positives.
        candidates: items that were not taken, for each positive.
        top: places that count, >= 1.
        confidence: of the intervals.
        seed: of the bootstraps.

    Sources: the protocol, He et al. 2017, arXiv:1708.05031, section 4.1; NDCG, Järvelin & Kekäläinen 2002, 10.1145/582415.582418.
    """
    ranks = ranks_of_positives(scores, labels, candidates)
    is_hit = ranks <= top
    gains = np.where(is_hit, 1 / np.log2(1 + ranks), 0.0)
    return {
        "hit_rate": mean_interval(is_hit.astype(np.float64), confidence, seed),
        "ndcg": mean_interval(gains, confidence, seed),
    }


def ranks_of_positives(scores: Floats, labels: NDArray[Any], candidates: int) -> Floats:
    """(P,) from 1; among equal scores the middle place, so that a model that tells nothing gains nothing.

    Raises:
        DataError: rows are not positives followed by their candidates.
    """
    groups = 1 + candidates
    if len(labels) % groups or not (labels.reshape(-1, groups) == (np.arange(groups) == 0)).all():
        raise DataError(
            f"{len(labels)} rows of interactions are not positives that are each followed by {candidates} candidates. "
            "Expected them as prepare writes them. Run `pipeline prepare RECIPE --force`."
        )
    table = scores.reshape(-1, groups).astype(np.float64)
    first, others = table[:, :1], table[:, 1:]
    return np.asarray(1 + (others > first).sum(axis=1) + (others == first).sum(axis=1) / 2)
