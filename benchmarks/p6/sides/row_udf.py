"""PySpark as beginners write it: binaryFile, a UDF for each row that decodes to a list of numbers, another that augments."""

from __future__ import annotations

import os
import sys
import zlib

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, IntegerType

from benchmarks.p6 import work


def main(data: str, out: str, cores: str, kind: str) -> None:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{cores}]").config("spark.ui.enabled", "false").config("spark.driver.memory", "1g").getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    tensor = "uint8" if kind == "images" else "int16"

    @F.udf(ArrayType(IntegerType()))
    def decode(content: bytes) -> list[int]:
        return work.decode(bytes(content), kind).ravel().tolist()

    @F.udf(ArrayType(IntegerType()))
    def augment(values: list[int], key: str) -> list[int]:
        array = np.array(values, tensor).reshape(work.SHAPE if kind == "images" else -1)
        return work.augment(array, kind, np.random.default_rng(zlib.crc32(key.encode()))).ravel().tolist()

    @F.udf("binary")
    def pack(values: list[int]) -> bytes:
        return np.array(values, tensor).tobytes()

    ending = "*.jpg" if kind == "images" else "*.wav"
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").option("pathGlobFilter", ending).load(data)
    key = F.regexp_extract("path", r"([^/]+/[^/]+)$", 1)
    decoded = files.select(key.alias("key"), decode("content").alias("values"))
    copies = decoded.select(F.concat("key", F.lit("#1")).alias("key"), augment("values", "key").alias("values"))
    decoded.unionByName(copies).select("key", pack("values").alias("tensor")).write.parquet(f"{out}/rows")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
