"""Statistics of train rows, and the scalers and encoders made from them.

Sums are taken within a partition in the order of its sorted rows and joined in partition order, so that the last digit does not
depend on the cluster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.split import SPLIT
from pipeline.prepare.tasks import ArrowFunction, current_task
from pipeline.schema import CategoryEncoder, ColumnStatistics, NumberScaler

MAX_CATEGORIES = 1000
MOMENTS_SCHEMA = "partition int, name string, num_values long, nulls long, mean double, m2 double, low double, high double"
MOMENTS_ARROW = pa.schema(
    [("partition", pa.int32()), ("name", pa.string()), ("num_values", pa.int64()), ("nulls", pa.int64())]
    + [(field, pa.float64()) for field in ("mean", "m2", "low", "high")]
)


class Moments(NamedTuple):
    """Mergeable moments of some values; `m2` is the sum of squared distances from the mean."""

    num_values: int
    nulls: int
    mean: float
    m2: float
    low: float
    high: float


def moments(values: NDArray[np.float64]) -> Moments:
    """Of a 1-d array in which NaN stands for null."""
    present = values[~np.isnan(values)]
    if not len(present):
        return Moments(0, len(values), 0.0, 0.0, math.inf, -math.inf)
    mean = float(present.mean())
    m2 = float(np.square(present - mean).sum())
    return Moments(len(present), len(values) - len(present), mean, m2, float(present.min()), float(present.max()))


def merge(left: Moments, right: Moments) -> Moments:
    """Moments of both together. Source: Chan, Golub & LeVeque 1979, Updating formulae, eq. 2.1."""
    num_values = left.num_values + right.num_values
    if not num_values:
        return left._replace(nulls=left.nulls + right.nulls)
    delta = right.mean - left.mean
    mean = left.mean + delta * right.num_values / num_values
    m2 = left.m2 + right.m2 + delta * delta * left.num_values * right.num_values / num_values
    return Moments(num_values, left.nulls + right.nulls, mean, m2, min(left.low, right.low), max(left.high, right.high))


def fit_numbers(rows: DataFrame, columns: list[str]) -> dict[str, ColumnStatistics]:
    """Statistics of number columns over train rows. One Spark job."""
    if not columns:
        return {}
    train = rows.where(F.col(SPLIT) == "train").select(*columns)
    parts = train.mapInArrow(partition_moments(columns, column_values), MOMENTS_SCHEMA).collect()
    return statistics(columns, parts)


def fit_pixels(rows: DataFrame, image: str, shape: tuple[int, int, int]) -> list[ColumnStatistics]:
    """Statistics of each channel of an image column over train rows, in pixel units. One Spark job."""
    names = [f"channel_{index}" for index in range(shape[2])]
    train = rows.where(F.col(SPLIT) == "train").select(image)
    parts = train.mapInArrow(partition_moments(names, pixel_values), MOMENTS_SCHEMA).collect()
    return list(statistics(names, parts).values())


def column_values(batch: pa.RecordBatch, index: int, _count: int) -> NDArray[np.float64]:
    return np.asarray(batch.column(index).to_numpy(zero_copy_only=False), np.float64)


def pixel_values(batch: pa.RecordBatch, index: int, count: int) -> NDArray[np.float64]:
    pixels = np.frombuffer(b"".join(batch.column(0).to_pylist()), np.uint8).reshape(-1, count)
    return pixels[:, index].astype(np.float64)


def partition_moments(names: list[str], values: Callable[[pa.RecordBatch, int, int], NDArray[np.float64]]) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals = [moments(np.empty(0)) for _ in names]
        for batch in batches:
            totals = [merge(total, moments(values(batch, index, len(names)))) for index, total in enumerate(totals)]
        partition = current_task().partitionId()
        found = [{"partition": partition, "name": name, **total._asdict()} for name, total in zip(names, totals, strict=True)]
        yield pa.RecordBatch.from_pylist(found, schema=MOMENTS_ARROW)

    return work


def statistics(names: list[str], parts: list[Any]) -> dict[str, ColumnStatistics]:
    found: dict[str, ColumnStatistics] = {}
    for name in names:
        total = moments(np.empty(0))
        for part in sorted((part for part in parts if part["name"] == name), key=lambda part: int(part["partition"])):
            total = merge(total, Moments(*(part[field] for field in Moments._fields)))
        if not total.num_values:
            raise DataError(f"Column {name} has no value in any train row. Expected numbers: set role: ignore, or mend the source.")
        std = math.sqrt(total.m2 / total.num_values)
        found[name] = ColumnStatistics(count=total.num_values, nulls=total.nulls, mean=total.mean, std=std, min=total.low, max=total.high)
    return found


def fit_scalers(recipe: Recipe, found: Mapping[str, ColumnStatistics]) -> tuple[NumberScaler, ...]:
    """A scaler for each number column, in the order of the packed vector; a constant column becomes zeros."""
    return tuple(scaler(name, recipe.normalize.get(name, "standard"), stats) for name, stats in found.items())


def scaler(name: str, method: str, stats: ColumnStatistics) -> NumberScaler:
    offset, scale = {"standard": (stats.mean, stats.std), "minmax": (stats.min, stats.max - stats.min), "none": (0.0, 1.0)}[method]
    return NumberScaler(column=name, method=method, offset=offset, scale=scale or 1.0, fill=stats.mean)


def fit_categories(rows: DataFrame, columns: list[str]) -> tuple[CategoryEncoder, ...]:
    """The values of each category column among train rows, sorted. One Spark job a column."""
    train = rows.where(F.col(SPLIT) == "train")
    encoders = []
    for name in columns:
        distinct = train.where(F.col(name).isNotNull()).select(name).distinct()
        values = [row[0] for row in distinct.limit(MAX_CATEGORIES + 1).collect()]
        if len(values) > MAX_CATEGORIES:
            raise DataError(
                f"Column {name} has more than {MAX_CATEGORIES} values in the train rows; one-hot is not for it. Set role: key or ignore."
            )
        encoders.append(CategoryEncoder(column=name, values=tuple(sorted(values))))
    return tuple(encoders)
