"""P5 in PySpark as it is often written: a Python function for each row and step, a Spark job for each statistic of each column.

It is given what a careful beginner would also do: cleaned rows are cached, quantiles are approximate, the heap is as large as ours, and its
output has the peers' layout, not ours with 143 numbers a row.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

import pyspark
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DataType, DoubleType, FloatType, IntegerType, StringType

from benchmarks.p5 import work

MAX_RANK_ERROR = 5e-5  # of approxQuantile; the clip bounds need it


def main() -> None:
    data, out, cores = work.arguments()
    laps = work.Laps()
    builder = SparkSession.builder.master(f"local[{cores}]").config("spark.driver.memory", "2g").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.shuffle.partitions", "4").config("spark.pyspark.python", sys.executable).getOrCreate()
    laps.lap("start")
    kept = split_rows(clean(spark.read.parquet(str(data)))).cache()
    laps.lap("plan")
    clipped = clip(kept).cache()
    laps.lap("clip bounds")
    train = clipped.where(F.col("split") == "train")
    statistics = {name: number_statistics(train, name) for name in work.NUMBERS}
    statistics |= {name: category_statistics(train, name) for name in work.CATEGORIES}
    laps.lap("statistics")
    towns = sorted(row["c0"] for row in train.select("c0").distinct().collect() if row["c0"] is not None)
    prepared = features(clipped, statistics, towns)
    for split in work.TENTHS:
        prepared.where(F.col("split") == split).drop("split").write.mode("overwrite").parquet(str(out / split))
    laps.lap("write")
    work.report(out, statistics, laps, pyspark=pyspark.__version__)
    spark.stop()


def row_function(function: Callable[..., Any], kind: DataType, *columns: str) -> Column:
    return F.udf(function, kind)(*columns)


def clean(rows: DataFrame) -> DataFrame:
    def is_wanted(label: str | None, x0: float | None) -> bool:
        return label is not None and x0 is not None and -work.MAX_X0 <= x0 <= work.MAX_X0

    return rows.where(row_function(is_wanted, BooleanType(), "label", "x0"))


def split_rows(rows: DataFrame) -> DataFrame:
    def split_of(key: int) -> str:
        tenth = zlib.crc32(str(key).encode()) % 10
        return next(name for name, tenths in work.TENTHS.items() if tenth in tenths)

    return rows.withColumn("split", row_function(split_of, StringType(), "id"))


def clip(rows: DataFrame) -> DataFrame:
    train = rows.where(F.col("split") == "train")
    for name in work.CLIPPED:
        low, high = train.approxQuantile(name, list(work.CLIP_SHARES), MAX_RANK_ERROR)
        rows = rows.withColumn(name, clipper(name, low, high))
    return rows


def clipper(name: str, low: float, high: float) -> Column:
    def clip_value(value: float | None) -> float | None:
        return None if value is None else min(max(value, low), high)

    return row_function(clip_value, DoubleType(), name)


def number_statistics(train: DataFrame, name: str) -> dict[str, Any]:
    facts = {
        "count": train.where(F.col(name).isNotNull()).count(),
        "nulls": train.where(F.col(name).isNull()).count(),
        "min": one_value(train, F.min(name)),
        "max": one_value(train, F.max(name)),
        "mean": one_value(train, F.mean(name)),
        "std": one_value(train, F.stddev_pop(name)),
        "distinct": one_value(train, F.approx_count_distinct(name)),
        "quantiles": train.approxQuantile(name, list(work.QUANTILES), 0.001),
    }
    width = (facts["max"] - facts["min"]) / work.BINS
    bins = F.least(F.lit(work.BINS - 1), F.floor((F.col(name) - facts["min"]) / width)).alias("bin")
    counts = dict(map(tuple, train.where(F.col(name).isNotNull()).groupBy(bins).count().collect()))
    return {**facts, "edges": work.edges(facts["min"], facts["max"]), "counts": [counts.get(index, 0) for index in range(work.BINS)]}


def category_statistics(train: DataFrame, name: str) -> dict[str, Any]:
    has_value = train.where(F.col(name).isNotNull())
    return {
        "count": has_value.count(),
        "nulls": train.where(F.col(name).isNull()).count(),
        "distinct": one_value(train, F.approx_count_distinct(name)),
        "top": [list(row) for row in has_value.groupBy(name).count().orderBy(F.desc("count"), name).limit(work.TOP).collect()],
    }


def one_value(rows: DataFrame, value: Column) -> Any:
    return rows.agg(value).collect()[0][0]


def features(rows: DataFrame, statistics: dict[str, dict[str, Any]], towns: list[str]) -> DataFrame:
    def town_index(value: str | None) -> int:
        return towns.index(value) if value in towns else work.CATEGORIES["c0"]

    def bucket(value: str | None) -> int:
        return zlib.crc32((value or "").encode()) % work.BUCKETS

    label = row_function(work.CLASSES.index, IntegerType(), "label").alias("label")
    numbers = [scaler(name, statistics[name]["mean"], statistics[name]["std"]) for name in work.NUMBERS]
    town = row_function(town_index, IntegerType(), "c0").alias("c0")
    return rows.select("id", "split", label, *numbers, town, row_function(bucket, IntegerType(), "c1").alias("c1"))


def scaler(name: str, mean: float, std: float) -> Column:
    def scale(value: float | None) -> float:
        return 0.0 if value is None else (value - mean) / std

    return row_function(scale, FloatType(), name).alias(name)


if __name__ == "__main__":
    main()
