"""P6T in PySpark as beginners write it: words counted by Spark, and a UDF for each step of a row."""

from __future__ import annotations

import json
import os
import sys
import zlib
from pathlib import Path

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
    clean = F.udf(work.clean, "string")
    words = F.udf(lambda text: work.WORD.findall(text.lower()), "array<string>")
    lines = spark.read.option("recursiveFileLookup", "true").option("pathGlobFilter", "*.txt").text(data)
    texts = lines.select(clean("value").alias("text")).withColumn("key", F.monotonically_increasing_id().cast("string"))
    train = texts.where(F.pmod(F.xxhash64("text"), F.lit(10)) < 8)
    counted = train.select(F.explode(words("text")).alias("word")).groupBy("word").count().where(F.col("count") >= work.MIN_COUNT)
    rows = counted.orderBy(F.desc("count"), "word").limit(work.VOCABULARY - 2).collect()
    vocabulary = {"[PAD]": work.PADDING_ID, "[UNK]": work.UNKNOWN_ID} | {row["word"]: number + 2 for number, row in enumerate(rows)}
    (Path(out) / "vocabulary.json").write_text(json.dumps(vocabulary))

    @F.udf(ArrayType(IntegerType()))
    def look_up(text: str) -> list[int]:
        return work.ids_of(text, vocabulary).tolist()

    @F.udf("string")
    def shorter(text: str) -> str:
        return work.without_words(text, np.random.default_rng(zlib.crc32(text.encode())))

    @F.udf("binary")
    def pack(values: list[int]) -> bytes:
        return np.array(values, np.int32).tobytes()

    copies = texts.select(shorter("text").alias("text"), F.concat("key", F.lit("#1")).alias("key"))
    both = texts.unionByName(copies).select("key", look_up("text").alias("ids"))
    both.select("key", pack("ids").alias("tensor")).write.parquet(f"{out}/rows")
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
