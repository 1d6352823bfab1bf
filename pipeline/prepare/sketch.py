"""What is kept of a column while its rows pass by: exact moments, counts in logarithmic buckets, and counts of a sample of its values.

Every part is a function of the rows alone, not of their order or of how they were cut into parts: sketches of parts merge into exactly
the sketch of the whole, so that a retried or repartitioned job finds the same numbers to the last bit.

- Sums are integers (`exact.py`).
- A number's bucket is its sign, exponent and first 9 bits of mantissa, at most 0.2 % wide.
  Source: Masson, Rim, Lee 2019, DDSketch, arXiv:1908.10693; with the float's own bits as the logarithm.
- The sample of values are the SAMPLE ones with the smallest hashes, each with the exact number of its rows: one of the final sample is in
  the sample of every part that has it. Source: Beyer et al. 2007, 10.1145/1247480.1247504, section 4 (synopses of unions).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.prepare.exact import exact_mean, exact_std, exact_sum, exact_sum_of_squares
from pipeline.schema import ColumnStatistics, Histogram

SAMPLE = 1024  # values whose rows are counted; with more distinct ones the estimate of their number has a standard error of 3 %
QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")

_SHIFT = 52 - 9  # bits of a float64 that its bucket leaves out
_SIGN = 1 << (63 - _SHIFT)
_BLOCK = 1 << 15  # values whose arrays stay in a core's cache
_HASHES = 1 << 64
_SLOTS = 1 << 14
_BINS = 40

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


class NumberSketch:
    """Of a numeric column. While it is empty, `min` is inf and `max` is -inf."""

    def __init__(self) -> None:
        self.count = 0  # with a value
        self.nulls = 0
        self.sum = 0  # this and the next: see `exact.py`
        self.sum_of_squares = 0
        self.min = math.inf
        self.max = -math.inf
        self._buckets = _Buckets()
        self._sample = _Sample()

    def add(self, values: Floats) -> None:
        """Take (N,) rows in; NaN is a missing value."""
        for start in range(0, len(values), _BLOCK):
            block = np.asarray(values[start : start + _BLOCK], np.float64) + 0.0  # -0.0 becomes 0.0
            present = block[~np.isnan(block)] if np.isnan(block.min()) else block
            if len(present):
                self._add_present(present)
            self.nulls += len(block) - len(present)

    def _add_present(self, values: Floats) -> None:
        smallest, largest = float(values.min()), float(values.max())
        self.sum += exact_sum(values)
        self.sum_of_squares += exact_sum_of_squares(values)
        self._buckets.add(values, smallest, largest)
        self._sample.add(values, self.count)
        self.count += len(values)
        self.min, self.max = min(self.min, smallest), max(self.max, largest)

    def absorb(self, other: NumberSketch) -> None:
        """Take in what `other` has seen."""
        self.count += other.count
        self.nulls += other.nulls
        self.sum += other.sum
        self.sum_of_squares += other.sum_of_squares
        self.min, self.max = min(self.min, other.min), max(self.max, other.max)
        self._buckets.absorb(other._buckets)
        self._sample.absorb(other._sample)

    @property
    def mean(self) -> float:
        """Correctly rounded; NaN while there is no value."""
        return exact_mean(self.count, self.sum) if self.count else math.nan

    @property
    def std(self) -> float:
        """Of the population, correctly rounded; NaN while there is no value."""
        return exact_std(self.count, self.sum, self.sum_of_squares) if self.count else math.nan

    @property
    def is_complete(self) -> bool:
        """Every distinct value is in `value_counts`."""
        return self._sample.rows == self.count

    @property
    def distinct(self) -> int:
        return len(self._sample.hashes) if self.is_complete else _estimate(int(self._sample.hashes[-1]), self.count)

    @property
    def bound(self) -> int:
        """Values whose hash is below it are all in the sample."""
        return _HASHES if self.is_complete else int(self._sample.hashes[-1])

    def counts_within(self, bound: int) -> tuple[Floats, Integers]:
        """((V,) ascending values, their counts) of the sample's values whose hash is below a bound."""
        kept = self._sample.hashes <= np.uint64(max(bound - 1, 0))
        values = _unhashed(self._sample.hashes[kept])
        order = np.argsort(values)
        return values[order], self._sample.counts[kept][order]

    @property
    def value_counts(self) -> dict[float, int]:
        """Rows of each value, by value: of all if `is_complete`, else of a sample of the distinct values."""
        values, counts = self.counts_within(_HASHES)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def buckets(self) -> tuple[Integers, Integers]:
        """((B,) ids in ascending order of their values, (B,) counts above 0). See `bucket_of`."""
        return self._buckets.ids_and_counts()

    def weighted_values(self) -> tuple[Floats, Integers]:
        """((V,) ascending values, (V,) rows that each stands for): all of them if `is_complete`, else at most 0.2 % off."""
        values, counts = self.counts_within(_HASHES)
        if not self.is_complete:
            values, counts = self.spread_over(values, counts)
        return np.clip(values, self.min, self.max), counts

    def spread_over(self, values: Floats, counts: Integers) -> tuple[Floats, Integers]:
        """Like `weighted_values`, but with these (V,) ascending values of the sample, in proportion to their counts.

        The rows of a bucket that none of them is in are all in its middle.
        """
        ids, rows = self.buckets()
        bucket = np.searchsorted(ids, bucket_of(values))
        empty = np.bincount(bucket, minlength=len(ids)) == 0
        places = np.concatenate([values, _middles(ids[empty])])
        counts = np.concatenate([_spread(rows, bucket, counts), rows[empty]])
        order = np.argsort(places, kind="stable")
        return places[order], counts[order]

    def quantiles(self, shares: Sequence[float]) -> Floats:
        """The smallest value with at least this share of rows up to it, for each share from 0 to 1; at most 0.2 % off, NaN without rows."""
        if not self.count:
            return np.full(len(shares), np.nan)
        values, counts = self.weighted_values()
        ranks = np.clip(np.ceil(self.count * np.asarray(shares, np.float64)), 1, self.count)
        found: Floats = values[np.searchsorted(np.cumsum(counts), ranks)]
        found[ranks == 1] = self.min
        found[ranks == self.count] = self.max
        return found

    def quantile(self, share: float) -> float:
        return float(self.quantiles([share])[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberSketch) and to_json(self) == to_json(other)

    __hash__ = None  # type: ignore[assignment]  # it changes


class CategorySketch:
    """Of a text column."""

    def __init__(self) -> None:
        self.count = 0  # with a value
        self.nulls = 0
        self._hashes: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: pa.Array | pa.ChunkedArray) -> None:
        """Take rows in; null is a missing value."""
        uniques = pc.value_counts(values.drop_null())
        texts, rows = (field.to_numpy(zero_copy_only=False).tolist() for field in uniques.flatten())  # to_pylist is 30 times slower
        self._count(texts, rows)
        self.count += len(values) - values.null_count
        self.nulls += values.null_count

    def absorb(self, other: CategorySketch) -> None:
        """Take in what `other` has seen."""
        self._count(list(other._counts), list(other._counts.values()))
        self.count += other.count
        self.nulls += other.nulls

    def _count(self, values: Sequence[str], rows: Sequence[int]) -> None:
        new: dict[str, int] = {}
        for value, number in zip(values, rows, strict=True):
            if value in self._counts:
                self._counts[value] += number
            else:
                new[value] = number
        if new:
            self._insert(new)

    def _insert(self, new: Mapping[str, int]) -> None:
        texts, hashes = list(new), _text_hashes(new)
        bound = max(self._hashes.values()) if len(self._hashes) == SAMPLE else _HASHES - 1
        if len(new) > SAMPLE:
            bound = min(bound, int(np.partition(hashes, SAMPLE - 1)[SAMPLE - 1]))
        for place in np.flatnonzero(hashes <= np.uint64(bound)).tolist():
            text = texts[place]
            self._hashes[text], self._counts[text] = int(hashes[place]), new[text]
        for _, text in sorted((number, text) for text, number in self._hashes.items())[SAMPLE:]:
            del self._hashes[text], self._counts[text]

    @property
    def is_complete(self) -> bool:
        """Every distinct value is in `value_counts`."""
        return sum(self._counts.values()) == self.count

    @property
    def distinct(self) -> int:
        return len(self._counts) if self.is_complete else _estimate(max(self._hashes.values()), self.count)

    @property
    def bound(self) -> int:
        """Values whose hash is below it are all in the sample."""
        return _HASHES if self.is_complete else max(self._hashes.values())

    def counts_within(self, bound: int) -> dict[str, int]:
        """Rows of each of the sample's values whose hash is below a bound."""
        return {value: rows for value, rows in sorted(self._counts.items()) if self._hashes[value] < bound}

    @property
    def value_counts(self) -> dict[str, int]:
        """Rows of each value, by value: of all if `is_complete`, else of a sample of the distinct values."""
        return dict(sorted(self._counts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CategorySketch) and to_json(self) == to_json(other)

    __hash__ = None  # type: ignore[assignment]  # it changes


Sketch = NumberSketch | CategorySketch


def number_sketch(values: Floats) -> NumberSketch:
    """Of (N,) rows; NaN is a missing value, the others are finite."""
    sketch = NumberSketch()
    sketch.add(values)
    return sketch


def category_sketch(values: pa.Array | pa.ChunkedArray) -> CategorySketch:
    """Of the rows of a string column."""
    sketch = CategorySketch()
    sketch.add(values)
    return sketch


def merge(left: Sketch, right: Sketch) -> Sketch:
    """The sketch of both's rows; a new one."""
    if type(left) is not type(right):
        raise TypeError(f"Sketches of one column are of one kind, received {type(left).__name__} and {type(right).__name__}.")
    merged = type(left)()
    for part in (left, right):
        merged.absorb(part)  # type: ignore[arg-type]  # both are of this type
    return merged


def to_json(sketch: Sketch, *, packed: bool = False) -> dict[str, Any]:
    """Plain JSON types; equal for equal sketches.

    Args:
        sketch: of either kind.
        packed: a number's arrays as base64 texts, not as lists: a quarter of the time to write and read, for what only travels.
    """
    common = {"count": sketch.count, "nulls": sketch.nulls}
    if isinstance(sketch, CategorySketch):
        counts = sketch.value_counts
        return {"kind": "category", **common, "sample": {"values": list(counts), "rows": list(counts.values())}}
    write = _pack if packed else np.ndarray.tolist
    values, counts_of_values = sketch.counts_within(_HASHES)
    ids, rows = sketch.buckets()
    return {
        "kind": "number",
        **common,
        "sum": str(sketch.sum),
        "sum_of_squares": str(sketch.sum_of_squares),
        "min": sketch.min if sketch.count else None,
        "max": sketch.max if sketch.count else None,
        "buckets": {"gaps": write(np.diff(ids, prepend=0)), "rows": write(rows)},  # ids as the distance from the one before
        "sample": {"values": write(values), "rows": write(counts_of_values)},
    }


def from_json(data: Mapping[str, Any]) -> Sketch:
    """The sketch that `to_json` wrote."""
    values, rows = data["sample"]["values"], data["sample"]["rows"]
    if data["kind"] == "category":
        category = CategorySketch()
        category.count, category.nulls = data["count"], data["nulls"]
        category._count(values, rows)
        return category
    number = NumberSketch()
    number.count, number.nulls = data["count"], data["nulls"]
    if number.count:
        number.sum, number.sum_of_squares = int(data["sum"]), int(data["sum_of_squares"])
        number.min, number.max = float(data["min"]), float(data["max"])
        number._buckets.add_ids(np.cumsum(_unpack(data["buckets"]["gaps"])), _unpack(data["buckets"]["rows"]))
        number._sample.add_counts(np.asarray(_unpack(values), np.float64), _unpack(rows))
    return number


def _pack(array: Floats | Integers) -> str:
    kinds = ("<f8",) if array.dtype == np.float64 else ("<i1", "<i2", "<i4", "<i8")
    narrow = next(kind for kind in kinds if (array == array.astype(kind)).all())
    return f"{narrow} {b64encode(array.astype(narrow).tobytes()).decode()}"


def _unpack(data: str | list[float] | list[int]) -> Any:
    if not isinstance(data, str):
        return np.asarray(data)
    kind, _, text = data.partition(" ")
    array = np.frombuffer(b64decode(text), kind)
    return array.astype(kind[1] + "8")


def summarise(sketch: Sketch) -> ColumnStatistics:
    """What a manifest and a report say of a column."""
    common = {"count": sketch.count, "nulls": sketch.nulls, "distinct": sketch.distinct}
    if isinstance(sketch, CategorySketch):
        return ColumnStatistics(**common, top=_most_frequent(sketch.value_counts))
    if not sketch.count:
        return ColumnStatistics(**common)
    values = {_number_text(value): rows for value, rows in sketch.value_counts.items()} if sketch.is_complete else {}
    found = sketch.quantiles([float(name) for name in QUANTILES])
    return ColumnStatistics(
        **common,
        top=_most_frequent(values),
        mean=sketch.mean,
        std=sketch.std,
        min=sketch.min,
        max=sketch.max,
        quantiles=dict(zip(QUANTILES, found.tolist(), strict=True)),
        histogram=_histogram(sketch),
    )


def _most_frequent(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:10])


