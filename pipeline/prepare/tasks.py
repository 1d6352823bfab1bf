"""Code that Spark runs in its Python workers: its type, and the task it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
from pyspark import TaskContext

ArrowFunction = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]  # what mapInArrow takes: one partition's batches


def current_task() -> TaskContext:
    """The running task. Raises RuntimeError outside of one: the driver has none."""
    task = TaskContext.get()
    if task is None:
        raise RuntimeError("No Spark task runs here. Call this from a function that mapInArrow runs.")
    return task
