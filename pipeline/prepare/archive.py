"""Archives the classes that Spark loads, so that every later local session starts in about half of the time; see java.py.

    .venv/bin/python -m pipeline.prepare.archive

Set-up runs it. Starts a session, runs what a prepare of a table runs, and has Java write what it loaded when it ends: about
140 MB, half a minute.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.prepare.java import archive_path
from pipeline.prepare.session import FIXED, LOCAL, first_line, stop
from pipeline.prepare.tasks import in_worker

TIMEOUT_S = 600  # of Java's end, when it writes the archive


def main() -> int:
    archive = archive_path()
    archive.parent.mkdir(parents=True, exist_ok=True)
    draft = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        run(f"-XX:ArchiveClassesAtExit={draft}")
        run(f"-XX:SharedArchiveFile={draft} -Xshare:on")  # of half an archive, left by a full disk, Java dies; on: it starts with it or not
        os.replace(draft, archive)
    except Exception as error:
        draft.unlink(missing_ok=True)
        print(f"No archive of Spark's classes was made ({first_line(error)}). Sessions start as well without it, only later.")
        return 0
    print(f"{archive}: {archive.stat().st_size >> 20} MB")
    return 0


def run(option: str) -> None:
    """A session of its own Java, with one more option, that does a little of everything."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("longhaul-classes")
    for key, value in {**LOCAL, **FIXED, "spark.driver.extraJavaOptions": f"{option} -Xlog:disable"}.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    with tempfile.TemporaryDirectory() as folder:
        use(spark, Path(folder))
    stop(spark, is_submitted=False, timeout_s=TIMEOUT_S)


def use(spark: SparkSession, folder: Path) -> None:
    """Parquet and CSV, typed, hashed, shuffled, handed to Python and back."""
    table = pa.table({"number": pa.array([float(index) for index in range(1000)]), "text": pa.array(map(str, range(1000)))})
    pq.write_table(table, folder / "rows.parquet")
    (folder / "rows.csv").write_text("number,text\n" + "".join(f"{index},{index}\n" for index in range(1000)), encoding="utf-8")
    lines = spark.read.text(str(folder / "rows.csv")).select(F.from_csv("value", "number string, text string").alias("row"))
    for rows in (spark.read.parquet(str(folder / "rows.parquet")), lines.select("row.number", "row.text")):
        number = F.col("number").try_cast("double")
        place = F.xxhash64("text", F.array(number)).alias("place")
        seen = F.transform(F.array(F.to_json(F.struct("number", "text"))), lambda only: only)[0].alias("seen")
        through_python(rows.select(number.alias("number"), "text", place, seen).repartition(4, "place")).collect()


def through_python(rows: DataFrame) -> DataFrame:
    def same(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        return batches

    return rows.mapInArrow(in_worker(same), rows.schema)


if __name__ == "__main__":
    sys.exit(main())
