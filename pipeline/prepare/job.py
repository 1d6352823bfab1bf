"""The prepare stage: raw files -> read, clean, split, normalize, augment, write -> prepared Parquet and its manifest."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.attempt import Attempt
from pipeline.config import Recipe
from pipeline.console import quiet
from pipeline.errors import DataError
from pipeline.prepare.source import RawFiles, list_files
from pipeline.schema import SPLITS, Accounting, Prepared, SplitFacts, SplitName, Tensor
from pipeline.stage import Outcome, Request, Work, run_stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.prepare.pack import Packing

SECTIONS = ("task", "source", "columns", "clean", "split", "normalize", "augment", "prepare")
SMALL_BYTES = 32 << 20
LAYOUT = 1  # raise when the same recipe and source give other files


def run(request: Request, spark: SparkSession | None = None) -> Outcome:
    """Prepared data for a recipe: found again, or made.

    Args:
        request: recipe, run, console, force.
        spark: a session to work in (a notebook's, a test's); if None, one is started if there is work, and stopped.

    Raises:
        DataError: the source is empty, unreadable, or breaks a rule of the recipe.
        InfrastructureError: Spark or the disk failed.
    """
    source = list_files(request.recipe.source, request.run.root)
    sections = {**request.recipe.section(*SECTIONS), "listing": source.digest, "layout": LAYOUT}
    return run_stage(request, "prepare", sections, {}, partial(prepare, request, source, spark))


def prepare(request: Request, source: RawFiles, given: SparkSession | None, attempt: Attempt) -> Work:
    from pipeline.prepare.session import session_for, shown

    recipe = request.recipe
    opened = session_for(given, f"longhaul-prepare-{recipe.name}", is_small=source.num_bytes < SMALL_BYTES)
    with request.console.meter("prepare") as meter:
        meter(0, f"starting Spark for {len(source.files)} files")
        with quiet(attempt.log / "spark.log"), opened as spark, shown(spark, meter, "reading, cleaning, writing"):
            return prepare_rows(spark, recipe, source, attempt.files)


def prepare_rows(spark: SparkSession, recipe: Recipe, source: RawFiles, folder: Path) -> Work:
    """Every step on Spark; three passes, the rows themselves are read and decoded once."""
    from pipeline.prepare import clean as cleaning
    from pipeline.prepare.split import check_labels
    from pipeline.prepare.write import write_files

    rows = arrange(spark, recipe, source).persist()
    rows_in, dropped, labels = account(rows, recipe)
    check_rows_in(rows_in, recipe, source)
    cleaning.check_dropped(dropped, rows_in, recipe.clean)
    classes = check_labels(labels, recipe.label)
    packing, facts = fit(rows, recipe, classes)
    written = write_files(rows, folder, packing)
    rows.unpersist()
    splits = {name: split_facts(rows_written(written, name), labels[name]) for name in SPLITS}
    accounting = Accounting(
        rows_in=rows_in,
        rows_out=sum(split.sources for split in splits.values()),
        dropped=dropped,
        augmented=sum(split.rows - split.sources for split in splits.values()),
    )
    check_accounting(accounting, splits, recipe, rows_written(written, "quarantine"))
    prepared = Prepared(task=recipe.task, label=recipe.label, classes=classes, splits=splits, accounting=accounting, **facts)
    return Work(prepared.model_dump(mode="json"), written)


def arrange(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Every raw row with its rule or split, in final partitions and order. Lazy.

    Partition and order depend on the rows alone, never on the cluster: the number of files follows from the source's bytes.
    """
    from pipeline.prepare.clean import clean, name_samples
    from pipeline.prepare.read import read_rows
    from pipeline.prepare.split import assign_splits
    from pipeline.schema import SAMPLE_ID

    num_files = max(recipe.prepare.min_files, -(-source.num_bytes // (recipe.prepare.file_mb << 20)))
    rows = clean(read_rows(spark, recipe, source), recipe.clean.rules)
    rows = name_samples(assign_splits(rows, recipe.split))
    return rows.repartition(num_files, SAMPLE_ID).sortWithinPartitions(SAMPLE_ID)


def account(rows: DataFrame, recipe: Recipe) -> tuple[int, dict[str, int], dict[SplitName, dict[str, int]]]:
    """(rows in, rows dropped by each rule, rows of each label in each split). One Spark job."""
    from pipeline.prepare.read import RULE
    from pipeline.prepare.split import SPLIT

    counts = rows.groupBy(SPLIT, RULE, recipe.label).count().collect()
    dropped = Counter({rule: 0 for rule in ("unreadable", *(rule.name for rule in recipe.clean.rules))})
    labels: dict[SplitName, Counter[str]] = {name: Counter() for name in SPLITS}
    for row in counts:
        if row[RULE] is None:
            labels[row[SPLIT]][row[recipe.label]] += row["count"]
        else:
            dropped[row[RULE]] += row["count"]
    ordered = {name: dict(sorted(labels[name].items())) for name in SPLITS}
    return sum(row["count"] for row in counts), dict(dropped), ordered


def check_rows_in(rows_in: int, recipe: Recipe, source: RawFiles) -> None:
    """Raises DataError for no row at all, and for images that came or went since the listing."""
    files = len(source.files)
    if not rows_in:
        raise DataError(f"No input rows in {recipe.source.path}: {files} files, none with a row. Nothing was published.")
    if recipe.image and rows_in != files:
        raise DataError(f"{recipe.source.path}: {files} files were listed and {rows_in} read; the source changed meanwhile. Run again.")


def fit(rows: DataFrame, recipe: Recipe, classes: tuple[str, ...]) -> tuple[Packing, dict[str, Any]]:
    """Scalers, encoders and statistics from train rows, and the packing that applies them."""
    from pipeline.prepare import fit as fitting
    from pipeline.prepare.pack import Packing, num_features

    image = recipe.image
    numbers = fitting.fit_numbers(rows, recipe.names("number"))
    scalers = fitting.fit_scalers(recipe, numbers)
    encoders = fitting.fit_categories(rows, recipe.names("category"))
    if image is None:
        tensor = Tensor(name="features", dtype="float32", shape=(num_features(scalers, encoders),))
    else:
        shape = recipe.columns[image].shape or (0, 0, 1)
        channels = fitting.fit_pixels(rows, image, shape)
        mean, std = tuple(channel.mean for channel in channels), tuple(channel.std or 1.0 for channel in channels)
        tensor = Tensor(name=image, dtype="uint8", shape=shape, mean=mean, std=std)
    slices = tuple(name for name, column in recipe.columns.items() if column.role == "sensitive")
    packing = Packing(tensor, recipe.label, classes, scalers, encoders, slices, image, recipe.augment)
    return packing, {"tensor": tensor, "scalers": scalers, "encoders": encoders, "statistics": numbers, "slices": slices}


def split_facts(rows: int, label_counts: dict[str, int]) -> SplitFacts:
    return SplitFacts(rows=rows, sources=sum(label_counts.values()), label_counts=label_counts)


def rows_written(written: dict[str, int], folder: str) -> int:
    return sum(rows for path, rows in written.items() if f"/{folder}/" in f"/{path}")


def check_accounting(accounting: Accounting, splits: dict[SplitName, SplitFacts], recipe: Recipe, quarantined: int) -> None:
    """Rows in = rows out + dropped, and what was written is what was counted: no row is lost on the way.

    Raises:
        DataError: with both sides of the sum.
    """
    dropped = sum(accounting.dropped.values())
    expected = {name: splits[name].sources * (1 + (recipe.augment.copies if name == "train" else 0)) for name in SPLITS}
    written = {name: splits[name].rows for name in SPLITS}
    if accounting.rows_in != accounting.rows_out + dropped or expected != written or quarantined != dropped:
        raise DataError(
            f"Rows do not add up: {accounting.rows_in} in, {accounting.rows_out} kept, {dropped} dropped; expected files of {expected} and "
            f"{dropped} in quarantine, wrote {written} and {quarantined}. The source changed while it was read: run again."
        )
