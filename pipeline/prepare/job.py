"""The prepare stage: raw files -> read, validate, split, clean, stage, audit, fit, write -> prepared Parquet and its manifest."""

from __future__ import annotations

import gzip
import importlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import origin as origins
from pipeline.attempt import Attempt
from pipeline.config import Recipe
from pipeline.console import quiet
from pipeline.errors import DataError
from pipeline.prepare import baseline as baselines
from pipeline.prepare.accounting import account, drops, rows_of, rows_out, split_facts, train_copies
from pipeline.prepare.baseline import STATISTICS, Baseline
from pipeline.prepare.layout import FilePlan, plan_files
from pipeline.prepare.secrets import identity
from pipeline.prepare.sketch import to_json
from pipeline.prepare.source import RawFiles, list_files, list_remote
from pipeline.schema import SPLITS, UNLABELLED, OriginFacts, Prepared, ProtectionFacts, SplitName
from pipeline.stage import Outcome, Request, Work, run_stage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.prepare.split import Bounds
    from pipeline.prepare.tally import Tally
    from pipeline.prepare.write import AnyPacking

SECTIONS = (
    "task",
    "source",
    "columns",
    "privacy",
    "clean",
    "windows",
    "interactions",
    "anomalies",
    "split",
    "normalize",
    "encode",
    "audit",
    "drift",
    "augment",
    "prepare",
)
PARTITION_BYTES = 32 << 20  # of one staged partition, or of the source behind it where nobody knows how large a row will be
MIN_PARTITIONS = 4
MAX_BATCH, BATCH_BYTES = 10_000, 8 << 20
MAX_BATCH_BYTES = 64 << 20  # of rows that are longer than expected
UNLIMITED = 2**31 - 1
LAYOUT = 5  # raise when the same recipe and source give other files


def run(request: Request, spark: SparkSession | None = None) -> Outcome:
    """Prepared data for a recipe: found again, or made.

    Args:
        request: recipe, run, console, force.
        spark: a session to work in (a notebook's, a test's); if None, one is started if there is work, and stopped. A remote
            source is listed through Spark, so it always needs one.

    Raises:
        DataError: the source is empty, unreadable, or breaks a rule of the recipe.
        InfrastructureError: Spark or the disk failed.
    """
    recipe = request.recipe
    origin = origins.find(request)
    with ExitStack() as stack:
        if recipe.source.scheme is None:
            source = list_files(recipe.source, request.run.root)
        else:
            from pipeline.prepare.session import session_for

            spark = stack.enter_context(session_for(spark, f"longhaul-prepare-{recipe.name}"))
            source = list_remote(spark, recipe.source, recipe.source.path)
        before = baselines.find(request.run, source.digest)
        inherited = before.bounds_for(recipe)
        sections = {**recipe.section(*SECTIONS), "listing": source.digest, "layout": LAYOUT, "bounds": inherited}
        sections["protection"] = identity(recipe.privacy)
        sections |= {"origin": origin.train_digest} if origin else {}
        return run_stage(request, "prepare", sections, {}, partial(prepare, request, source, before, origin, spark))


def prepare(
    request: Request, source: RawFiles, before: Baseline, origin: OriginFacts | None, given: SparkSession | None, attempt: Attempt
) -> Work:
    from pipeline.prepare.session import session_for, shown

    recipe = request.recipe
    opened = session_for(given, f"longhaul-prepare-{recipe.name}", num_bytes=java_bytes(recipe, source), meanwhile=load_steps)
    with request.console.meter("prepare") as meter:
        meter(0, f"starting Spark for {len(source.uris)} files")
        try:
            with quiet(attempt.log / "spark.log"), opened as spark, shown(spark, meter, "reading, cleaning, writing"):
                return prepare_rows(request, spark, source, before, origin, attempt)
        finally:
            shutil.rmtree(attempt.work, ignore_errors=True)


def java_bytes(recipe: Recipe, source: RawFiles) -> int:
    """Bytes that Java works on: of contents, which Python decodes, next to none."""
    return 0 if recipe.source.is_of_files or recipe.source.format == "text" else source.num_bytes


def load_steps() -> None:
    """Import what the steps need, a second's work, for which Python has time while Java starts."""
    for name in ("staging", "fit", "write", "report", "media_sheet", "windows.stage", "interactions.stage"):
        importlib.import_module(f"pipeline.prepare.{name}")


