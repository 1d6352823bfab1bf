"""How well a score tells known anomalies from the other rows, with intervals. Pure and seeded."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from pipeline.evaluate.intervals import RESAMPLES, Floats, chunks, percentile_interval
from pipeline.schema import Interval

Flags = NDArray[np.bool_]


def auc_interval(scores: Floats, is_anomaly: Flags, confidence: float) -> Interval:
    """Area under the ROC curve: how often an anomaly scores above another row, ties counting half; with DeLong's interval.

    Args:
        scores: (N,), higher for anomalies.
        is_anomaly: (N,) at least one of each.
        confidence: of the interval.

    Source: DeLong et al. 1988, 10.2307/2531595; computed from ranks as in Sun & Xu 2014, 10.1109/LSP.2014.2337313.
    """
    found, others = scores[is_anomaly], scores[~is_anomaly]
    among_all = rankdata(np.concatenate([found, others]))
    above = (among_all[: len(found)] - rankdata(found)) / len(others)  # (A,) share of the others below each anomaly
    below = 1 - (among_all[len(found) :] - rankdata(others)) / len(found)  # (O,) share of the anomalies above each other
    value = float(above.mean())
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(spread(above) + spread(below))
    return Interval(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def spread(shares: Floats) -> float:
    """The variance of the mean of (N,) values; 0 of one, about which nothing is known."""
    return float(shares.var(ddof=1)) / len(shares) if len(shares) > 1 else 0.0


def average_precision_interval(scores: Floats, is_anomaly: Flags, confidence: float, seed: int = 0) -> Interval:
    """Average precision, and its percentile bootstrap of rows. Guessing gives the share of anomalies.

    Resamples draw how often each row is taken, in the order of the scores: no resample is sorted again.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # the last of each group of equal scores
    flags, rows, generator = is_anomaly[order].astype(np.float64), len(scores), np.random.default_rng(seed)
    value = float(average_precision(np.ones((1, rows)), flags, ends)[0])
    drawn = [
        average_precision(generator.multinomial(rows, np.full(rows, 1 / rows), size=num).astype(np.float64), flags, ends)
        for num in chunks(RESAMPLES, 4 * rows)
    ]
    return percentile_interval(value, np.concatenate(drawn), confidence)


def average_precision(counts: Floats, flags: Floats, ends: NDArray[Any]) -> Floats:
    """Precision at each score, averaged by the anomalies that are first found there. 0 where a resample has none.

    Args:
        counts: (R, N) how often each row is there, in falling order of score.
        flags: (N,) 1 for anomalies.
        ends: (E,) places of the last row of each group of equal scores.

    Returns:
        (R,) in [0, 1].
    """
    found = np.cumsum(counts * flags, axis=1)[:, ends]  # (R, E)
    taken = np.cumsum(counts, axis=1)[:, ends]  # (R, E)
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    first = np.diff(found, axis=1, prepend=0.0)
    return np.asarray((precision * first).sum(axis=1) / np.maximum(found[:, -1], 1))
