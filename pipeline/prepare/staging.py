"""Rows leave the JVM: arranged by ORDER, counted, sketched, and staged as Arrow files that the last pass maps into memory.

    <work>/<split>/<partition>.arrow      kept rows, raw values, sorted
    <files>/quarantine/part-NNNNN.parquet dropped rows

A partition and the order in it follow from the rows alone, never from the cluster, and so do the bytes of every file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.clean import near_hash
from pipeline.prepare.columns import (
    CHANGES,
    CONTENT,
    FEATURES,
    FLOATS,
    GROUP,
    KEY,
    NEAR,
    NUMBERS,
    ORDER,
    RAW,
    REASON,
    RULE,
    SPLIT,
    col,
    hash_of,
)
from pipeline.prepare.kinds import KINDS
from pipeline.prepare.privacy import count_found, found_columns
from pipeline.prepare.sketch import category_sketch, number_sketch
from pipeline.prepare.sketching import STATE, number_matrix, state_batch
from pipeline.prepare.tally import Tally
from pipeline.prepare.task_files import begin_folder, collect_tally, quarantine_path, write_arrow
from pipeline.prepare.tasks import ArrowFunction, current_task, in_worker
from pipeline.schema import SAMPLE_ID, SPLITS
from pipeline.sections.data import Column as ColumnSection

LINE = 8  # float64 in a cache line
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Which declared columns staged rows hold, and in what order. Sent to every worker."""

    numbers: tuple[str, ...]  # positions in NUMBERS; times too, as seconds since 1970
    texts: tuple[str, ...]
    content: str | None  # the column that is a whole image, sound or text
    column: ColumnSection | None  # what the recipe says of it
    label: str | None
    time: str | None  # of split.by time
    hashes: tuple[str, ...]


def layout_of(recipe: Recipe) -> Layout:
    declared = {name: column for name, column in recipe.columns.items() if column.role not in ("ignore", "key")}
    features = [FEATURES] if recipe.audit.max_shared_content < 1 else []  # a limit that nothing can break is not worth a look
    near = [NEAR] if recipe.audit.max_near_duplicates is not None and not recipe.content else []
    return Layout(
        numbers=tuple(name for name, column in declared.items() if column.kind in ("number", "time")),
        texts=tuple(name for name, column in declared.items() if column.kind == "category"),
        content=recipe.content,
        column=recipe.columns[recipe.content] if recipe.content else None,
        label=recipe.label if recipe.has_label else None,
        time=recipe.split.column if recipe.split.by == "time" else None,
        hashes=(*features, *near, *([GROUP] if recipe.audit.group else [])),
    )


def stage_rows(rows: DataFrame, recipe: Recipe, num_partitions: int, *, is_arranged: bool, work: Path, files: Path) -> Tally:
    """Write every row to its staged or quarantine file. One Spark job.

    Args:
        rows: with the columns of columns.py.
        recipe: its columns and audit.
        num_partitions: of the arrangement.
        is_arranged: `rows` lie in these partitions already.
        work, files: folders that all workers see under these paths.
    """
    layout = layout_of(recipe)
    columns = [ORDER, *CONTENT, KEY, SPLIT, RULE, REASON, RAW, CHANGES, *layout.texts, *([layout.content] if layout.content else [])]
    numbers = F.array(*map(col, layout.numbers)).cast(FLOATS) if layout.numbers else F.lit(None).cast(FLOATS)
    hashed = [value.alias(name) for name, value in hashes(recipe, layout).items()]
    packed = rows.select(*map(col, columns), *found_columns(rows), numbers.alias(NUMBERS), *hashed)
    arranged = packed if is_arranged else packed.repartition(num_partitions, ORDER)
    states = arranged.mapInArrow(in_worker(stager(layout, str(work))), STATE)
    tally = collect_tally(states, num_partitions, work=work, files=files)
    tally.sketches = {name: tally.sketches[name] for name in (*layout.numbers, *layout.texts) if name in tally.sketches}
    return tally


