"""Rows of a numeric column by bucket: its sign, exponent and first 9 bits of mantissa, at most 0.2 % wide.

Source: Masson, Rim, Lee 2019, DDSketch, arXiv:1908.10693; with the float's own bits as the logarithm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHIFT = 52 - 9  # bits of a float64 that its bucket leaves out
_SIGN = 1 << (63 - _SHIFT)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Buckets:
    """Rows by bucket. A bucket is the first bits of the absolute value, kept in one array for each sign; 0 is also what is below 1e-310."""

    def __init__(self) -> None:
        self.zeros = 0
        self.positive = _Dense()
        self.negative = _Dense()

    def add(self, values: Floats, smallest: float, largest: float) -> None:
        bits = values.view(np.int64)
        ids = bits >> _SHIFT
        if smallest > 0 and (lowest := _one_bucket(smallest)):
            ids -= lowest
            self.positive.add(lowest, np.bincount(ids))
            return
        ids &= _SIGN - 1
        highest = max(_one_bucket(abs(smallest)), _one_bucket(abs(largest)))
        if highest == 0:
            self.zeros += len(values)
            return
        lowest = int((ids - 1).view(np.uint64).min()) + 1  # 0 wraps around to the largest
        ids -= lowest - 1
        np.maximum(ids, 0, out=ids)
        width = highest - lowest + 1
        signs = bits >> 63
        ids ^= signs  # negative where the value is: with the next line, two's complement
        ids -= signs
        ids += width
        rows = np.bincount(ids, minlength=2 * width + 1)
        self.negative.add(lowest, rows[:width][::-1])
        self.zeros += int(rows[width])
        self.positive.add(lowest, rows[width + 1 :])

    def add_ids(self, ids: Integers, rows: Integers) -> None:
        for sign, part in ((-1, self.negative), (1, self.positive)):
            if (mine := ids * sign > 0).any():
                places = np.abs(ids[mine])
                counts = np.zeros(int(places.max() - places.min()) + 1, np.int64)
                counts[places - places.min()] = rows[mine]
                part.add(int(places.min()), counts)
        self.zeros += int(rows[ids == 0].sum())

    def absorb(self, other: Buckets) -> None:
        self.zeros += other.zeros
        self.positive.add(other.positive.first, other.positive.counts)
        self.negative.add(other.negative.first, other.negative.counts)

    def ids_and_counts(self) -> tuple[Integers, Integers]:
        below, above = self.negative, self.positive
        ids = np.concatenate([-below.places()[::-1], [0], above.places()])
        rows = np.concatenate([below.counts[below.counts > 0][::-1], [self.zeros], above.counts[above.counts > 0]])
        return ids[rows > 0], rows[rows > 0]


class _Dense:
    """Counts of consecutive places, the first of which is `first`."""

    def __init__(self) -> None:
        self.first = 0
        self.counts = np.zeros(0, np.int64)

    def add(self, first: int, counts: Integers) -> None:
        if not len(counts):
            return
        if not len(self.counts):
            self.first = first
        low, high = min(self.first, first), max(self.first + len(self.counts), first + len(counts))
        if high - low > len(self.counts):
            grown = np.zeros(high - low, np.int64)
            grown[self.first - low : self.first - low + len(self.counts)] = self.counts
            self.first, self.counts = low, grown
        self.counts[first - low : first - low + len(counts)] += counts

    def places(self) -> Integers:
        return np.flatnonzero(self.counts) + self.first


def bucket_of(values: Floats) -> Integers:
    """(N,) ids of the buckets that values are in: ascending with the value, 0 of 0."""
    bits = values.view(np.int64)
    places = (bits >> _SHIFT) & (_SIGN - 1)
    return np.where(bits < 0, -places, places)


def _one_bucket(value: float) -> int:
    return int(bucket_of(np.asarray([value]))[0])


def middles(ids: Integers) -> Floats:
    low, high = np.abs(ids) << _SHIFT, (np.abs(ids) + 1) << _SHIFT
    middles: Floats = (low.view(np.float64) + high.view(np.float64)) / 2
    return np.where(ids == 0, 0.0, np.copysign(middles, ids))


def spread_rows(rows: Integers, bucket: Integers, counts: Integers) -> Integers:
    """(V,) rows of each bucket's values, in proportion to their `counts`; a bucket's add up to its rows. `bucket` ascends."""
    running = np.cumsum(counts)
    first = np.searchsorted(bucket, bucket)
    last = np.searchsorted(bucket, bucket, side="right") - 1
    before = running[first] - counts[first]
    up_to = np.rint(rows[bucket] * ((running - before) / (running[last] - before))).astype(np.int64)
    below = np.concatenate([[0], up_to[:-1]])
    below[first] = 0
    spread: Integers = up_to - below
    return spread