def prepare_rows(
    request: Request, spark: SparkSession, source: RawFiles, before: Baseline, origin: OriginFacts | None, attempt: Attempt
) -> Work:
    """Every step on Spark. The source is read once for staging, and once before for each group of rules that needs statistics."""
    from pipeline.prepare import audit, carry, fit, media_sheet, report, staging, write
    from pipeline.prepare.interactions import fit as pairs
    from pipeline.prepare.interactions.stage import interaction_layout, stage_interactions
    from pipeline.prepare.task_files import quarantine_path
    from pipeline.prepare.text_sheet import text_examples
    from pipeline.prepare.windows import fit as series
    from pipeline.prepare.windows.stage import series_layout, stage_windows

    recipe, files, work = request.recipe, attempt.files, attempt.work
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", str(rows_per_batch(recipe)))
    # Spark adds up the bytes of all columns after every row to keep this; rows of numbers and categories are never that long.
    spark.conf.set("spark.sql.execution.arrow.maxBytesPerBatch", str(MAX_BATCH_BYTES if recipe.content else UNLIMITED))
    rows, bounds, num_partitions = arrange(spark, recipe, source, before)
    windows = series_layout(recipe) if recipe.windows else None
    taken = interaction_layout(recipe) if recipe.interactions else None
    if windows:
        tally = stage_windows(rows, windows, num_partitions, work=work, files=files)
    elif taken:
        tally = stage_interactions(rows, taken, num_partitions, work=work, files=files)
    else:
        tally = staging.stage_rows(rows, recipe, num_partitions, is_arranged=is_arranged(recipe), work=work, files=files)
    classes = check(recipe, source, rows, tally)
    protected = privacy_facts(spark, request, tally, work)
    layout = staging.layout_of(recipe)
    leaks = audit.audit(spark, recipe, windows or taken or layout, tally, work)
    audit.check_leaks(leaks)
    drifted = baselines.drift(before, tally.sketches, recipe, request.console)
    packing: AnyPacking
    if windows:
        packing, fitted = series.fit_windows(recipe, windows, tally, work)
    elif taken:
        packing, fitted = pairs.fit_interactions(spark, recipe, taken, tally, work, files)
    else:
        packing, fitted = fit.fit(spark, recipe, layout, tally, classes, work)
    if origin:
        packing, fitted = carry.take_along(packing, fitted, origins.open_noted(origin, request.run.root), recipe, tally, work)
    written = write.write_files(spark, plan(recipe, tally, packing), packing, work=work, files=files)
    splits = {name: split_facts(tally, name, rows_of(written, name)) for name in SPLITS}
    prepared = Prepared(
        task=recipe.task,
        label=recipe.label if recipe.has_label else "",
        classes=classes,
        splits=splits,
        accounting=account(recipe, tally, splits),
        audit=leaks,
        drift=drifted,
        privacy=protected,
        split_digest=baselines.split_digest(recipe),
        split_bounds=bounds,
        inherited_bounds=before.bounds_for(recipe),
        listing=source.digest,
        origin=origin,
        **fitted,
    )
    statistics = {name: to_json(sketch) for name, sketch in sorted(tally.sketches.items())}
    for name, text in (fitted_content.files if (fitted_content := getattr(packing, "content", None)) else {}).items():
        (files / name).write_text(text, encoding="utf-8")
    (files / STATISTICS).write_bytes(gzip.compress(json.dumps(statistics).encode(), mtime=0))
    texts, media = text_examples(recipe, tally, work), media_sheet.media_examples(recipe, prepared, files)
    page = report.render(recipe, prepared, recipe.source.path, report.sample_quarantine(files), texts, media)
    (files / prepared.report).write_text(page, encoding="utf-8")
    quarantined = {quarantine_path(int(partition)): count for partition, count in tally.quarantined.items()}
    return Work(prepared.model_dump(mode="json"), {**written, **quarantined})


