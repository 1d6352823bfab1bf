"""Staged rows -> prepared Parquet files of one row group, one Spark task a file, written by the tasks themselves.

A file's name and rows are planned before, and its bytes follow from its rows, so a retried or speculative task writes the same file
again, and each writes aside and renames: whichever is last changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from pipeline.prepare.interactions import pack as interactions
from pipeline.prepare.layout import FilePlan
from pipeline.prepare.pack import Packing, pack
from pipeline.prepare.staging import read_staged
from pipeline.prepare.tasks import ArrowFunction, current_task, in_worker
from pipeline.prepare.windows import prepared as windows
from pipeline.schema import LABEL, LABEL_SHIFT, SAMPLE_ID, WEIGHT, SplitName

AnyPacking = Packing | windows.WindowPacking | interactions.InteractionPacking

WRITTEN_SCHEMA = "path string, rows long"


def write_files(spark: SparkSession, plans: Sequence[FilePlan], packing: AnyPacking, *, work: Path, files: Path) -> dict[str, int]:
    """Write every planned file. One Spark job.

    Args:
        spark: the session.
        plans: what goes into which file.
        packing: how rows become tensors.
        work, files: folders that all workers see under these paths.

    Returns:
        Rows of each file, by its path relative to `files`.
    """
    numbers = spark.range(0, len(plans), 1, len(plans))
    written = numbers.mapInArrow(in_worker(writer(plans, packing, str(work), str(files))), WRITTEN_SCHEMA).collect()
    return {row["path"]: row["rows"] for row in written}


def writer(plans: Sequence[FilePlan], packing: AnyPacking, work: str, files: str) -> ArrowFunction:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = current_task()
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            plan = plans[number]
            parts = [read_staged(Path(work), plan.split, partition).slice(start, stop - start) for partition, start, stop in plan.parts]
            rows = pa.concat_tables(parts)
            table = pack_any(rows, plan.split, packing)
            write_table(table, Path(files) / plan.path, Path(work), task.taskAttemptId(), packing.tensor.name)
            yield pa.RecordBatch.from_pylist([{"path": plan.path, "rows": table.num_rows}])

    return write


def pack_any(rows: pa.Table, split: SplitName, packing: AnyPacking) -> pa.Table:
    if isinstance(packing, interactions.InteractionPacking):
        return interactions.pack(rows, split, packing)
    return windows.pack(rows, split, packing) if isinstance(packing, windows.WindowPacking) else pack(rows, split, packing)


def write_table(table: pa.Table, path: Path, work: Path, attempt: int, tensor: str) -> None:
    options = {
        "row_group_size": table.num_rows,
        "compression": "snappy",
        "use_dictionary": [name for name in table.column_names if name not in (SAMPLE_ID, LABEL, WEIGHT, LABEL_SHIFT, tensor)],
        "write_statistics": [name for name in table.column_names if not pa.types.is_binary(table.schema.field(name).type)],
    }
    write_aside(path, work, attempt, lambda draft: pq.write_table(table, draft, **options))


def write_aside(path: Path, work: Path, attempt: int, write: Callable[[Path], None]) -> None:
    """A task's file under a name of its own in `work` first, then renamed: a retried or speculative twin writes the same bytes again.

    A twin that Spark has killed may write on after the job has ended: nothing half written is ever among the result's files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = work / f".{path.name}.{attempt}"
    write(draft)
    os.replace(draft, path)