def hashes(recipe: Recipe, layout: Layout) -> dict[str, Column]:
    """What the leak audit compares between splits."""
    features = [recipe.content] if recipe.content else [*recipe.names("number"), *recipe.names("category")]
    inputs = [*recipe.names("number"), *recipe.names("time")]
    found = {}
    if FEATURES in layout.hashes:
        others = [recipe.content] if recipe.content else recipe.names("category")
        found[FEATURES] = hash_of("features", [col(name) for name in others], [col(name) for name in layout.numbers if name in inputs])
    if NEAR in layout.hashes:
        found[NEAR] = near_hash(recipe, [*features, *recipe.names("time")], recipe.audit.near_digits)
    if recipe.audit.group:
        group = col(recipe.audit.group)
        found[GROUP] = F.when(group.isNotNull(), hash_of("group", [group]))  # rows without one have none in common
    return found


def stager(layout: Layout, work: str) -> ArrowFunction:
    def stage_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tally, task = Tally(), current_task()
        rows, numbers = receive(batches, layout)
        if rows.num_rows:
            stage_received(rows, numbers, layout, begin_folder(Path(work), task, tally), task.partitionId(), tally)
        yield state_batch(tally.dump())

    return stage_partition


def receive(batches: Iterable[pa.RecordBatch], layout: Layout) -> tuple[pa.Table, Floats]:
    """All rows but for NUMBERS as one table, and these as (rows, numbers), missing ones NaN: Arrow would copy them twice more."""
    others, numbers = [], []
    for batch in batches:
        numbers.append(matrix_of(batch, layout))
        others.append(batch.select([name for name in batch.schema.names if name != NUMBERS]))
    if not others:
        return pa.table({}), np.empty((0, len(layout.numbers)))
    return pa.Table.from_batches(others).combine_chunks(), np.concatenate(numbers)


def stage_received(rows: pa.Table, numbers: Floats, layout: Layout, folder: Path, partition: int, tally: Tally) -> None:
    """Count a partition's rows and write them into a task's folder."""
    tally.rows = rows.num_rows
    count_changes(rows[CHANGES].combine_chunks(), tally)
    count_found(rows, tally)
    rows, order = name_rows(rows)
    is_kept = np.asarray(pc.is_null(rows[RULE]))[order]
    write_quarantine(rows.take(pa.array(order[~is_kept])), folder, partition, tally)
    columns = [SAMPLE_ID, ORDER, *layout.hashes, *layout.texts, *([layout.content] if layout.content else [])]
    for split in SPLITS:
        is_mine = np.asarray(pc.fill_null(pc.equal(rows[SPLIT], split), fill_value=False))[order]
        mine = order[is_kept & is_mine]
        if not len(mine):
            continue
        part, values = rows.select(columns).take(pa.array(mine)), numbers[mine]  # numpy gathers numbers many times faster than Arrow
        count(part, values, split, layout, tally)
        if layout.numbers:
            part = part.append_column(NUMBERS, pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), len(layout.numbers)))
        tally.staged[split] = {str(partition): part.num_rows}
        write_arrow(part.combine_chunks(), staged_path(folder, split, partition))


