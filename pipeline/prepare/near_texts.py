"""Near duplicates of texts among the rows that are still in: MinHash makes candidates, their sets of runs of words decide.

A text is dropped if one before it, by key, then by content, is at least so similar to it, whether that one is dropped itself or not.
So what goes depends on the rows alone, and of a chain of similar texts the first one stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.storagelevel import StorageLevel

from pipeline.prepare.columns import CONTENT, KEY, ORDER, col
from pipeline.prepare.marks import is_in
from pipeline.prepare.minhash import bands, jaccard, rows_per_band, shingles, signatures
from pipeline.prepare.tasks import ArrowFunction, in_worker

PLACE = "place struct<key: string, order: long, high: long, low: long>"
BUCKET = 20  # texts of one band's bucket that later ones are compared with, the first ones
BLOCK_ROWS = 2000
FIRST = "_first"


def find_earlier(rows: DataFrame, text: str, similarity: float, shingle: int) -> DataFrame:
    """(CONTENT, FIRST: key of the earliest similar text, or what names it) of every different text that has an earlier similar one.

    Two Spark jobs: candidates are kept on the workers' disks between them. What is found goes through the driver, 40 bytes a text.
    """
    same = rows.where(is_in()).groupBy(*CONTENT).agg(F.min(F.struct(KEY, ORDER, *CONTENT)).alias("place"), F.first(col(text)).alias("text"))
    banded = same.select("place", "text").mapInArrow(
        in_worker(bander(rows_per_band(similarity), shingle)), f"{PLACE}, bands array<long>, text string"
    )
    kept = banded.persist(StorageLevel.DISK_ONLY)
    try:
        pairs = candidates(kept)
        texts = kept.select("place", "text")
        joined = pairs.join(texts.toDF("later", "later_text"), "later").join(texts.toDF("first", "first_text"), "first")
        compared = joined.mapInArrow(
            in_worker(comparer(similarity, shingle)), "later struct<high: long, low: long>, first string, key string, order long"
        )
        nearest = compared.groupBy("later").agg(F.min(F.struct("key", "order", "first")).alias("found"))
        places = [F.col(f"later.{half}").alias(name) for half, name in zip(("high", "low"), CONTENT, strict=True)]
        found = nearest.select(*places, F.col("found.first").alias(FIRST)).toArrow()
    finally:
        kept.unpersist()
    return rows.sparkSession.createDataFrame(found)


def candidates(banded: DataFrame) -> DataFrame:
    """(first, later) of every two texts of a bucket, the first among its BUCKET first ones; each pair once."""
    buckets = (
        banded.select("place", F.explode("bands").alias("band")).groupBy("band").agg(F.sort_array(F.collect_list("place")).alias("places"))
    )
    several = buckets.where(F.size("places") > 1)
    pairs = several.select(F.posexplode(F.slice("places", 1, BUCKET)).alias("at", "first"), "places").select(
        "first", F.explode(F.slice("places", F.col("at") + 2, F.size("places"))).alias("later")
    )
    return pairs.distinct()


def bander(rows: int, shingle: int) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for begin in range(0, len(batch), BLOCK_ROWS):
                part = batch.slice(begin, BLOCK_ROWS)
                found = bands(signatures([shingles(text or "", shingle) for text in part.column(1).to_pylist()]), rows)
                offsets = np.arange(len(part) + 1, dtype=np.int32) * found.shape[1]
                listed = pa.ListArray.from_arrays(pa.array(offsets), pa.array(found.view(np.int64).ravel()))
                yield pa.RecordBatch.from_arrays([part.column(0), listed, part.column(1)], names=["place", "bands", "text"])

    return work


def comparer(similarity: float, shingle: int) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                {
                    "later": {"high": row["later"]["high"], "low": row["later"]["low"]},
                    "first": name_of(row["first"]),
                    **order_of(row["first"]),
                }
                for row in batch.to_pylist()
                if jaccard(shingles(row["first_text"], shingle), shingles(row["later_text"], shingle)) >= similarity
            ]
            yield pa.RecordBatch.from_pylist(rows, schema=COMPARED)

    return work


COMPARED = pa.schema(
    {
        "later": pa.struct({"high": pa.int64(), "low": pa.int64()}),
        "first": pa.string(),
        "key": pa.string(),
        "order": pa.int64(),
    }
)


def name_of(place: dict[str, object]) -> str:
    """The key of a text, or the sample_id that its content gives it."""
    high, low = (int(str(place[name])) % 2**64 for name in ("high", "low"))
    return str(place["key"]) if place["key"] is not None else f"{high:016x}{low:016x}"


def order_of(place: dict[str, object]) -> dict[str, object]:
    return {"key": place["key"], "order": place["order"]}
