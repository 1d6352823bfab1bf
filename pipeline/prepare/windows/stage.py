"""Rows leave the JVM: brought together by series and stretch of time, put on their grid, cut into windows, counted and staged.

    <work>/steps/<partition>.arrow          steps, raw values, series after series
    <work>/<split>/<partition>.arrow        windows: the step that each begins with
    <files>/quarantine/part-NNNNN.parquet   dropped rows, and a line for every gap

A long series is cut into stretches; each gets the rows around it that its windows need, so that it gives the windows that the whole
series would. So a task never holds more than a stretch at a time, however few and long the series are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.columns import CHANGES, CONTENT, FEATURES, FLOATS, GROUP, KEY, NUMBERS, ORDER, RAW, REASON, RULE, SPLIT, col
from pipeline.prepare.privacy import count_found, found_columns
from pipeline.prepare.sketch import category_sketch, number_sketch
from pipeline.prepare.sketching import STATE, number_matrix, state_batch
from pipeline.prepare.staging import count_changes, staged_path, write_quarantine
from pipeline.prepare.tally import Tally
from pipeline.prepare.task_files import begin_folder, collect_tally, write_arrow
from pipeline.prepare.tasks import ArrowFunction, current_task, in_worker
from pipeline.prepare.windows.cut import Cut, cut_windows, split_of_steps
from pipeline.prepare.windows.rows import SERIES, STEP, STRETCH, TIME, arrange, groups, mark_stamps, stamps
from pipeline.prepare.windows.steps import NOWHERE, ON_TIME, Columns, Floats, Integers, Steps, build_steps, context, gaps, step_time
from pipeline.schema import SAMPLE_ID, SPLITS
from pipeline.sections.data import Split
from pipeline.sections.series import Windows

STRETCH_STEPS = 65_536
IS_OWN = "_is_own"
PART, START = "_part", "_start"  # of a window: the partition and the row of its first step
GAP = "gap"
TRAIN = SPLITS.index("train")


@dataclass(frozen=True)
class SeriesLayout:
    """What a recipe with windows has workers do. Sent to each of them."""

    windows: Windows
    split: Split
    numbers: tuple[str, ...]  # columns of the steps' matrix, targets first
    texts: tuple[str, ...]  # category features
    columns: Columns
    hashes: tuple[str, ...]  # that the leak audit compares
    group: str | None  # of the leak audit
    stretch: int  # steps


def series_layout(recipe: Recipe, stretch: int = STRETCH_STEPS) -> SeriesLayout:
    if recipe.windows is None:
        raise TypeError("this recipe has no windows")
    numbers = (*recipe.targets, *recipe.names("number"))
    places = {name: place for place, name in enumerate(numbers)}
    known, static = (tuple(places[name] for name in names if name in places) for names in (recipe.windows.known, recipe.windows.static))
    return SeriesLayout(
        windows=recipe.windows,
        split=recipe.split,
        numbers=numbers,
        texts=tuple(recipe.names("category")),
        columns=Columns(tuple(range(len(recipe.targets))), known, static),
        hashes=(*([FEATURES] if recipe.audit.max_shared_content < 1 else []), *([GROUP] if recipe.audit.group else [])),
        group=recipe.audit.group,
        stretch=stretch,
    )


def stage_windows(rows: DataFrame, layout: SeriesLayout, num_partitions: int, *, work: Path, files: Path) -> Tally:
    """Write every row's step, every window, and what was dropped. One Spark job.

    Args:
        rows: with the columns of columns.py; ORDER is the hash of the series.
        layout: of the recipe.
        num_partitions: that stretches are spread over.
        work, files: folders that all workers see under these paths.
    """
    work.mkdir(parents=True, exist_ok=True)
    windows, (before, after) = layout.windows, context(layout.windows)
    packed = rows.select(
        *map(col, dict.fromkeys((ORDER, *CONTENT, KEY, SPLIT, RULE, REASON, RAW, CHANGES, *windows.series, *layout.texts))),
        *found_columns(rows),
        col(windows.time).alias(TIME),
        F.array(*map(col, layout.numbers)).cast(FLOATS).alias(NUMBERS),
        step_column(windows).alias("_near_step"),
    )

    def stretch_of(step: Column) -> Column:
        return F.floor(step / F.lit(layout.stretch))

    step, is_usable = F.col("_near_step"), F.col(RULE).isNull()
    needed_by = F.sequence(stretch_of(step - after), stretch_of(step + before))
    own = F.coalesce(stretch_of(step), F.lit(0).cast("long"))
    spread = packed.withColumn(STRETCH, F.explode(F.when(is_usable, needed_by).otherwise(F.array(own))))
    spread = spread.withColumn(IS_OWN, F.col(STRETCH) == own).drop("_near_step")
    arranged = spread.repartition(num_partitions, ORDER, STRETCH)
    states = arranged.mapInArrow(in_worker(stager(layout, str(work))), STATE)
    return collect_tally(states, num_partitions, work=work, files=files)


def step_column(windows: Windows) -> Column:
    """`steps.step_numbers` of every row on the grid; null without a time."""
    place = (col(windows.time) - F.lit(windows.anchor_s)) / F.lit(windows.period_s)
    return F.floor(place + F.lit(ON_TIME if windows.resample else 0.5)).cast("long")


@dataclass
class Found:
    """What the stretches of one partition give. Grows."""

    num_steps: int = 0
    steps: list[pa.Table] = field(default_factory=list)
    windows: list[pa.Table] = field(default_factory=list)
    splits: list[Integers] = field(default_factory=list)  # (W,) index into SPLITS of each table of windows
    gaps: list[dict[str, Any]] = field(default_factory=list)  # lines of quarantine
    train_numbers: list[Floats] = field(default_factory=list)
    train_rows: list[pa.Table] = field(default_factory=list)


def stager(layout: SeriesLayout, work: str) -> ArrowFunction:
    def stage_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task, received = current_task(), list(batches)
        tally, partition = Tally(), task.partitionId()
        if received:
            folder = begin_folder(Path(work), task, tally)
            rows = mark_stamps(arrange(pa.Table.from_batches(received).combine_chunks(), layout.windows), layout.windows, layout.numbers)
            received.clear()
            own = rows.filter(rows[IS_OWN])
            tally.rows = own.num_rows
            count_changes(own[CHANGES].combine_chunks(), tally)
            count_found(own, tally)
            kept, found = rows.filter(pc.is_null(rows[RULE])).combine_chunks(), Found()
            for begin, end in groups(kept):
                cut_stretch(kept.slice(begin, end - begin), layout, partition, found, tally)
            set_aside(own.filter(pc.is_valid(own[RULE])), found, folder, partition, tally)
            write_found(found, layout, folder, partition, tally)
        yield state_batch(tally.dump())

    return stage_partition


def cut_stretch(rows: pa.Table, layout: SeriesLayout, partition: int, found: Found, tally: Tally) -> None:
    """One series' stretch: its steps, and the windows whose forecast is made in it."""
    windows, first = layout.windows, rows[STRETCH][0].as_py() * layout.stretch
    values = number_matrix(rows[NUMBERS].combine_chunks(), len(layout.numbers))
    steps = build_steps(rows[STEP].to_numpy(), values, layout.columns, windows)
    numbers = steps.first + np.arange(len(steps))
    if layout.split.by == "time":
        split_of = split_of_steps(numbers, layout.split, windows)
    else:  # a series is in one split
        split_of = np.full(len(steps), SPLITS.index(rows[SPLIT][0].as_py()))
    is_own = (numbers >= first) & (numbers < first + layout.stretch)
    cut = cut_windows(steps, split_of, layout.columns, windows, first=first, last=first + layout.stretch - 1)
    count_stretch(rows, values, steps, split_of, is_own, layout, found, tally)
    tally.windows.update({f"lost {reason}": count for reason, count in cut.lost.items()})
    name = rows[SERIES][0].as_py()
    for number, length in gaps(steps):
        if first <= number < first + layout.stretch:
            found.gaps.append(gap_line(name, number, length, windows))
    if len(cut.starts):
        times = step_time(steps.first + cut.starts + windows.history + windows.gap, windows)
        for split in np.unique(cut.splits).tolist():
            mine = times[cut.splits == split]
            known = tally.times.get(SPLITS[split], (np.inf, -np.inf))
            last = float(mine.max()) + (windows.horizon - 1) * windows.period_s
            tally.times[SPLITS[split]] = (min(known[0], float(mine.min())), max(known[1], last))
        found.windows.append(window_rows(rows, steps, cut, name, layout, partition, found.num_steps))
        found.splits.append(cut.splits)
        found.steps.append(step_rows(rows, steps, layout))
        found.num_steps += len(steps)


