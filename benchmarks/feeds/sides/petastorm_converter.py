"""Petastorm's Spark converter: a data frame is written once, then `make_tf_dataset(batch_size)`. Spark's work is not in the rates."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import tensorflow as tf
from petastorm.spark import SparkDatasetConverter, make_spark_converter

from benchmarks.feeds import consume, consume_tf, rows


def main() -> None:
    warnings.simplefilter("ignore")
    kind, data, out, cores = consume.arguments()
    found = rows.KINDS[kind]
    converter = convert(data / "columns", out / "converter", cores)
    opened: list[Any] = []

    def epoch(_: int) -> tf.data.Dataset:
        close(opened)
        opened.append(converter.make_tf_dataset(batch_size=found.batch, num_epochs=1, workers_count=cores))
        return opened[-1].__enter__().map(as_tensor)

    def as_tensor(batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.stack([getattr(batch, f"x{index}") for index in range(found.tensor.shape[0])], axis=-1), batch.label

    consume_tf.consume_dataset(epoch, out, in_python=False, petastorm=metadata.version("petastorm"))
    close(opened)


def convert(columns: Path, out: Path, cores: int) -> Any:
    """The converter of the rows. It writes its files in the background, so Spark stays, idle once they are there."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{cores}]")
        .config("spark.ui.enabled", False)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config(SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF, out.absolute().as_uri())
        .getOrCreate()
    )
    return make_spark_converter(spark.read.parquet(str(columns)))


def close(contexts: list[Any]) -> None:
    while contexts:
        contexts.pop().__exit__(None, None, None)


if __name__ == "__main__":
    main()
