"""Near duplicates of texts by MinHash: signatures, the bands that make candidates of them, and the exact check. Pure numpy.

A text is the set of its runs of `shingle` words. Two texts' signatures agree at a place with the probability of their sets' Jaccard
similarity; cut into bands, texts that agree in a whole band become candidates, and candidates are then compared exactly.
Source: Broder 1997, 10.1109/SEQUEN.1997.666900; bands: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.4.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUM_HASHES = 64
MIN_RECALL = 0.99  # of pairs that are just similar enough
WORD = re.compile(r"\w+")
BLOCK = 4096  # shingles that are hashed at a time, NUM_HASHES times each

Hashes = NDArray[np.uint64]


def rows_per_band(similarity: float) -> int:
    """The longest bands that still find MIN_RECALL of the pairs with just this similarity; longer ones make fewer candidates in vain."""
    fitting = [rows for rows in (1, 2, 4, 8, 16) if recall(similarity, rows) >= MIN_RECALL]
    return max(fitting, default=1)


def recall(similarity: float, rows: int) -> float:
    """Probability that a pair of this Jaccard similarity agrees in a whole band of `rows`."""
    return 1.0 - (1.0 - similarity**rows) ** (NUM_HASHES // rows)


def shingles(text: str, length: int) -> Hashes:
    """(S,) different 64-bit hashes of a text's runs of `length` words, letter case aside; of a shorter text, of all its words."""
    words = np.fromiter((zlib.crc32(word.encode()) for word in WORD.findall(text.lower())), np.uint64)
    if not len(words):
        return np.zeros(1, np.uint64)  # texts without a word are alike
    length = min(length, len(words))
    runs = np.zeros(len(words) - length + 1, np.uint64)
    for offset in range(length):
        runs = mix(runs + words[offset : offset + len(runs)] + np.uint64(1))
    return np.unique(runs)


def mix(values: Hashes) -> Hashes:
    """A bijection of 64 bits that spreads them. Source: Steele, Lea, Flood 2014, 10.1145/2660193.2660195 (SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


SALTS: Hashes = mix(np.arange(1, NUM_HASHES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def signatures(sets: Sequence[Hashes]) -> Hashes:
    """(N, NUM_HASHES): for each set of shingles and each hash function, the smallest value."""
    found = np.empty((len(sets), NUM_HASHES), np.uint64)
    begin = 0
    while begin < len(sets):  # as many sets as fit a block, which keeps the arrays in the cache
        end, total = begin + 1, len(sets[begin])
        while end < len(sets) and total + len(sets[end]) <= BLOCK:
            total += len(sets[end])
            end += 1
        starts = np.cumsum([0, *(len(one) for one in sets[begin : end - 1])])
        hashed = mix(np.concatenate(sets[begin:end])[None, :] ^ SALTS[:, None])
        found[begin:end] = np.minimum.reduceat(hashed, starts, axis=1).T
        begin = end
    return found


def bands(signed: Hashes, rows: int) -> Hashes:
    """(N, NUM_HASHES // rows): one hash for each band of each signature, its place included."""
    count = NUM_HASHES // rows
    parts = signed[:, : count * rows].reshape(len(signed), count, rows)
    hashed = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), (len(signed), count))
    for place in range(rows):
        hashed = mix(hashed + parts[:, :, place])
    return hashed


def jaccard(left: Hashes, right: Hashes) -> float:
    """Common share of two sets of different values, 0 to 1."""
    common = len(np.intersect1d(left, right, assume_unique=True))
    return common / (len(left) + len(right) - common)