def count_stretch(
    rows: pa.Table,
    values: Floats,
    steps: Steps,
    split_of: Integers,
    is_own: NDArray[np.bool_],
    layout: SeriesLayout,
    found: Found,
    tally: Tally,
) -> None:
    """Own rows and steps, those of train for the statistics: each once, whatever windows it is in."""
    own_rows = np.asarray(rows[IS_OWN])
    tally.windows["rows"] += int(own_rows.sum())
    for place, name in enumerate(layout.numbers):
        tally.nulls[name] += int(np.isnan(values[own_rows, place]).sum())
    for name in layout.texts:
        tally.nulls[name] += int((own_rows & np.asarray(pc.is_null(rows[name]))).sum())
    is_train = is_own & (split_of == TRAIN) & steps.has_row
    tally.windows["train steps"] += int(is_train.sum())
    found.train_numbers.append(np.where(steps.is_measured, steps.values, np.nan)[is_train])
    found.train_rows.append(rows.select(layout.texts).take(pa.array(steps.rows[is_train])))


def gap_line(name: str, number: int, length: int, windows: Windows) -> dict[str, Any]:
    begin, end = stamps(step_time(np.asarray([number, number + length - 1]), windows)).tolist()
    what = "are filled" if windows.fill and length <= (windows.max_fill or 0) else "are missing; no window has them"
    text = f"{windows.time}: no row from {begin} to {end}: {length} steps {what}"
    return {SAMPLE_ID: f"{name}@{begin}", RULE: GAP, REASON: text, RAW: None}


