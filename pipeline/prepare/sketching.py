"""Sketches of columns over Spark rows: each partition makes its own, they are merged in any order with the same result."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.prepare.columns import FLOATS, NUMBERS, col
from pipeline.prepare.sketch import CategorySketch, NumberSketch, Sketch, category_sketch, from_json, merge, number_sketch, to_json
from pipeline.prepare.tasks import ArrowFunction, in_worker

STATE = "state binary"
BLOCK_ROWS = 50_000
FEW_PARTITIONS = 64  # states of more are merged in two steps, so that the driver does not hold them all


def sketch_columns(rows: DataFrame, kinds: Mapping[str, str]) -> dict[str, Sketch]:
    """A sketch of each column. One Spark job.

    Args:
        rows: any.
        kinds: column -> number, time or category.
    """
    numbers = [name for name, kind in kinds.items() if kind != "category"]
    texts = [name for name, kind in kinds.items() if kind == "category"]
    columns = [F.array(*map(col, numbers)).cast(FLOATS).alias(NUMBERS)] if numbers else []
    states = rows.select(*columns, *map(col, texts)).mapInArrow(in_worker(sketch_partition(numbers, texts)), STATE)
    return load(collect_merged(states, 0, merge_dumped))


def sketch_partition(numbers: list[str], texts: list[str]) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        found: dict[str, Sketch] = {name: number_sketch(np.empty(0)) for name in numbers}
        found |= {name: category_sketch(pa.array([], pa.string())) for name in texts}
        for table in blocks(batches):
            if numbers:
                matrix = number_matrix(table.column(NUMBERS).combine_chunks(), len(numbers))
                for index, name in enumerate(numbers):
                    number_part = found[name]
                    if isinstance(number_part, NumberSketch):
                        number_part.add(np.ascontiguousarray(matrix[:, index]))
            for name in texts:
                text_part = found[name]
                if isinstance(text_part, CategorySketch):
                    text_part.add(table.column(name))
        yield state_batch(dump_sketches(found))

    return work


def blocks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches joined to about BLOCK_ROWS rows: a sketch costs least by the row in large blocks."""
    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= BLOCK_ROWS:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def number_matrix(column: pa.Array, width: int) -> NDArray[np.float64]:
    """(rows, width) of an Arrow list column whose lists all have this width; null becomes NaN."""
    flat = column.flatten()
    return np.asarray(flat.to_numpy(zero_copy_only=False), np.float64).reshape(-1, width)


def merge_sketches(states: Iterable[Mapping[str, Sketch]]) -> dict[str, Sketch]:
    def both(left: dict[str, Sketch], right: Mapping[str, Sketch]) -> dict[str, Sketch]:
        return {**left, **{name: merge(left[name], sketch) if name in left else sketch for name, sketch in right.items()}}

    return reduce(both, states, {})


def dump_sketches(sketches: Mapping[str, Sketch]) -> bytes:
    return dump({name: to_json(sketch, packed=True) for name, sketch in sketches.items()})


def load(state: bytes) -> dict[str, Sketch]:
    return {name: from_json(value) for name, value in undump(state).items()}


def dump(value: Any) -> bytes:
    """The same bytes for the same value, in whatever order it was put together."""
    return zlib.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode(), 1)


def undump(state: bytes) -> Any:
    return json.loads(zlib.decompress(state))


def state_batch(state: bytes) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([state], pa.binary())], names=["state"])


def merge_dumped(states: Iterable[bytes]) -> bytes:
    return dump_sketches(merge_sketches(map(load, states)))


def collect_merged(states: DataFrame, num_partitions: int, merge_all: Callable[[Iterable[bytes]], bytes]) -> bytes:
    """All partitions' states merged into one; on the workers first where there are many. One Spark job."""
    if num_partitions > FEW_PARTITIONS:
        states = states.repartition(math.isqrt(num_partitions)).mapInArrow(in_worker(merger(merge_all)), STATE)
    return merge_all(bytes(row["state"]) for row in states.collect())


def merger(merge_all: Callable[[Iterable[bytes]], bytes]) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if states := [state for batch in batches for state in batch.column(0).to_pylist()]:
            yield state_batch(merge_all(states))

    return work
