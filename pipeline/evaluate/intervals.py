"""How far a metric of the test rows could be off by the luck of those rows: Wilson's interval, and bootstraps of rows. Pure and seeded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import Interval

Floats = NDArray[np.floating[Any]]

RESAMPLES = 1000  # of every bootstrap interval
MAX_UNITS = 100_000  # what a resample draws from; more rows are first averaged in this many random groups
MAX_CELLS = 4_000_000  # numbers held at once while resampling, 32 MB


def wilson_interval(successes: int, trials: int, confidence: float) -> Interval:
    """Of a share. Keeps within [0, 1] and is not empty at 0 or 1, unlike share ± z·σ.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Interval(value=share, low=max(0.0, min(share, centre - half)), high=min(1.0, max(share, centre + half)))


def mean_interval(values: Floats, confidence: float, seed: int) -> Interval:
    """The mean of (N,) values and its bootstrap interval."""
    (drawn,) = resampled_means([values], seed)
    return percentile_interval(float(values.mean()), drawn, confidence)


def resampled_means(columns: Sequence[Floats], seed: int) -> list[Floats]:
    """Means of each column over resampled rows; a resample takes the same rows of every column.

    Above MAX_UNITS rows it resamples means of random groups, whose mean varies as that of the rows does, at a bounded cost.

    Args:
        columns: (N,) values each, N >= 1.
        seed: the same seed gives the same resamples.

    Returns:
        For each column (RESAMPLES,) means.
    """
    generator, rows = np.random.default_rng(seed), len(columns[0])
    units = list(columns)
    if rows > MAX_UNITS:
        order, starts = generator.permutation(rows), np.linspace(0, rows, MAX_UNITS, endpoint=False).astype(np.int64)
        sizes = np.diff(starts, append=rows)
        units = [np.add.reduceat(column[order], starts) / sizes for column in columns]
    num_units = len(units[0])
    drawn = [
        [column[picks].mean(axis=1) for column in units]
        for num in chunks(RESAMPLES, 2 * num_units)
        for picks in [generator.integers(0, num_units, size=(num, num_units))]
    ]
    return [np.concatenate(parts) for parts in zip(*drawn, strict=True)]


def median_interval(values: Floats, confidence: float, seed: int) -> Interval:
    """The median of (N,) values and its bootstrap interval."""
    return percentile_interval(float(np.median(values)), resampled_medians(values, seed), confidence)


def resampled_medians(values: Floats, seed: int) -> Floats:
    """(RESAMPLES,) medians of resampled rows of (N,) values.

    The median of N resampled rows is the row at the place where the median of N uniform numbers falls, and order statistics of
    uniform numbers are beta-distributed: the same distribution as resampling rows, without the rows.
    """
    generator, rows, ordered = np.random.default_rng(seed), len(values), np.sort(values)
    middle = (rows + 1) // 2  # from 1; of an even number the lower one of two
    lower = generator.beta(middle, rows - middle + 1, RESAMPLES)
    upper = lower if rows % 2 else lower + (1 - lower) * generator.beta(1, rows - middle, RESAMPLES)
    drawn = [ordered[np.minimum(place * rows, rows - 1).astype(np.int64)] for place in (lower, upper)]
    return np.asarray((drawn[0] + drawn[1]) / 2)


def percentile_interval(value: float, drawn: Floats, confidence: float) -> Interval:
    """The middle `confidence` of the resampled values, widened where needed to hold the value itself."""
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def chunks(total: int, cells_each: int) -> Iterator[int]:
    """Sizes that add up to `total`, each of at most MAX_CELLS cells and at least one item."""
    size = max(1, MAX_CELLS // cells_each)
    for begin in range(0, total, size):
        yield min(size, total - begin)