def window_rows(rows: pa.Table, steps: Steps, cut: Cut, name: str, layout: SeriesLayout, partition: int, offset: int) -> pa.Table:
    """(W) windows: names, hashes, and where each begins in the partition's steps."""
    windows = layout.windows
    made = stamps(step_time(steps.first + cut.starts + windows.history - 1, windows)).tolist()
    names = [f"{name}@{stamp}" for stamp in made]
    columns: dict[str, Any] = {
        SAMPLE_ID: pa.array(names, pa.string()),
        ORDER: pa.array([hash64(text.encode()) for text in names], pa.int64()),
        PART: pa.array([partition] * len(names), pa.int32()),
        START: pa.array(cut.starts + offset, pa.int64()),
    }
    if FEATURES in layout.hashes:
        history = [steps.values[start : start + windows.history].tobytes() for start in cut.starts.tolist()]
        columns[FEATURES] = pa.array(map(hash64, history), pa.int64())
    if layout.group:
        value = rows[layout.group][0].as_py()
        columns[GROUP] = pa.array([None if value is None else hash64(value.encode())] * len(names), pa.int64())
    return pa.table(columns)


def hash64(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)


def step_rows(rows: pa.Table, steps: Steps, layout: SeriesLayout) -> pa.Table:
    """(S) steps as the last pass reads them: STEP, NUMBERS, and texts, those of the series itself carried on as its numbers are."""
    numbers = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(steps.values).ravel()), len(layout.numbers))
    texts = {name: text_of(rows, steps, name, layout) for name in layout.texts}
    return pa.table({STEP: steps.first + np.arange(len(steps)), NUMBERS: numbers, **texts})


def text_of(rows: pa.Table, steps: Steps, name: str, layout: SeriesLayout) -> pa.Array:
    sources = steps.rows
    if name in layout.windows.static:
        is_given = steps.has_row & np.asarray(pc.is_valid(rows[name]))[np.maximum(steps.rows, 0)]
        places = np.arange(len(steps))
        last = np.maximum.accumulate(np.where(is_given, places, NOWHERE))
        is_near = (last != NOWHERE) & (places - last < layout.windows.history)
        sources = np.where(is_near, steps.rows[np.maximum(last, 0)], NOWHERE)
    return rows[name].combine_chunks().take(pa.array(sources, pa.int64(), mask=sources == NOWHERE))


def set_aside(dropped: pa.Table, found: Found, folder: Path, partition: int, tally: Tally) -> None:
    """Dropped rows and gaps to one quarantine file; gaps are counted apart, they are no rows."""
    columns = (SAMPLE_ID, RULE, REASON, RAW)
    lines = pa.Table.from_pylist(found.gaps, pa.schema([(name, pa.string()) for name in columns]))
    write_quarantine(pa.concat_tables([dropped.select(columns), lines]), folder, partition, tally)
    tally.dropped.pop(GAP, None)
    tally.windows["gaps"] += len(found.gaps)


def write_found(found: Found, layout: SeriesLayout, folder: Path, partition: int, tally: Tally) -> None:
    numbers = np.concatenate([*found.train_numbers, np.empty((0, len(layout.numbers)))])
    if len(numbers):
        tally.sketches |= {name: number_sketch(np.ascontiguousarray(numbers[:, place])) for place, name in enumerate(layout.numbers)}
        texts = pa.concat_tables(found.train_rows)
        tally.sketches |= {name: category_sketch(texts[name]) for name in layout.texts}
    if not found.windows:
        return
    write_arrow(pa.concat_tables(found.steps).combine_chunks(), steps_path(folder, partition))
    windows, splits = pa.concat_tables(found.windows), np.concatenate(found.splits)
    for index, split in enumerate(SPLITS):
        part = windows.filter(pa.array(splits == index))
        if part.num_rows:  # mixed, as files are: neighbours in time are nearly the same sample
            part = part.sort_by([(ORDER, "ascending"), (SAMPLE_ID, "ascending")]).combine_chunks()
            tally.staged[split] = {str(partition): part.num_rows}
            write_arrow(part, staged_path(folder, split, partition))


def steps_path(work: Path, partition: int) -> Path:
    return work / "steps" / f"{partition:05d}.arrow"
