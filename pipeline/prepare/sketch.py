"""What is kept of a column while its rows pass by: exact moments, counts in logarithmic buckets, and counts of a sample of its values.

Every part is a function of the rows alone, not of their order or of how they were cut into parts: sketches of parts merge into exactly
the sketch of the whole, so that a retried or repartitioned job finds the same numbers to the last bit.

- Sums are integers (`exact.py`).
- A number's bucket is what its first bits say (`buckets.py`).
- The sample of values are those with the smallest hashes, each with the exact number of its rows (`value_sample.py`).
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.prepare.buckets import Buckets, bucket_of, middles, spread_rows
from pipeline.prepare.exact import exact_mean, exact_std, exact_sum, exact_sum_of_squares
from pipeline.prepare.value_sample import HASHES, SAMPLE, ValueSample, estimate_distinct, text_hashes, unhashed

_BLOCK = 1 << 15  # values whose arrays stay in a core's cache

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class NumberSketch:
    """Of a numeric column. While it is empty, `min` is inf and `max` is -inf."""

    def __init__(self) -> None:
        self.count = 0  # with a value
        self.nulls = 0
        self.sum = 0  # this and the next: see `exact.py`
        self.sum_of_squares = 0
        self.min = math.inf
        self.max = -math.inf
        self._buckets = Buckets()
        self._sample = ValueSample()

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
        return len(self._sample.hashes) if self.is_complete else estimate_distinct(int(self._sample.hashes[-1]), self.count)

    @property
    def bound(self) -> int:
        """Values whose hash is below it are all in the sample."""
        return HASHES if self.is_complete else int(self._sample.hashes[-1])

    def counts_within(self, bound: int) -> tuple[Floats, Integers]:
        """((V,) ascending values, their counts) of the sample's values whose hash is below a bound."""
        kept = self._sample.hashes <= np.uint64(max(bound - 1, 0))
        values = unhashed(self._sample.hashes[kept])
        order = np.argsort(values)
        return values[order], self._sample.counts[kept][order]

    @property
    def value_counts(self) -> dict[float, int]:
        """Rows of each value, by value: of all if `is_complete`, else of a sample of the distinct values."""
        values, counts = self.counts_within(HASHES)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def buckets(self) -> tuple[Integers, Integers]:
        """((B,) ids in ascending order of their values, (B,) counts above 0). See `bucket_of`."""
        return self._buckets.ids_and_counts()

    def weighted_values(self) -> tuple[Floats, Integers]:
        """((V,) ascending values, (V,) rows that each stands for): all of them if `is_complete`, else at most 0.2 % off."""
        values, counts = self.counts_within(HASHES)
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
        places = np.concatenate([values, middles(ids[empty])])
        counts = np.concatenate([spread_rows(rows, bucket, counts), rows[empty]])
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
        texts, hashes = list(new), text_hashes(new)
        bound = max(self._hashes.values()) if len(self._hashes) == SAMPLE else HASHES - 1
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
        return len(self._counts) if self.is_complete else estimate_distinct(max(self._hashes.values()), self.count)

    @property
    def bound(self) -> int:
        """Values whose hash is below it are all in the sample."""
        return HASHES if self.is_complete else max(self._hashes.values())

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
    values, counts_of_values = sketch.counts_within(HASHES)
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
