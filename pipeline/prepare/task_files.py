"""What tasks write while rows are staged: each into a folder of its own, and only the folders of tasks that Spark counts are taken.

    <work>/tasks/<partition>-<attempt>/<split>/<partition>.arrow         -> <work>/<split>/<partition>.arrow
    <work>/tasks/<partition>-<attempt>/quarantine/part-NNNNN.parquet     -> <files>/quarantine/part-NNNNN.parquet

A second copy of a task that Spark kills may be given the end of its input early, and then stages fewer rows without knowing it. So it is
not enough that files are renamed when they are whole: the name of the task travels with what it counted, which Spark hands to the
driver once for each partition.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame

from pipeline.prepare.sketching import collect_merged
from pipeline.prepare.tally import Tally, load_tally, merge_tallies

QUARANTINE = "quarantine"


def quarantine_path(partition: int) -> str:
    return f"{QUARANTINE}/part-{partition:05d}.parquet"


def begin_folder(work: Path, task: TaskContext, tally: Tally) -> Path:
    """The running task's own folder; the tally says whose it is."""
    name = f"{task.partitionId():05d}-{task.taskAttemptId()}"
    tally.writers[str(task.partitionId())] = name
    folder = work / "tasks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_arrow(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def collect_tally(states: DataFrame, num_partitions: int, *, work: Path, files: Path) -> Tally:
    """Stage every partition, and take what the tasks wrote that were counted. One Spark job.

    Args:
        states: dumped tallies, one of each partition.
        num_partitions: of the arrangement.
        work, files: folders that all workers see under these paths.
    """
    work.mkdir(parents=True, exist_ok=True)
    tally = load_tally(collect_merged(states, num_partitions, merge_tallies))
    for name in tally.writers.values():
        take_files(work / "tasks" / name, work, files)
    return tally


def take_files(folder: Path, work: Path, files: Path) -> None:
    for path in sorted(folder.rglob("*.*")):
        place = path.relative_to(folder)
        target = (files if place.parts[0] == QUARANTINE else work) / place
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
