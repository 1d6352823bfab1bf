"""Does anything of the validation or test rows stand in train? Asked of what was staged, on Spark; answered with rows, shares, limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare import near_images
from pipeline.prepare.columns import FEATURES, GROUP, NEAR, ORDER
from pipeline.prepare.interactions.stage import InteractionLayout
from pipeline.prepare.staging import Layout, read_staged
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.prepare.windows.stage import SeriesLayout
from pipeline.schema import Leak

AnyLayout = Layout | SeriesLayout | InteractionLayout

TRAIN, OTHER = 1, 2  # bits: where a hash was seen


def audit(spark: SparkSession, recipe: Recipe, layout: AnyLayout, tally: Tally, work: Path) -> tuple[Leak, ...]:
    """Every check of the recipe's `audit`. One Spark job for each kind of hash."""
    limits, evaluated = recipe.audit, tally.kept("validation") + tally.kept("test")
    checks = {} if recipe.split.by == "hash" else {"key": (ORDER, 0.0)}
    if FEATURES in layout.hashes:
        checks["content"] = (FEATURES, limits.max_shared_content)
    if NEAR in layout.hashes:
        checks["near_duplicates"] = (NEAR, limits.max_near_duplicates or 0.0)
    if GROUP in layout.hashes:
        checks["group"] = (GROUP, 0.0)
    leaks = [leak(check, shared_rows(spark, tally, work, column), evaluated, limit) for check, (column, limit) in checks.items()]
    if recipe.names("image") and recipe.content and limits.max_near_duplicates is not None:
        shape = recipe.columns[recipe.content].shape or (0, 0, 1)
        alike = near_images.count_shared(spark, tally, work, image=recipe.content, shape=shape, distance=limits.near_distance)
        leaks.append(leak("near_duplicates", alike, evaluated, limits.max_near_duplicates))
    if recipe.split.by == "time":
        leaks.append(leak("future", future_rows(tally.times, recipe.split.gap_s), evaluated, 0.0))
    return tuple(leaks)


def leak(check: str, rows: int, evaluated: int, limit: float) -> Leak:
    share = rows / max(evaluated, 1)
    return Leak(check=check, rows=rows, share=share, limit=limit, holds=share <= limit)


def shared_rows(spark: SparkSession, tally: Tally, work: Path, column: str) -> int:
    """Validation and test rows whose hash a train row has too."""
    seen = staged_hashes(spark, tally, work, column).where("hash IS NOT NULL").groupBy("hash")
    both = seen.agg(F.bit_or("place").alias("places"), F.sum("others").alias("others")).where(F.col("places") == TRAIN + OTHER)
    found = both.agg(F.sum("others")).head()
    return int(found[0] or 0) if found else 0


def staged_hashes(spark: SparkSession, tally: Tally, work: Path, column: str) -> DataFrame:
    """(hash, place, others) of every staged row; `others` is 1 for a row outside train."""
    parts = [(split, int(partition)) for split, rows in sorted(tally.staged.items()) for partition in rows]
    numbers = spark.range(0, len(parts), 1, len(parts))
    return numbers.mapInArrow(in_worker(hash_reader(parts, str(work), column)), "hash long, place int, others int")


def hash_reader(parts: Sequence[tuple[str, int]], work: str, column: str) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            split, partition = parts[number]
            hashes = read_staged(Path(work), split, partition)[column].combine_chunks()
            place = TRAIN if split == "train" else OTHER
            flags = [pa.array([value] * len(hashes), pa.int32()) for value in (place, int(split != "train"))]
            yield pa.RecordBatch.from_arrays([hashes, *flags], names=["hash", "place", "others"])

    return read


def future_rows(times: Mapping[str, tuple[float, float]], gap_s: float) -> int:
    """1 if a split begins less than the gap after the one before it ends. Rows are cut by time, so this is a check of ourselves."""
    order = [times[split] for split in ("train", "validation", "test") if split in times]
    return sum(int(later[0] - gap_s < earlier[1]) for earlier, later in zip(order, order[1:], strict=False))


REMEDIES = {
    "key": "Rows with the same key are in train and outside it: make the key unique, or split by group.",
    "content": "Drop them (clean.rules: drop_duplicates), split by group, or raise audit.max_shared_content if equal rows are fine.",
    "near_duplicates": "Drop them (clean.rules: drop_near_duplicates), split by group, or raise audit.max_near_duplicates.",
    "group": "Use split: {by: group, column: …}.",
    "future": "The split is not one in time; this is a defect of the pipeline.",
}


def check_leaks(leaks: Sequence[Leak]) -> None:
    """Raises DataError with every check that does not hold."""
    if failed := [leak for leak in leaks if not leak.holds]:
        lines = [
            f"{leak.check}: {leak.rows} validation and test rows ({leak.share:.2%}) stand in train too, at most {leak.limit:.2%} may. "
            f"{REMEDIES[leak.check]}"
            for leak in failed
        ]
        raise DataError("The leak audit failed, nothing was published. " + " ".join(lines))