def _number_text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _histogram(sketch: NumberSketch) -> Histogram:
    low, high = sketch.quantiles([0.005, 0.995]).tolist()
    if low == high:
        low, high = sketch.min, sketch.max
    if low == high:
        margin = max(0.5, abs(low) / 1000)
        return Histogram(edges=(low - margin, low + margin), counts=(sketch.count,))
    values, counts = sketch.weighted_values()
    edges = np.linspace(low, high, min(_BINS, len(values)) + 1)
    bins = np.searchsorted(edges[1:-1], values, side="right")
    rows = np.bincount(bins, counts, minlength=len(edges) - 1).astype(np.int64)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(rows.tolist()))


class _Buckets:
    """Rows by bucket. A bucket is the first bits of the absolute value, kept in one array for each sign; 0 is also what is below 1e-310."""

    def __init__(self) -> None:
        self.zeros = 0
        self.positive = _Dense()
        self.negative = _Dense()

    def add(self, values: Floats, smallest: float, largest: float) -> None:
        bits = values.view(np.int64)
        ids = bits >> _SHIFT
        if smallest > 0 and (lowest := _bucket(smallest)):
            ids -= lowest
            self.positive.add(lowest, np.bincount(ids))
            return
        ids &= _SIGN - 1
        highest = max(_bucket(abs(smallest)), _bucket(abs(largest)))
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

    def absorb(self, other: _Buckets) -> None:
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


