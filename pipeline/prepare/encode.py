"""Category columns as numbers: encoders from the counts of train rows, and rows through an encoder. Pure numpy and Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.schema import CategoryEncoder, TimeEncoder
from pipeline.sections.data import Encode

MAX_VALUES = 1000
CYCLE_S = {"day": 86_400.0, "week": 7 * 86_400.0, "year": 365.2425 * 86_400.0}
TARGET_UNIT = 2.0**-20
TARGET_SUMS = pa.schema([("value", pa.string()), ("fold", pa.int64()), ("rows", pa.int64()), ("sums", pa.list_(pa.float64()))])


def fit_encoder(column: str, options: Encode, counts: Mapping[str, int], *, is_complete: bool) -> CategoryEncoder:
    """The encoder of every method but target, which has `fit_target`.

    Args:
        counts: train rows of each value, null left out.
        is_complete: whether `counts` has every value; one_hot and ordinal need all of them.

    Raises:
        DataError: more than `MAX_VALUES` values for one_hot or ordinal.
    """
    if options.method == "target":
        raise ValueError(f"Column {column}: a target encoder is made from sums of the label, by fit_target.")
    if options.method == "hash":
        return CategoryEncoder(column=column, method="hash", buckets=options.buckets)
    if options.method == "vocabulary":
        return CategoryEncoder(column=column, method="vocabulary", values=most_frequent(counts, options))
    if not is_complete or len(counts) > MAX_VALUES:
        raise DataError(
            f"Column {column} has more than {MAX_VALUES:,} values in the train rows; {options.method.replace('_', '-')} is not for it. "
            f"Use encode: {{{column}: {{method: hash}}}} or vocabulary, or set role: ignore."
        )
    return CategoryEncoder(column=column, method=options.method, values=tuple(sorted(counts)))


def most_frequent(counts: Mapping[str, int], options: Encode) -> tuple[str, ...]:
    """At most `size` values of at least `min_count` rows, by falling frequency; of equally frequent ones, in sorted order."""
    frequent = [value for value, count in counts.items() if count >= options.min_count]
    return tuple(sorted(frequent, key=lambda value: (-counts[value], value))[: options.size])


def target_sums(values: pa.Array | pa.ChunkedArray, folds: NDArray[np.int64], targets: NDArray[np.float64]) -> pa.Table:
    """Rows and label sums of each (value, fold) in some train rows; parts of `merge`.

    Targets are rounded to multiples of 2^-20, so that a sum is exact, and the same in any order, up to 2^32 in magnitude; 0 and 1 stay as
    they are.

    Args:
        values: (N,) text; null is a value of its own.
        folds: (N,) from 0.
        targets: (N, P) the scaled label of a regression, 1.0 for the second of two classes, or one-hot for three or more.

    Returns:
        A table of schema `TARGET_SUMS`, in the order of value, then fold.
    """
    exact = np.rint(targets / TARGET_UNIT) * TARGET_UNIT
    return sum_groups(values, folds, np.ones(len(folds), np.int64), exact)


def merge(parts: Iterable[pa.Table]) -> pa.Table:
    """Sums over all the rows of `parts`, at least one, in any order."""
    table = pa.concat_tables(parts).combine_chunks()
    if not table.num_rows:
        return table
    sums = table["sums"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    return sum_groups(table["value"], table["fold"].to_numpy(), table["rows"].to_numpy(), sums)


def sum_groups(
    values: pa.Array | pa.ChunkedArray, folds: NDArray[np.int64], rows: NDArray[np.int64], sums: NDArray[np.float64]
) -> pa.Table:
    codes, distinct = codes_of(values)
    num_folds = int(folds.max(initial=0)) + 1
    groups, inverse = np.unique(codes * num_folds + folds, return_inverse=True)
    totals = [np.bincount(inverse, weights=column, minlength=len(groups)) for column in sums.T]
    offsets = np.arange(len(groups) + 1, dtype=np.int32) * sums.shape[1]
    columns = [
        pa.concat_arrays([distinct, pa.nulls(1, pa.string())]).take(pa.array(groups // num_folds)),
        pa.array(groups % num_folds),
        pa.array(np.bincount(inverse, weights=rows, minlength=len(groups)).astype(np.int64)),
        pa.ListArray.from_arrays(offsets, np.stack(totals, axis=1).ravel()),
    ]
    return pa.Table.from_arrays(columns, schema=TARGET_SUMS).sort_by([("value", "ascending"), ("fold", "ascending")])


def fit_target(column: str, options: Encode, sums: pa.Table) -> CategoryEncoder:
    """Smoothed means of the label, (n mean + smoothing prior) / (n + smoothing), for each value and for the rest.

    The prior is the mean of all rows that count: all train rows for `means`, all but those of fold f for `fold_means[f]`. The rest, null
    included, is what `size` and `min_count` leave out; with no such row its mean is the prior.

    Args:
        sums: merged `target_sums` of all train rows.

    Raises:
        DataError: there is no train row.

    Source: Micci-Barreca 2001, 10.1145/507533.507538, eq. 3, with out-of-fold means for train rows.
    """
    if not sums.num_rows:
        raise DataError(f"Column {column} has no train row. Expected some: mend the source or the split.")
    counts = sums.filter(pc.is_valid(sums["value"])).group_by("value").aggregate([("rows", "sum")])
    frequent = most_frequent(dict(zip(counts["value"].to_pylist(), counts["rows_sum"].to_pylist(), strict=True)), options)
    values = tuple(sorted(frequent))
    rows, totals = dense_sums(sums, values, options.folds)
    means = smooth(rows.sum(axis=0), totals.sum(axis=0), options.smoothing)
    fold_means = [smooth(n, total, options.smoothing) for n, total in zip(without_each(rows), without_each(totals), strict=True)]
    return CategoryEncoder(
        column=column, method="target", values=values, means=as_tuples(means), fold_means=tuple(as_tuples(part) for part in fold_means)
    )


def dense_sums(sums: pa.Table, values: tuple[str, ...], num_folds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows (folds, V + 1, 1) and label sums (folds, V + 1, P) of each value and of the rest."""
    codes, distinct = codes_of(sums["value"])
    place = places_of(distinct, values)[codes]
    fold = sums["fold"].to_numpy()
    parts = sums["sums"].combine_chunks().flatten().to_numpy().reshape(sums.num_rows, -1)
    rows = np.zeros((num_folds, len(values) + 1, 1))
    totals = np.zeros((num_folds, len(values) + 1, parts.shape[1]))
    np.add.at(rows, (fold, place), sums["rows"].to_numpy()[:, None])
    np.add.at(totals, (fold, place), parts)
    return rows, totals


