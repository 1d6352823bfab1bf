"""Scalers, encoders and the packing, from the tally of the train rows; nothing is fitted on any other row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.encode import TARGET_SUMS, feature_names, fit_encoder, fit_target, merge, target_sums, time_names
from pipeline.prepare.kinds import KINDS
from pipeline.prepare.pack import Packing, folds_of, labels_of
from pipeline.prepare.scale import fit_scaler
from pipeline.prepare.sketch import CategorySketch, NumberSketch
from pipeline.prepare.staging import Layout, read_staged
from pipeline.prepare.summary import summarise
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.schema import CategoryEncoder, NumberScaler, Tensor, TimeEncoder
from pipeline.sections.data import Encode


def fit(
    spark: SparkSession, recipe: Recipe, layout: Layout, tally: Tally, classes: tuple[str, ...], work: Path
) -> tuple[Packing, dict[str, Any]]:
    """The packing, and the facts of the manifest that it is made from.

    No Spark job, but one for each column with more values than a sketch counts, one for each target encoding, and a content's own.
    """
    target = number_scaler(recipe, tally, recipe.label) if recipe.task == "regression" else None
    scalers = tuple(number_scaler(recipe, tally, name) for name in recipe.names("number"))
    slices = tuple(name for name, column in recipe.columns.items() if column.role == "sensitive")
    base = Packing(layout, Tensor(name="features", dtype="float32", shape=(0,)), classes, target, scalers, (), (), slices, recipe.augment)
    encoders = tuple(encoder(spark, recipe, base, tally, name, work) for name in recipe.names("category"))
    times = tuple(TimeEncoder(column=name, cycles=recipe.columns[name].cycles) for name in recipe.names("time"))
    content = KINDS[layout.column.kind].fit(spark, recipe, tally, work) if layout.column else None
    tensor = content.tensor if content else features_tensor(scalers, [*encoders, *times])
    packing = replace(
        base, tensor=tensor, encoders=encoders, times=times, content=content, class_copies=class_copies(recipe, tally, classes),
        weight=next(iter(recipe.names("number", "weight")), None),
    )  # fmt: skip
    names = [scaler.column for scaler in scalers] + [name for found in encoders for name in feature_names(found)]
    names += [name for found in times for name in time_names(found)]
    statistics = {name: summarise(sketch) for name, sketch in tally.sketches.items()}
    facts = {"tensor": tensor, "target": target, "scalers": scalers, "encoders": encoders, "times": times, "slices": slices}
    return packing, {**facts, "features": tuple(names), "statistics": statistics, **(content.facts if content else {})}


def number_scaler(recipe: Recipe, tally: Tally, name: str) -> NumberScaler:
    sketch = tally.sketches[name]
    if not isinstance(sketch, NumberSketch):
        raise TypeError(f"column {name} holds no numbers")
    return fit_scaler(name, recipe.normalize.get(name, "standard"), sketch)


def class_copies(recipe: Recipe, tally: Tally, classes: Sequence[str]) -> tuple[int, ...]:
    """Of a balanced recipe: copies of each train row of every class."""
    counts: Mapping[str, int] = tally.labels.get("train", {})
    return recipe.augment.copies_of([counts.get(name, 0) for name in classes]) if recipe.augment.balance else ()


def features_tensor(scalers: Sequence[NumberScaler], encoders: Sequence[CategoryEncoder | TimeEncoder]) -> Tensor:
    return Tensor(name="features", dtype="float32", shape=(len(scalers) + sum(found.width for found in encoders),))


def encoder(spark: SparkSession, recipe: Recipe, packing: Packing, tally: Tally, name: str, work: Path) -> CategoryEncoder:
    options, sketch = recipe.encode.get(name, Encode()), tally.sketches[name]
    if not isinstance(sketch, CategorySketch):
        raise TypeError(f"column {name} holds no categories")
    if not sketch.count:
        raise DataError(f"Column {name} has no value in any train row. Expected texts: set role: ignore, or mend the source.")
    if options.method == "target":
        return fit_target(name, options, sum_targets(spark, packing, tally, name, options, work))
    counts: Mapping[str, int] = sketch.value_counts
    is_complete = sketch.is_complete
    if options.method == "vocabulary" and not is_complete:
        counts, is_complete = count_values(spark, tally, name, options, work), True
    return fit_encoder(name, options, counts, is_complete=is_complete)


def train_parts(tally: Tally) -> list[int]:
    return sorted(map(int, tally.staged["train"]))


def count_values(spark: SparkSession, tally: Tally, name: str, options: Encode, work: Path) -> dict[str, int]:
    """The most frequent values of a column among the train rows, as many as a vocabulary takes. One Spark job."""
    parts = train_parts(tally)
    counted = spark.range(0, len(parts), 1, len(parts)).mapInArrow(
        in_worker(value_counter(parts, str(work), name)), "value string, rows long"
    )
    totals = counted.groupBy("value").agg(F.sum("rows").alias("rows")).where(F.col("rows") >= options.min_count)
    return {row["value"]: row["rows"] for row in totals.orderBy(F.desc("rows"), "value").limit(options.size).collect()}


def value_counter(parts: Sequence[int], work: str, name: str) -> ArrowFunction:
    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            found = pc.value_counts(read_staged(Path(work), "train", parts[number])[name].drop_null())
            yield pa.RecordBatch.from_arrays([found.field("values"), found.field("counts")], names=["value", "rows"])

    return count


def sum_targets(spark: SparkSession, packing: Packing, tally: Tally, name: str, options: Encode, work: Path) -> pa.Table:
    """Sums of the label for each value and fold of the train rows. One Spark job."""
    parts = train_parts(tally)
    columns = "value string, fold long, rows long, sums array<double>"
    summed = spark.range(0, len(parts), 1, len(parts)).mapInArrow(
        in_worker(target_summer(parts, str(work), packing, name, options.folds)), columns
    )
    return merge([summed.toArrow().cast(TARGET_SUMS)])


def target_summer(parts: Sequence[int], work: str, packing: Packing, name: str, num_folds: int) -> ArrowFunction:
    def add_up(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            rows = read_staged(Path(work), "train", parts[number])
            targets = target_columns(labels_of(rows, packing), len(packing.classes))
            yield from target_sums(rows[name], folds_of(rows, num_folds), targets).to_batches()

    return add_up


def target_columns(labels: NDArray[np.generic], num_classes: int) -> NDArray[np.float64]:
    """(R, P): the scaled label, 1.0 for the second of two classes, or one column a class."""
    if num_classes == 0:
        return labels.astype(np.float64)[:, None]
    return (labels == 1).astype(np.float64)[:, None] if num_classes == 2 else np.eye(num_classes)[labels.astype(np.int64)]
