"""Batches of a tf.data pipeline, taken as `fit` takes them and by a loop in Python. For sides that have TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.feeds import consume

WARM_BATCHES = 32
TIMED = 2  # epochs in a graph
EPOCHS = 1 + TIMED + 1  # that `consume_dataset` asks for


def consume_dataset(epoch: Callable[[int], tf.data.Dataset], out: Path, *, in_python: bool = True, **versions: str) -> None:
    """Take epochs in either way and write `report.json`.

    `rows_per_s` is that of a graph that takes a whole epoch, as `fit` takes many batches at a time with steps_per_execution;
    `python.rows_per_s` that of a loop with a step of Python for every batch. The first epoch is not timed: it traces, and opens
    files for the first time. Sides that take minutes only begin it.

    Args:
        epoch: number -> its batches as (tensor (B, *shape), label (B,), …).
        out: the side's folder.
        in_python: False for sides that take minutes: one epoch, in a graph.
        versions: of what the side ran on.
    """
    numbers, taken = count(), tf.function(totals)
    first = epoch(next(numbers))
    taken(iter(first if in_python else first.take(WARM_BATCHES)))
    timed = [consume.timed(lambda: as_checksum(*taken(iter(epoch(next(numbers)))))) for _ in range(TIMED if in_python else 1)]
    own, sums = consume.figures(timed), [timed[-1].sums]
    if in_python:
        looped = consume.timed(lambda: consume.checksum(epoch(next(numbers))))
        own |= {f"python.{name}": value for name, value in consume.figures([looped]).items()}
        sums.append(looped.sums)
    consume.report(out, own, sums, tensorflow=tf.__version__, **versions)


def totals(batches: Any) -> tuple[tf.Tensor, ...]:
    """What `consume.checksum` finds, as a graph."""
    rows, ids, squares = (tf.zeros((), tf.int64) for _ in range(3))
    first = tf.zeros((), tf.float64)
    for batch in batches:
        tensor, label = batch[0], batch[1]
        rows += tf.size(label, tf.int64)
        ids += tf.reduce_sum(label)
        squares += tf.reduce_sum(label * label)
        first += tf.reduce_sum(tf.cast(tf.reshape(tensor, [tf.size(label), -1])[:, 0], tf.float64))
    return rows, ids, squares, first


def as_checksum(rows: tf.Tensor, ids: tf.Tensor, squares: tf.Tensor, first: tf.Tensor) -> dict[str, Any]:
    return {"rows": int(rows), "ids": int(ids), "squares": int(squares) & consume.MASK, "first": round(float(first), 3)}