def without_each(folds: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each fold the sum of the others. It is added up, not subtracted, so that a fold's own numbers never have a part in it."""
    nothing = np.zeros_like(folds[:1])
    before = np.concatenate([nothing, np.cumsum(folds, axis=0)[:-1]])
    after = np.concatenate([np.cumsum(folds[::-1], axis=0)[::-1][1:], nothing])
    return np.asarray(before + after)


def smooth(rows: NDArray[np.float64], totals: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """(V + 1, P) from rows (V + 1, 1) and sums (V + 1, P)."""
    prior = totals.sum(axis=0) / max(rows.sum(), 1.0)
    return np.asarray((totals + smoothing * prior) / (rows + smoothing))


def as_tuples(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def encode(values: pa.Array | pa.ChunkedArray, encoder: CategoryEncoder, folds: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """(N, width) of N texts, null or not.

    Args:
        folds: (N,) each row's fold for train rows, or None for the others; target alone looks at it.
    """
    codes, distinct = codes_of(values)
    if encoder.method == "hash":
        return one_hot(hash_buckets(distinct, encoder.buckets)[codes], encoder.buckets)
    place = places_of(distinct, encoder.values)[codes]
    if encoder.method == "target":
        means = np.asarray(encoder.means if folds is None else encoder.fold_means, np.float32)
        return np.asarray(means[place] if folds is None else means[folds, place])
    if encoder.method == "one_hot":
        return one_hot(place, encoder.width)
    if encoder.method == "vocabulary":
        place = (place + 1) % (len(encoder.values) + 1)  # the rest comes last among places, and is 0
    return place.astype(np.float32)[:, None]


def codes_of(values: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """(N,) index of each value among the distinct ones, which are the second result; null is past the last of them."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    encoded = array.cast(pa.string()).dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), encoded.dictionary


def places_of(distinct: pa.Array, values: tuple[str, ...]) -> NDArray[np.int64]:
    """(D + 1,) index in `values` of each distinct value and then of null; len(values) for what is not there."""
    found = pc.index_in(distinct, value_set=pa.array(values, pa.string())).fill_null(len(values))
    return np.append(found.to_numpy(zero_copy_only=False).astype(np.int64), len(values))


def hash_buckets(distinct: pa.Array, buckets: int) -> NDArray[np.int64]:
    """(D + 1,) bucket of each distinct value and then of null, which is hashed like an empty text."""
    texts = [*distinct.cast(pa.binary()).to_pylist(), b""]
    return np.asarray([int.from_bytes(blake2b(text).digest()[:8], "big") % buckets for text in texts], np.int64)


def one_hot(places: NDArray[np.int64], width: int) -> NDArray[np.float32]:
    matrix = np.zeros((len(places), width), np.float32)
    matrix[np.arange(len(places)), places] = 1
    return matrix


def feature_names(encoder: CategoryEncoder) -> list[str]:
    """What each position is: `sex=Male`, `sex=(other)`, `zip#17` (a hash bucket), `job`, `job~class0` (target of three or more classes)."""
    column = encoder.column
    if encoder.method == "one_hot":
        rest = "(other)"
        while rest in encoder.values:
            rest = f"({rest})"
        return [f"{column}={value}" for value in (*encoder.values, rest)]
    if encoder.method == "hash":
        return [f"{column}#{bucket}" for bucket in range(encoder.buckets)]
    return [column] if encoder.width == 1 else [f"{column}~class{index}" for index in range(encoder.width)]


def encode_time(seconds: NDArray[np.float64], encoder: TimeEncoder) -> NDArray[np.float32]:
    """(N, width) of times (N,) in seconds since 1970, UTC; NaN becomes zeros."""
    angles = np.stack([2 * np.pi * (np.mod(seconds, CYCLE_S[cycle]) / CYCLE_S[cycle]) for cycle in encoder.cycles], axis=1)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(seconds), -1)
    return np.asarray(np.nan_to_num(waves), np.float32)


def time_names(encoder: TimeEncoder) -> list[str]:
    """Names of its positions: `date day sin`, `date day cos`."""
    return [f"{encoder.column} {cycle} {wave}" for cycle in encoder.cycles for wave in ("sin", "cos")]