def arrange(spark: SparkSession, recipe: Recipe, source: RawFiles, before: Baseline) -> tuple[DataFrame, Bounds, int]:
    """(every raw row with its rule or split, bounds of stratified splits, partitions that rows are staged in). Lazy but for what is fitted.

    Partition and order depend on the rows alone, never on the cluster: the number of partitions follows from the source.
    """
    from pipeline.prepare.clean import clean
    from pipeline.prepare.read import read_rows
    from pipeline.prepare.split import assign_splits, fit_bounds, leave_out_anomalies
    from pipeline.prepare.validate import drop_invalid

    num_partitions = max(MIN_PARTITIONS, -(-staged_bytes(recipe, source) // PARTITION_BYTES))
    rows = drop_invalid(by_series(read_rows(spark, recipe, source), recipe), recipe)
    bounds = fit_bounds(rows, recipe, before.bounds_for(recipe))

    def read_again(few: Recipe) -> DataFrame:
        return leave_out_anomalies(assign_splits(drop_invalid(read_rows(spark, few, source), few), few, bounds), few)

    rows = leave_out_anomalies(assign_splits(rows, recipe, bounds), recipe)
    return clean(rows, recipe, num_partitions, read_again), bounds, num_partitions


def staged_bytes(recipe: Recipe, source: RawFiles) -> int:
    """About how much is staged. A sound of minutes may become a second, a small JPEG file many pixels: a file's own bytes say little."""
    from pipeline.prepare.kinds import KINDS

    if recipe.source.format not in ("images", "audio"):
        return source.num_bytes
    column = recipe.columns[recipe.content or ""]
    return len(source.uris) * KINDS[column.kind].row_bytes(column)


def by_series(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """Rows of a recipe with windows are ordered, and split by hash, by their series and not each for itself; interactions by user. Lazy."""
    from pipeline.prepare.columns import ORDER, col, hash_of

    if recipe.windows is None and recipe.interactions is None:
        return rows
    names = recipe.windows.series if recipe.windows else [recipe.interactions.user] if recipe.interactions else []
    return rows.withColumn(ORDER, hash_of("key", [col(name) for name in names]))


def rows_per_batch(recipe: Recipe) -> int:
    """Rows that Spark hands to Python at a time: about BATCH_BYTES of a content column, else as many as pay."""
    from pipeline.prepare.kinds import KINDS

    column = recipe.columns[recipe.content] if recipe.content else None
    return MAX_BATCH if column is None else max(1, min(MAX_BATCH, BATCH_BYTES // KINDS[column.kind].row_bytes(column)))


def is_arranged(recipe: Recipe) -> bool:
    """Whether the last rule that moved rows left them in their final partitions."""
    moves = [rule for rule in recipe.clean.rules if "duplicates" in rule.name or (rule.fill_nulls and rule.fill_nulls.by == "forward")]
    return not recipe.source.is_of_files and bool(moves) and moves[-1].name == "drop_duplicates"


def check(recipe: Recipe, source: RawFiles, rows: DataFrame, tally: Tally) -> tuple[str, ...]:
    """The classes, if what was staged can be used at all.

    Raises:
        DataError: no rows, more dropped than allowed, an empty split, labels that cannot be learnt, a column that breaks its limits.
    """
    from pipeline.prepare.clean import check_dropped
    from pipeline.prepare.split import check_labels, check_sizes, labels_seen
    from pipeline.prepare.validate import check_columns

    check_rows_in(tally.rows, recipe, source)
    check_dropped(drops(recipe, tally), tally.rows, recipe.clean)
    check_sizes({name: tally.kept(name) for name in SPLITS})
    kept = rows_out(recipe, tally)
    check_columns(recipe, rows, tally.nulls, kept, tally.sketches)
    counts: dict[SplitName, Mapping[str, int]] = {name: tally.labels.get(name, {}) for name in SPLITS}
    if recipe.task == "classification":
        return check_labels(counts, recipe.label)
    return labels_seen(counts) if recipe.task in UNLABELLED else ()


def check_rows_in(rows_in: int, recipe: Recipe, source: RawFiles) -> None:
    """Raises DataError for no row at all, and for images that came or went since the listing."""
    files = len(source.uris)
    if not rows_in:
        raise DataError(f"No input rows in {recipe.source.path}: {files} files, none with a row. Nothing was published.")
    if recipe.source.format in ("images", "audio") and rows_in != files:
        raise DataError(f"{recipe.source.path}: {files} files were listed and {rows_in} read; the source changed meanwhile. Run again.")


def privacy_facts(spark: SparkSession, request: Request, tally: Tally, work: Path) -> ProtectionFacts | None:
    """What was found and done; raises DataError for what the recipe's `privacy` does not let pass."""
    from pipeline.prepare import anonymity, privacy
    from pipeline.prepare.staging import layout_of

    recipe, rules = request.recipe, request.recipe.privacy
    if rules is None:
        return None
    found = privacy.findings(recipe, tally)
    privacy.check(found, request.console.warn)
    hidden = anonymity.measure(spark, rules.anonymity, layout_of(recipe), tally, work) if rules.anonymity else None
    if hidden and rules.anonymity:
        anonymity.check(hidden, rules.anonymity.below, request.console.warn)
    return ProtectionFacts(actions={name: action.name for name, action in rules.columns.items()}, found=found, anonymity=hidden)


def plan(recipe: Recipe, tally: Tally, packing: AnyPacking) -> list[FilePlan]:
    per_copy = recipe.augment.rows_per_copy(has_classes=recipe.task == "classification")
    copies = {"train": 1 + per_copy * max([recipe.augment.copies, *train_copies(recipe, tally).values()])}
    copies = {name: 1 + recipe.interactions.negatives_of(name) for name in SPLITS} if recipe.interactions else copies
    return plan_files(
        {name: {int(partition): count for partition, count in parts.items()} for name, parts in tally.staged.items()},
        row_bytes={name: packing.tensor.row_bytes * copies.get(name, 1) for name in SPLITS},
        file_bytes=recipe.prepare.file_mb << 20,
        min_files=recipe.prepare.min_files,
    )
