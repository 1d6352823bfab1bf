"""Ids of users, items and item features, from the train rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.encode import fit_encoder
from pipeline.prepare.fit import count_values, train_parts
from pipeline.prepare.interactions.pack import InteractionPacking
from pipeline.prepare.interactions.sample import cumulative_weights
from pipeline.prepare.interactions.stage import InteractionLayout
from pipeline.prepare.staging import read_staged
from pipeline.prepare.summary import summarise
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.schema import CategoryEncoder, InteractionFacts
from pipeline.sections.data import Encode


def fit_interactions(
    spark: SparkSession, recipe: Recipe, layout: InteractionLayout, tally: Tally, work: Path, files: Path
) -> tuple[InteractionPacking, dict[str, Any]]:
    """The packing, and the facts of the manifest that it is made from. Three Spark jobs, and one for each item feature.

    Writes `ids/user.parquet` and `ids/item.parquet` into `files`: `value`, `id`, `rows` (of train).

    Raises:
        DataError: fewer than two items have an id.
    """
    rules, (user, item, *features) = layout.rules, layout.texts
    users = count_values(spark, tally, user, Encode(method="vocabulary", size=rules.max_ids, min_count=rules.min_user), work)
    items = count_values(spark, tally, item, Encode(method="vocabulary", size=rules.max_ids, min_count=rules.min_item), work)
    if len(items) < 2:
        raise DataError(f"{len(items)} values of {item} have {rules.min_item} train rows or more; expected two at least, to tell apart.")
    for name, counts in (("user", users), ("item", items)):
        write_ids(files / "ids" / f"{name}.parquet", counts)
    encoders = [fit_feature(tally, name) for name in features]
    table = np.zeros((len(items) + 1, len(features)), np.int32)
    for place, encoder in enumerate(encoders):
        values = common_values(spark, tally, item, encoder.column, work)
        index = {value: number + 1 for number, value in enumerate(encoder.values)}
        table[1:, place] = [index.get(values.get(name, ""), 0) for name in items]
    weights = cumulative_weights(np.asarray(list(items.values()), np.int64), rules.sampling)
    packing = InteractionPacking(layout, pa.array(users, pa.string()), pa.array(items, pa.string()), table, weights, str(work))
    facts = InteractionFacts(
        num_users=len(users) + 1,
        num_items=len(items) + 1,
        feature_sizes=tuple(len(encoder.values) + 1 for encoder in encoders),
        negatives=rules.negatives,
        candidates=rules.candidates,
        sampling=rules.sampling,
    )
    found = {
        "tensor": packing.tensor,
        "encoders": tuple(encoders),
        "features": layout.texts,
        "statistics": {name: summarise(sketch) for name, sketch in tally.sketches.items()},
        "interactions": facts,
    }
    return packing, found


def write_ids(path: Path, counts: dict[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.arange(1, len(counts) + 1)
    pq.write_table(pa.table({"value": pa.array(counts, pa.string()), "id": ids, "rows": np.asarray(list(counts.values()), np.int64)}), path)


def fit_feature(tally: Tally, name: str) -> CategoryEncoder:
    sketch = tally.sketches[name]
    counts = getattr(sketch, "value_counts", {})
    if not counts or not getattr(sketch, "is_complete", False):
        raise DataError(f"Column {name}: expected an item feature of 1 to 1,024 values in the train rows, found {sketch.distinct}.")
    return fit_encoder(name, Encode(method="vocabulary"), counts, is_complete=True)


def common_values(spark: SparkSession, tally: Tally, item: str, feature: str, work: Path) -> dict[str, str]:
    """The value of a feature that most train rows of each item have; of equally frequent ones the first in order. One Spark job."""
    parts = train_parts(tally)
    pairs = spark.range(0, len(parts), 1, len(parts)).mapInArrow(
        in_worker(pair_reader(parts, str(work), item, feature)), "item string, value string"
    )
    counted = pairs.where("value IS NOT NULL").groupBy("item", "value").count()
    best = counted.groupBy("item").agg(F.min(F.struct((-F.col("count")).alias("few"), "value")).alias("best"))
    return {row["item"]: row["best"]["value"] for row in best.toLocalIterator()}


def pair_reader(parts: Sequence[int], work: str, item: str, feature: str) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            staged = read_staged(Path(work), "train", parts[number])
            yield from pa.table({"item": staged[item], "value": staged[feature]}).combine_chunks().to_batches()

    return read
