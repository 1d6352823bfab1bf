"""Rows of a sample of a column's values: of the SAMPLE ones with the smallest hashes, each with the exact number of its rows.

One of the final sample is in the sample of every part that has it, so samples of parts merge into exactly that of the whole.
Source: Beyer et al. 2007, 10.1145/1247480.1247504, section 4 (synopses of unions).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

SAMPLE = 1024  # values whose rows are counted; with more distinct ones the estimate of their number has a standard error of 3 %
HASHES = 1 << 64

_SLOTS = 1 << 14

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


class ValueSample:
    """Rows of the SAMPLE values with the smallest hashes. The hash can be inverted, so values themselves need not be kept."""

    def __init__(self) -> None:
        self.hashes: Hashes = np.zeros(0, np.uint64)  # ascending
        self.counts: Integers = np.zeros(0, np.int64)
        self._slots: Integers | None = None  # last bits of a hash -> its place in `hashes`

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def add(self, values: Floats, num_seen: int) -> None:
        """Take values in, after `num_seen` others: as many at a time, since the more were seen, the more of the next can be left out."""
        start = 0
        while start < len(values):
            stop = start + max(2 * SAMPLE, num_seen + start)
            self._add_hashes(_hashed(values[start:stop]))
            start = stop

    def add_counts(self, values: Floats, counts: Integers) -> None:
        hashes = _hashed(values)
        order = np.argsort(hashes)
        self._insert(hashes[order], counts[order])

    def absorb(self, other: ValueSample) -> None:
        self._insert(other.hashes, other.counts)

    def _add_hashes(self, hashes: Hashes) -> None:
        if len(self.hashes) == SAMPLE:
            hashes = hashes[hashes <= self.hashes[-1]]
        if len(hashes) > SAMPLE // 4 and len(self.hashes):
            hashes = self._count_known(hashes)
        self._insert(*np.unique(hashes, return_counts=True))

    def _count_known(self, hashes: Hashes) -> Hashes:
        """Count those that the sample has; the others, and the few whose slot another one has, come back."""
        if self._slots is None:
            self._slots = np.zeros(_SLOTS, np.int64)
            self._slots[_slots(self.hashes)] = np.arange(len(self.hashes))
        places = self._slots.take(_slots(hashes))
        known = self.hashes.take(places) == hashes
        rest: Hashes = hashes[~known]
        self.counts += np.bincount(places[known] if len(rest) else places, minlength=len(self.hashes))
        return rest

    def _insert(self, hashes: Hashes, counts: Integers) -> None:
        if not len(hashes):
            return
        hashes, counts = np.concatenate([self.hashes, hashes]), np.concatenate([self.counts, counts])
        order = np.argsort(hashes, kind="stable")
        hashes, counts = hashes[order], counts[order]
        first = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        self.hashes = hashes[first[:SAMPLE]]
        self.counts = np.add.reduceat(counts, first)[:SAMPLE].copy()  # not a view that keeps the rest
        self._slots = None


def _slots(hashes: Hashes) -> Integers:
    return (hashes & np.uint64(_SLOTS - 1)).astype(np.int64)


# splitmix64 without its counter: a bijection of 64 bits. Source: Steele, Lea, Flood 2014, 10.1145/2660193.2660195 (Stafford's mix 13).
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_INVERSES = tuple(pow(factor, -1, HASHES) for factor in _FACTORS)
_OFFSET = 0x9E3779B97F4A7C15  # so that 0.0 is not the smallest hash


def _hashed(values: Floats) -> Hashes:
    mixed = values.view(np.uint64) + np.uint64(_OFFSET)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(_FACTORS[0])
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(_FACTORS[1])
    mixed ^= mixed >> np.uint64(31)
    return mixed


def unhashed(hashes: Hashes) -> Floats:
    mixed = hashes ^ (hashes >> np.uint64(31)) ^ (hashes >> np.uint64(62))
    mixed *= np.uint64(_INVERSES[1])
    mixed ^= (mixed >> np.uint64(27)) ^ (mixed >> np.uint64(54))
    mixed *= np.uint64(_INVERSES[0])
    mixed ^= (mixed >> np.uint64(30)) ^ (mixed >> np.uint64(60))
    mixed -= np.uint64(_OFFSET)
    values: Floats = mixed.view(np.float64)
    return values


def text_hashes(values: Iterable[str]) -> Hashes:
    return np.frombuffer(b"".join([blake2b(value.encode(), digest_size=8).digest() for value in values]), "<u8")


def estimate_distinct(largest: int, count: int) -> int:
    """Distinct values among `count` rows, from the largest hash of a full sample."""
    return min(round((SAMPLE - 1) * HASHES / (largest + 1)), count)