def _bucket(value: float) -> int:
    return int(bucket_of(np.asarray([value]))[0])


def _middles(ids: Integers) -> Floats:
    low, high = np.abs(ids) << _SHIFT, (np.abs(ids) + 1) << _SHIFT
    middles: Floats = (low.view(np.float64) + high.view(np.float64)) / 2
    return np.where(ids == 0, 0.0, np.copysign(middles, ids))


def _spread(rows: Integers, bucket: Integers, counts: Integers) -> Integers:
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


class _Sample:
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

    def absorb(self, other: _Sample) -> None:
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
_INVERSES = tuple(pow(factor, -1, _HASHES) for factor in _FACTORS)
_OFFSET = 0x9E3779B97F4A7C15  # so that 0.0 is not the smallest hash


def _hashed(values: Floats) -> Hashes:
    mixed = values.view(np.uint64) + np.uint64(_OFFSET)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(_FACTORS[0])
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(_FACTORS[1])
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _unhashed(hashes: Hashes) -> Floats:
    mixed = hashes ^ (hashes >> np.uint64(31)) ^ (hashes >> np.uint64(62))
    mixed *= np.uint64(_INVERSES[1])
    mixed ^= (mixed >> np.uint64(27)) ^ (mixed >> np.uint64(54))
    mixed *= np.uint64(_INVERSES[0])
    mixed ^= (mixed >> np.uint64(30)) ^ (mixed >> np.uint64(60))
    mixed -= np.uint64(_OFFSET)
    values: Floats = mixed.view(np.float64)
    return values


def _text_hashes(values: Iterable[str]) -> Hashes:
    return np.frombuffer(b"".join([blake2b(value.encode(), digest_size=8).digest() for value in values]), "<u8")


def _estimate(largest: int, count: int) -> int:
    """Distinct values among `count` rows, from the largest hash of a full sample."""
    return min(round((SAMPLE - 1) * _HASHES / (largest + 1)), count)
