"""Rows leave the JVM, all of a user in one partition: sorted by time, split, counted, and staged.

<work>/<split>/<partition>.arrow       positives
<work>/taken/<partition>.arrow         every user's items, of all splits: none of them is ever a negative of theirs
<files>/quarantine/part-NNNNN.parquet  dropped rows

A user's rows have to fit into one task.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.columns import CHANGES, CONTENT, KEY, ORDER, RAW, REASON, RULE, SPLIT, col
from pipeline.prepare.privacy import count_found, found_columns
from pipeline.prepare.sketch import category_sketch
from pipeline.prepare.sketching import STATE, state_batch
from pipeline.prepare.staging import count_changes, staged_path, write_quarantine
from pipeline.prepare.tally import Tally
from pipeline.prepare.task_files import begin_folder, collect_tally, write_arrow
from pipeline.prepare.tasks import ArrowFunction, current_task, in_worker
from pipeline.schema import SAMPLE_ID, SPLITS
from pipeline.sections.interactions import Interactions

TIME, ROW_WEIGHT, PART = "_time", "_row_weight", "_part"
REPEATED = "repeated_pair"
ESCAPES = (("%", "%25"), ("~", "%7E"), ("@", "%40"))


@dataclass(frozen=True)
class InteractionLayout:
    """What a recipe with interactions has workers do. Sent to each of them."""

    rules: Interactions
    by_user: bool  # whether a split follows from the place in the user's own time
    texts: tuple[str, ...]  # user, item, then the items' features
    hashes: tuple[str, ...] = ()  # that the leak audit compares: none, as a pair is in one split or stays by the recipe's will


def interaction_layout(recipe: Recipe) -> InteractionLayout:
    rules = recipe.interactions
    if rules is None:
        raise TypeError("this recipe has no interactions")
    features = [name for name in recipe.names("category") if name not in (rules.user, rules.item)]
    return InteractionLayout(rules, recipe.split.by == "user_time", (rules.user, rules.item, *features))


def stage_interactions(rows: DataFrame, layout: InteractionLayout, num_partitions: int, *, work: Path, files: Path) -> Tally:
    """Write every positive, what every user took, and what was dropped. One Spark job.

    Args:
        rows: with the columns of columns.py; ORDER is the hash of the user.
        layout: of the recipe.
        num_partitions: that users are spread over.
        work, files: folders that all workers see under these paths.
    """
    rules = layout.rules
    packed = rows.select(
        *map(col, (ORDER, *CONTENT, KEY, SPLIT, RULE, REASON, RAW, CHANGES, *layout.texts)),
        *found_columns(rows),
        (col(rules.time) if rules.time else F.lit(0.0)).alias(TIME),
        (col(rules.weight) if rules.weight else F.lit(1.0)).alias(ROW_WEIGHT),
    )
    states = packed.repartition(num_partitions, ORDER).mapInArrow(in_worker(stager(layout, str(work))), STATE)
    return collect_tally(states, num_partitions, work=work, files=files)


def stager(layout: InteractionLayout, work: str) -> ArrowFunction:
    def stage_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task, received, tally = current_task(), list(batches), Tally()
        if received:
            folder = begin_folder(Path(work), task, tally)
            rows = mark_repeats(arrange(pa.Table.from_batches(received).combine_chunks(), layout), layout)
            received.clear()
            tally.rows = rows.num_rows
            count_changes(rows[CHANGES].combine_chunks(), tally)
            count_found(rows, tally)
            write_quarantine(rows.filter(pc.is_valid(rows[RULE])), folder, task.partitionId(), tally)
            kept = rows.filter(pc.is_null(rows[RULE])).combine_chunks()
            if kept.num_rows:
                stage(kept, layout, folder, task.partitionId(), tally)
        yield state_batch(tally.dump())

    return stage_partition


def arrange(rows: pa.Table, layout: InteractionLayout) -> pa.Table:
    """By user, time and content, with the SAMPLE_ID: user@item, and ~2, ~3 … where the two met again."""
    user, item = layout.texts[:2]
    ranks = pc.rank(pc.fill_null(rows[user], ""), tiebreaker="dense").to_numpy()
    wrongs = pc.binary_join_element_wise(*(pc.fill_null(rows[name], "") for name in (RULE, REASON, RAW)), "\0")
    ties = [pc.rank(wrongs, tiebreaker="dense").to_numpy(), *(rows[name].to_numpy() for name in CONTENT)]
    rows = rows.take(pa.array(np.lexsort((*ties, rows[TIME].to_numpy(), np.asarray(pc.is_valid(rows[RULE])), ranks))))
    pairs = pc.binary_join_element_wise(*(escaped(rows[name]) for name in (user, item)), "@").to_pylist()
    seen: Counter[str] = Counter()
    names = []
    for pair in pairs:
        seen[pair] += 1
        names.append(pair if seen[pair] == 1 else f"{pair}~{seen[pair]}")
    return rows.append_column(SAMPLE_ID, pa.array(names, pa.string()))


def escaped(values: pa.ChunkedArray) -> pa.ChunkedArray:
    found = pc.fill_null(values, "")
    for plain, code in ESCAPES:
        found = pc.replace_substring(found, plain, code)
    return found


def mark_repeats(rows: pa.Table, layout: InteractionLayout) -> pa.Table:
    """Later interactions of a pair that met before get the rule that sends them to quarantine, if the recipe says so."""
    if layout.rules.repeats == "keep":
        return rows
    is_repeat = pc.and_(pc.is_null(rows[RULE]), pc.match_substring(rows[SAMPLE_ID], "~"))
    user, item = layout.texts[:2]
    reason = pc.binary_join_element_wise("", rows[user], " took ", rows[item], " before", "")
    raw = pc.binary_join_element_wise(rows[user], rows[item], ",")
    for name, values in ((REASON, reason), (RAW, raw), (RULE, REPEATED)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pc.if_else(is_repeat, values, rows[name]))
    return rows


def stage(kept: pa.Table, layout: InteractionLayout, folder: Path, partition: int, tally: Tally) -> None:
    """Sorted positives, split and staged; counts and statistics of them."""
    user = layout.texts[0]
    splits = by_user(kept[user], layout.rules) if layout.by_user else np.asarray(kept[SPLIT].to_pylist(), object)
    write_arrow(kept.select(layout.texts[:2]).combine_chunks(), taken_path(folder, partition))
    for name in layout.texts:
        tally.nulls[name] += kept[name].null_count
    for split in SPLITS:
        part = kept.filter(pa.array(splits == split)).combine_chunks()
        if not part.num_rows:
            continue
        if split == "train":
            tally.sketches = {name: category_sketch(part[name]) for name in layout.texts}
        times = part[TIME].to_numpy()
        tally.times[split] = (float(times.min()), float(times.max()))
        order = [hash64(name) for name in part[SAMPLE_ID].to_pylist()]
        columns: dict[str, Any] = {
            SAMPLE_ID: part[SAMPLE_ID],
            ORDER: pa.array(order, pa.int64()),
            PART: pa.array([partition] * part.num_rows, pa.int32()),
            ROW_WEIGHT: part[ROW_WEIGHT],
            **{name: part[name] for name in layout.texts},
        }
        staged = pa.table(columns).sort_by([(ORDER, "ascending"), (SAMPLE_ID, "ascending")]).combine_chunks()  # users mixed
        tally.staged[split] = {str(partition): staged.num_rows}
        negatives = layout.rules.negatives_of(split) * staged.num_rows
        tally.labels[split] = Counter({"0": negatives, "1": staged.num_rows})
        write_arrow(staged, staged_path(folder, split, partition))


def by_user(users: pa.ChunkedArray, rules: Interactions) -> NDArray[np.object_]:
    """(R,) the split of every row from how many of the user's follow it; users with too few rows are train rows.

    Args:
        users: (R,) together, each user's rows from the first to the last.
        rules: how many are for test and validation.
    """
    codes = users.combine_chunks().dictionary_encode().indices.to_numpy()
    edges = np.flatnonzero(np.diff(codes)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(codes)]])
    sizes = np.repeat(ends - starts, ends - starts)
    after = np.repeat(ends, ends - starts) - 1 - np.arange(len(codes))
    held = rules.test_last + rules.validation_last
    splits = np.where(after < rules.test_last, "test", np.where(after < held, "validation", "train"))
    return np.asarray(np.where(sizes > held, splits, "train"), object)


def hash64(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def taken_path(work: Path, partition: int) -> Path:
    return work / "taken" / f"{partition:05d}.arrow"
