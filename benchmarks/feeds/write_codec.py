"""Writes packed/ once more in Petastorm's own format, for its `make_reader`. A process of its own: it starts a JVM."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.feeds import rows

GROUP_MB = 32


def main() -> None:
    warnings.simplefilter("ignore")
    kind, folder = rows.KINDS[sys.argv[1]], Path(sys.argv[2]).absolute()
    from petastorm.codecs import NdarrayCodec, ScalarCodec
    from petastorm.etl.dataset_metadata import materialize_dataset
    from petastorm.unischema import Unischema, UnischemaField, dict_to_spark_row
    from pyspark.sql import SparkSession
    from pyspark.sql.types import LongType

    label = UnischemaField("label", np.int64, (), ScalarCodec(LongType()), False)
    dtype = np.dtype(kind.tensor.dtype).type
    schema = Unischema("Rows", [UnischemaField(rows.TENSOR, dtype, kind.tensor.shape, NdarrayCodec(), False), label])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    local = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    builder = SparkSession.builder.master("local[2]")
    for name, value in local.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    paths = sorted(str(path) for path in (folder / "packed" / "data" / "train").glob("*.parquet"))
    url = (folder / "petastorm").as_uri()

    def encoded(path: str) -> Iterator[Any]:
        table = pq.read_table(path)
        for packed, number in zip(table.column(rows.TENSOR), table.column("label"), strict=True):
            tensor = np.frombuffer(packed.as_buffer(), kind.tensor.dtype).reshape(kind.tensor.shape)
            yield dict_to_spark_row(schema, {rows.TENSOR: tensor, "label": np.int64(number.as_py())})

    with materialize_dataset(spark, url, schema, GROUP_MB):
        found = spark.sparkContext.parallelize(paths, len(paths)).flatMap(encoded)
        spark.createDataFrame(found, schema.as_spark_schema()).write.mode("overwrite").parquet(url)
    spark.stop()


if __name__ == "__main__":
    main()