def name_rows(rows: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """The rows with a SAMPLE_ID, and (N,) their order: by ORDER, then content.

    A SAMPLE_ID is the key or the content's hash, with ~2, ~3 … where several rows share it. Of rows with the same content, dropped
    ones come last: they are no reason for a kept one to be called otherwise.
    """
    places, high, low = (rows[name].to_numpy() for name in (ORDER, *CONTENT))
    order = np.argsort(places)
    if is_shared := bool((np.diff(places[order]) == 0).any()):
        order = np.lexsort((rank_dropped(rows), low, high, places))
    names = rows[KEY].combine_chunks() if rows[KEY].null_count < rows.num_rows else hexadecimal(high, low)
    return rows.append_column(SAMPLE_ID, numbered(names, order, places[order]) if is_shared else names), order


def numbered(names: pa.Array, order: NDArray[np.int64], places: NDArray[np.int64]) -> pa.Array:
    """Names of which the second, third … of the same get a number, in the order given; `places` are sorted, equal for equal names."""
    texts = names.to_pylist()
    follows = np.flatnonzero(places[1:] == places[:-1]) + 1
    seen: Counter[str | None] = Counter()
    for row in order[np.union1d(follows - 1, follows)].tolist():
        seen[texts[row]] += 1
        if texts[row] is not None and seen[texts[row]] > 1:
            texts[row] = f"{texts[row]}~{seen[texts[row]]}"
    return pa.array(texts, pa.string())


def hexadecimal(high: NDArray[np.int64], low: NDArray[np.int64]) -> pa.Array:
    """(N,) texts of 32 digits, of two (N,) longs."""
    digits = np.stack([high, low], axis=1).astype(">i8").tobytes().hex().encode()
    offsets = np.arange(len(high) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(high), pa.py_buffer(offsets), pa.py_buffer(digits))


def rank_dropped(rows: pa.Table) -> NDArray[np.int64]:
    """(N,) 0 for kept rows; from 1 for dropped ones, by what is written of them, so that their order does not depend on who came first."""
    ranks = np.zeros(rows.num_rows, np.int64)
    if rows[RULE].null_count < rows.num_rows:
        texts = pc.binary_join_element_wise(rows[RULE], rows[REASON], rows[RAW], "\0", null_handling="replace")
        is_dropped = np.asarray(pc.is_valid(rows[RULE]))
        ranks[is_dropped] = pc.rank(texts.filter(pa.array(is_dropped)), tiebreaker="dense").to_numpy()
    return ranks


def write_quarantine(dropped: pa.Table, folder: Path, partition: int, tally: Tally) -> None:
    """Dropped rows into a task's folder."""
    if not dropped.num_rows:
        return
    tally.dropped.update(dropped[RULE].to_pylist())
    tally.quarantined[str(partition)] = dropped.num_rows
    table = pa.table({"key": dropped[SAMPLE_ID], "rule": dropped[RULE], "reason": dropped[REASON], "raw": dropped[RAW]})
    path = folder / quarantine_path(partition)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=table.num_rows)


def count_changes(changes: pa.Array, tally: Tally) -> None:
    """Add up what value rules changed, also in rows that a later rule dropped."""
    if changes.null_count < len(changes):
        matrix = np.asarray(changes.flatten().to_numpy(zero_copy_only=False)).reshape(len(changes), -1)
        tally.changed.update({str(place): int(total) for place, total in enumerate(matrix.sum(axis=0))})


def count(part: pa.Table, numbers: Floats, split: str, layout: Layout, tally: Tally) -> None:
    """Add one split's kept rows, and their (rows, numbers), to the tally; statistics are of train rows alone."""
    missing = np.isnan(numbers).sum(axis=0)
    for index, name in enumerate(layout.numbers):
        tally.nulls[name] += int(missing[index])
        if name == layout.time:
            tally.times[split] = (float(numbers[:, index].min()), float(numbers[:, index].max()))
    for name in layout.texts:
        tally.nulls[name] += part[name].null_count
    if layout.label and layout.label in layout.texts:
        tally.labels[split] = Counter({item["values"]: item["counts"] for item in pc.value_counts(part[layout.label]).to_pylist()})
    if split == "train":
        tally.sketches = dict(zip(layout.numbers, map(number_sketch, by_column(numbers)), strict=True))
        tally.sketches |= {name: category_sketch(part[name]) for name in layout.texts}
        tally.totals = KINDS[layout.column.kind].count(part[layout.content], layout.column) if layout.column else []


def by_column(numbers: Floats) -> Iterator[Floats]:
    """Each column of a (rows, numbers) array as one piece of memory. Taken LINE at a time, every cache line is read once."""
    for first in range(0, numbers.shape[1], LINE):
        yield from np.ascontiguousarray(numbers[:, first : first + LINE].T)


def matrix_of(batch: pa.RecordBatch, layout: Layout) -> Floats:
    """(rows, numbers); missing values are NaN."""
    return number_matrix(batch.column(NUMBERS), len(layout.numbers)) if layout.numbers else np.empty((batch.num_rows, 0))


def staged_path(work: Path, split: str, partition: int) -> Path:
    return work / split / f"{partition:05d}.arrow"


def read_staged(work: Path, split: str, partition: int) -> pa.Table:
    """Mapped, not read: only the columns and rows that are used come from disk."""
    with pa.memory_map(str(staged_path(work, split, partition))) as source:
        return pa.ipc.open_file(source).read_all()
