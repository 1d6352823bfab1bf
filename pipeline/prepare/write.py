"""One Parquet file of one row group for each partition and split, written by the tasks themselves.

A file's name depends on the partition alone and its bytes on the rows alone, so a retried or speculative task writes the same file
again, and each writes aside and renames: whichever is last changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from pipeline.prepare.pack import Packing, pack
from pipeline.prepare.read import KEY, RAW, REASON, RULE
from pipeline.prepare.split import SPLIT
from pipeline.prepare.tasks import ArrowFunction, current_task
from pipeline.schema import LABEL, SAMPLE_ID, SPLITS, WEIGHT

WRITTEN_SCHEMA = "path string, rows long"


def write_files(rows: DataFrame, folder: Path, packing: Packing) -> dict[str, int]:
    """Write every partition of `rows`, already in their final partitions and order. One Spark job.

    Args:
        rows: kept and dropped rows; `split` is null for dropped ones, which go to quarantine/.
        folder: must be seen by all workers under this path.

    Returns:
        Rows of each file, by its path relative to `folder`.
    """
    written = rows.mapInArrow(writer(str(folder), packing), WRITTEN_SCHEMA).collect()
    for leftover in folder.rglob(".part-*"):  # of tasks that were killed
        leftover.unlink(missing_ok=True)
    return {row["path"]: row["rows"] for row in written}


def writer(folder: str, packing: Packing) -> ArrowFunction:
    def write_partition(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = current_task()
        received = list(batches)
        if not received:
            return
        rows = pa.Table.from_batches(received)
        name = f"part-{task.partitionId():05d}.parquet"
        files = {f"data/{split}/{name}": pack(rows_of(rows, split), split, packing) for split in SPLITS}
        files[f"quarantine/{name}"] = quarantined(rows)
        for path, table in files.items():
            if table.num_rows:
                write_table(table, Path(folder) / path, task.taskAttemptId(), packing.tensor.name)
                yield pa.RecordBatch.from_pylist([{"path": path, "rows": table.num_rows}])

    return write_partition


def rows_of(rows: pa.Table, split: str) -> pa.Table:
    return rows.filter(pa.compute.equal(rows[SPLIT], split))


def quarantined(rows: pa.Table) -> pa.Table:
    dropped = rows.filter(pa.compute.is_null(rows[SPLIT]))
    return pa.table({"key": dropped[KEY], "rule": dropped[RULE], "reason": dropped[REASON], "raw": dropped[RAW]})


def write_table(table: pa.Table, path: Path, task_attempt: int, tensor: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{task_attempt}")
    pq.write_table(
        table,
        draft,
        row_group_size=table.num_rows,
        compression="snappy",
        use_dictionary=[name for name in table.column_names if name not in (SAMPLE_ID, LABEL, WEIGHT, tensor)],
        write_statistics=[name for name in table.column_names if name != tensor],
    )
    os.replace(draft, path)
