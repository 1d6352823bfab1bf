"""Near duplicates of images by perceptual hash: 64 bits that differ in few places for images that look alike.

An image is dropped if one before it, by key, then by content, differs in at most `distance` bits, whether that one is dropped itself or
not; so what goes depends on the rows alone. Two hashes that differ in at most d bits have one of d + 1 pieces in common: only such two are
compared.

Source of the hash: C. Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1 (DCT).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.prepare.columns import CONTENT, KEY, ORDER, col
from pipeline.prepare.marks import is_in
from pipeline.prepare.staging import read_staged
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker

SIDE, KEPT, BITS = 32, 8, 64  # pixels of the small grey image; lowest frequencies of each direction
FIRST = "_first"


def perceptual_hash(pixels: NDArray[np.uint8]) -> int:
    """Signed 64 bits of an image (height, width, 1 or 3): which of the lowest frequencies are above their median."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("L")
    grey = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float64)
    waves = np.cos(np.pi * np.outer(np.arange(KEPT), 2 * np.arange(SIDE) + 1) / (2 * SIDE))
    found = (waves @ grey @ waves.T).round(6).ravel()
    bits = found > np.median(found[1:])  # the first is the mean of all pixels
    return int(np.packbits(bits).view(">i8")[0])


def hasher(shape: tuple[int, int, int], others: list[str]) -> ArrowFunction:
    """Batches with an image in their first column -> its hash in place of it."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            hashes = [perceptual_hash(np.frombuffer(value.as_buffer(), np.uint8).reshape(shape)) for value in batch.column(0)]
            yield pa.RecordBatch.from_arrays([pa.array(hashes, pa.int64()), *batch.columns[1:]], names=["hash", *others])

    return read


def find_earlier(rows: DataFrame, image: str, shape: tuple[int, int, int], distance: int) -> DataFrame:
    """(CONTENT, FIRST: key of the earliest such image) of every image that looks like an earlier one. One Spark job."""
    still = rows.where(is_in() & col(image).isNotNull())
    same = still.groupBy(*CONTENT).agg(F.first(col(image)).alias("image"), F.min(F.struct(KEY, ORDER, *CONTENT)).alias("place"))
    place = "struct<key: string, order: long, high: long, low: long>"
    hashed = same.select("image", "place").mapInArrow(in_worker(hasher(shape, ["place"])), f"hash long, place {place}")
    banded = hashed.select("hash", "place", F.explode(pieces(F.col("hash"), distance)).alias("piece"))
    later = banded.select("piece", F.col("hash").alias("later_hash"), F.col("place").alias("later"))
    pairs = banded.join(later, "piece").where((F.col("place") < F.col("later")) & is_near(F.col("hash"), F.col("later_hash"), distance))
    nearest = pairs.groupBy("later").agg(F.min("place").alias("first"))
    names = [F.col(f"later.{half}").alias(name) for half, name in zip(("high", "low"), CONTENT, strict=True)]
    found = nearest.select(*names, F.coalesce("first.key", F.lit("an earlier row")).alias(FIRST)).toArrow()
    return rows.sparkSession.createDataFrame(found)


def pieces(hashed: Column, distance: int) -> Column:
    """The hash cut into distance + 1 pieces, each as (its place, its bits)."""
    edges = [BITS * number // (distance + 1) for number in range(distance + 2)]
    parts = []
    for number, (begin, end) in enumerate(zip(edges, edges[1:], strict=False)):
        bits = F.shiftrightunsigned(F.shiftleft(hashed, begin), BITS - (end - begin))
        parts.append(F.struct(F.lit(number).alias("number"), bits.alias("bits")))
    return F.array(*parts)


def is_near(one: Column, other: Column, distance: int) -> Column:
    return F.bit_count(one.bitwiseXOR(other)) <= distance


def count_shared(spark: SparkSession, tally: Tally, work: Path, *, image: str, shape: tuple[int, int, int], distance: int) -> int:
    """Validation and test rows that look like a train row. One Spark job."""
    parts = [(split, int(partition)) for split, rows in sorted(tally.staged.items()) for partition in rows]
    read = staged_hasher(parts, str(work), image, shape)
    hashes = spark.range(0, len(parts), 1, len(parts)).mapInArrow(in_worker(read), "hash long, is_train boolean")
    counted = hashes.groupBy("hash", "is_train").agg(F.count(F.lit(1)).alias("rows"))
    banded = counted.select("*", F.explode(pieces(F.col("hash"), distance)).alias("piece"))
    train = banded.where("is_train").select("piece", F.col("hash").alias("train_hash"))
    others = banded.where("NOT is_train").join(train, "piece").where(is_near(F.col("hash"), F.col("train_hash"), distance))
    found = others.select("hash", "rows").distinct().agg(F.sum("rows")).head()
    return int(found[0] or 0) if found else 0


def staged_hasher(parts: Sequence[tuple[str, int]], work: str, image: str, shape: tuple[int, int, int]) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            split, partition = parts[number]
            values = read_staged(Path(work), split, partition)[image]
            hashes = [perceptual_hash(np.frombuffer(value.as_buffer(), np.uint8).reshape(shape)) for value in values]
            flags = pa.array([split == "train"] * len(hashes), pa.bool_())
            yield pa.RecordBatch.from_arrays([pa.array(hashes, pa.int64()), flags], names=["hash", "is_train"])

    return read
