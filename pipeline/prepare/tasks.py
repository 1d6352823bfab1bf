"""Code that Spark runs in its Python workers: its type, the task it runs in, and a worker that tasks begin in at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from zipimport import zipimporter

import pyarrow as pa
from pyspark import TaskContext

ArrowFunction = Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]  # what mapInArrow takes: one partition's batches


def in_worker(function: ArrowFunction) -> ArrowFunction:
    """For `mapInArrow`: the same function, in a worker that spends nothing between tasks on what stays as it is."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        settle()
        return function(batches)

    return run


def settle() -> None:
    """Spare this worker a third of a second before its next task; without it small tasks take longer to begin than to do.

    Before every task PySpark invalidates the caches of imports, for which Python 3.11 reads the directory of pyspark.zip once for each
    package that was loaded from it; a cache without such entries fills again when something is imported. After every task it collects
    garbage: modules are no garbage, and what is frozen is not looked at.
    """
    for path in [path for path, finder in sys.path_importer_cache.items() if isinstance(finder, zipimporter)]:
        del sys.path_importer_cache[path]
    if len(sys.modules) != _settled["modules"]:
        gc.freeze()
        _settled["modules"] = len(sys.modules)


_settled = {"modules": 0}  # that were loaded at the last freeze


def current_task() -> TaskContext:
    """The running task. Raises RuntimeError outside of one: the driver has none."""
    task = TaskContext.get()
    if task is None:
        raise RuntimeError("No Spark task runs here. Call this from a function that mapInArrow runs.")
    return task
