"""The Spark session of a job: local by default, the cluster's under spark-submit; its progress and its errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipeline.console import Meter
from pipeline.errors import ConfigError, DataError, InfrastructureError, LonghaulError
from pipeline.prepare.java import start_options

# What a result may not depend on is fixed here, for every cluster.
FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "true",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.csv.parser.columnPruning.enabled": "false",  # else ragged rows pass when few columns are selected
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # day=01 is text
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "true",
}
LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.memory": "1g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.files.openCostInBytes": "65536",  # small files share tasks
}
UNKNOWN_BYTES = 1 << 40  # taken for much
DATA_CONDITIONS = (
    "CANNOT_MERGE",
    "CANNOT_READ",
    "DATATYPE_MISMATCH",
    "FAILED_MERGE",
    "FAILED_READ_FILE",
    "MALFORMED",
    "UNABLE_TO_INFER_SCHEMA",
)


@contextmanager
def session_for(
    given: SparkSession | None, name: str, *, num_bytes: int = UNKNOWN_BYTES, meanwhile: Callable[[], None] | None = None
) -> Iterator[SparkSession]:
    """The given session, left running; if there is none, one of its own as `spark_session` makes it.

    Raises:
        LonghaulError: whatever Spark raised inside, as data or infrastructure.
    """
    if given is None:
        with spark_session(name, num_bytes=num_bytes, meanwhile=meanwhile) as spark:
            yield spark
    else:
        with translated():
            yield given


@contextmanager
def spark_session(name: str, *, num_bytes: int = UNKNOWN_BYTES, meanwhile: Callable[[], None] | None = None) -> Iterator[SparkSession]:
    """A session for one job, stopped with its JVM at the end.

    Args:
        name: shown in Spark's user interface.
        num_bytes: of the source; a local Java is tuned for it.
        meanwhile: done while Java starts.

    Raises:
        LonghaulError: whatever Spark raised inside, as data or infrastructure.
    """
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # or Spark's workers take the system's Python
    builder = SparkSession.builder.appName(name)
    local = {} if is_submitted else {**LOCAL, "spark.driver.extraJavaOptions": start_options(num_bytes)}
    for key, value in {**local, **FIXED}.items():
        builder = builder.config(key, value)
    try:
        spark = start(builder, meanwhile)
    except Exception as error:  # no Java, a wrong one, or no cluster
        raise InfrastructureError(f"Spark did not start: {first_line(error)}. Run `pipeline doctor`.") from error
    try:
        with translated():
            yield spark
    finally:
        stop(spark, is_submitted)


def start(builder: SparkSession.Builder, meanwhile: Callable[[], None] | None = None) -> SparkSession:
    """In a thread of its own: a SparkContext made in the main one takes Ctrl-C over, and its jobs look like failed ones."""
    with ThreadPoolExecutor(max_workers=1) as starter:
        started = starter.submit(builder.getOrCreate)
        if meanwhile:
            meanwhile()
        return started.result()


@contextmanager
def translated() -> Iterator[None]:
    """What Spark raises inside the block, as data or infrastructure errors."""
    try:
        yield
    except LonghaulError:
        raise
    except Exception as error:
        raise translate(error) from error


def stop(spark: SparkSession, is_submitted: bool, timeout_s: float = 30) -> None:
    """Stop the session; where this process started the JVM, end that too, so that training has its memory."""
    with suppress(Exception):  # a JVM that died has told its error already
        spark.stop()
    gateway = SparkContext._gateway
    if is_submitted or gateway is None:
        return
    with suppress(Exception):
        gateway.shutdown()
    gateway.proc.stdin.close()  # which ends it
    try:
        gateway.proc.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
    SparkContext._gateway = SparkContext._jvm = None


@contextmanager
def shown(spark: SparkSession, meter: Meter, note: str) -> Iterator[None]:
    """Report the finished tasks of the running Spark stages while the block runs."""
    done = threading.Event()
    thread = threading.Thread(target=_poll, args=(spark, meter, note, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _poll(spark: SparkSession, meter: Meter, note: str, done: threading.Event) -> None:
    tracker = spark.sparkContext.statusTracker()
    while not done.wait(0.5):
        infos = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage))]
        tasks = sum(info.numTasks for info in infos)
        finished = sum(info.numCompletedTasks for info in infos)
        meter(finished, f"{note}: {finished} of {tasks} tasks" if tasks else note)


def translate(error: Exception) -> LonghaulError:
    """What Spark raised -> data or infrastructure, with the line that matters."""
    text = str(error)
    if own := re.search(r"pipeline\.errors\.(DataError|ConfigError): (.+)", text):
        kind = DataError if own[1] == "DataError" else ConfigError
        return kind(own[2])
    condition = (error.getCondition() or "") if isinstance(error, PySparkException) else ""
    damaged = re.search(r"(?:is not a Parquet file|Could not read footer for file|Encountered error while reading file)[^\n]*", text)
    if damaged or condition.startswith(DATA_CONDITIONS):
        files = " ".join(dict.fromkeys(re.findall(r"file:/[^\s,]+?\.\w+", text)))
        found = f"{damaged[0] if damaged else first_line(error)} {files}".rstrip()
        return DataError(f"Spark cannot read the source: {found}. Replace or remove the file.")
    if "No space left on device" in text:
        return InfrastructureError(
            "The disk is full: under --root, or where Spark keeps its scratch files (SPARK_LOCAL_DIRS). Nothing was published. "
            "Free some space (`df -h`), then run the same command again."
        )
    return InfrastructureError(f"The Spark job failed: {first_line(error)}. The whole trace is in the log.")


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:400]
