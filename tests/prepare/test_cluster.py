"""The prepare stage by spark-submit on a real standalone cluster: the content of local mode, byte for byte, whatever dies.

Master and workers authenticate as docs/spark.md tells, and every job but one is submitted with a profile of conf/spark.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
import yaml

from pipeline.attempt import read_published
from tests.conftest import PROJECT, FinishedRun, pipeline

pytestmark = pytest.mark.e2e

SPARK = Path(pyspark.__file__).parent
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
PROFILES = PROJECT / "conf" / "spark"
# Of the daemons; the profile says the same.
CRYPTO = {"enabled": "true", "authEngineVersion": "2", "saslFallback": "false"}
AUTHENTICATED = {"authenticate": "true", **{f"network.crypto.{key}": value for key, value in CRYPTO.items()}}

# What a worker of one core and 1 GiB has room for; the profile's sizes are for real ones.
SMALL = {"executor.memory": "512m", "executor.cores": "1", "driver.host": "127.0.0.1", "driver.bindAddress": "127.0.0.1"}
# A second copy of every task that still runs when the other core has nothing to do.
EAGER = {"quantile": "0", "multiplier": "0.1", "minTaskRuntime": "1ms", "interval": "10ms", "efficiency.enabled": "false"}
NUM_ROWS = 300_000


@dataclass(frozen=True)
class Cluster:
    """A master and two workers of one core on loopback."""

    url: str
    environment: dict[str, str]  # of who may use it: the secret is in it
    workers: tuple[subprocess.Popen[bytes], ...]

    def executors(self) -> dict[int, psutil.Process]:
        """Processes that run tasks, by their id: children of our own workers, so never another cluster's."""
        children = [child for worker in self.workers for child in psutil.Process(worker.pid).children()]
        return {child.pid: child for child in children if is_executor(child)}


def is_executor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has ended meanwhile
        return "CoarseGrainedExecutorBackend" in " ".join(process.cmdline())
    return False


@dataclass(frozen=True)
class Job:
    """A prepare command under spark-submit, running or ended."""

    process: subprocess.Popen[str]
    root: Path
    folder: Path  # of what it prints, and of Spark's own record of it

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def result(self) -> dict[str, Any]:
        """What `--json` printed, once it has ended with 0; before it stands what is for people, as spark-submit joins the two."""
        code = self.process.wait(timeout=500)
        assert code == 0, f"{self.printed('out')[-2000:]}\n{self.printed('err')[-3000:]}"
        return json.loads(self.printed("out").splitlines()[-1])

    def printed(self, name: str) -> str:
        return (self.folder / name).read_text()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Spark's record of the job, in the order of what happened."""
        lines = next((self.folder / "events").glob("*")).read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["Event"] == f"SparkListener{kind}"]


def start(log: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([SPARK / "bin" / "spark-class", *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT)


def wait_for(what: Callable[[], Any], says: Callable[[], str], timeout_s: float = 120, pause_s: float = 0.1) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, says()
        time.sleep(pause_s)
    return found


def wait_for_line(log: Path, text: str, times: int = 1) -> str:
    wait_for(lambda: log.read_text().count(text) >= times, log.read_text)
    return next(line for line in log.read_text().splitlines() if text in line)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    options = " ".join(f"-Dspark.{key}={value}" for key, value in AUTHENTICATED.items())
    environment = {**os.environ, "SPARK_HOME": str(SPARK), "PYSPARK_PYTHON": sys.executable, "_SPARK_AUTH_SECRET": secrets.token_hex(16)}
    daemon = {**environment, "SPARK_NO_DAEMONIZE": "1", "SPARK_DAEMON_JAVA_OPTS": options}
    ports = ("--port", "0", "--webui-port", "0")
    processes = [start(folder / "master.log", daemon, MASTER, "--host", "127.0.0.1", *ports)]
    try:
        url = "spark://" + wait_for_line(folder / "master.log", "Starting Spark master at spark://").rpartition("spark://")[2].strip()
        for index in range(2):
            limits = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{index}"))
            host = ("--host", f"127.0.0.{index + 1}")  # a second copy of a task goes to another host only
            processes.append(start(folder / f"worker{index}.log", daemon, WORKER, *host, *ports, *limits, url))
        wait_for_line(folder / "master.log", "Registering worker", times=2)
        yield Cluster(url, environment, tuple(processes[1:]))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


@contextmanager
def submitted(recipe: Path, folder: Path, profile: str, environment: dict[str, str], **conf: str) -> Iterator[Job]:
    """`spark-submit … prepare RECIPE` in a process of its own, ended with the block."""
    (folder / "events").mkdir(parents=True)
    recorded = {"eventLog.enabled": "true", "eventLog.dir": f"file://{folder / 'events'}", "eventLog.compress": "false"}
    settings = {**conf, **recorded, "eventLog.rolling.enabled": "false"}
    command = [
        SPARK / "bin" / "spark-submit", "--properties-file", PROFILES / f"{profile}.conf",
        *(part for key, value in settings.items() for part in ("--conf", f"spark.{key}={value}")),
        PROJECT / "scripts" / "submit.py", "prepare", recipe, "--root", folder / "runs", "--json",
    ]  # fmt: skip
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True)
    try:
        yield Job(process, folder / "runs", folder)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)


@dataclass(frozen=True)
class Table:
    """A recipe over rows that keep two cores busy for a while, and the content that local mode makes of it."""

    recipe: Path
    content_digest: str


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("table")
    write_rows(folder / "rows.parquet", NUM_ROWS)
    numbers = {f"x{index}": {"kind": "number"} for index in range(10)}
    recipe = {
        "name": "busy",
        "source": {"format": "parquet", "path": str(folder / "rows.parquet")},
        "columns": {**numbers, "colour": {"kind": "category"}, "label": {"kind": "category", "role": "label"}},
        "clean": {"max_dropped": 0.05, "rules": ["drop_duplicates", {"keep_range": {"column": "x1", "min": -2.5, "max": 2.5}}]},
        "prepare": {"min_files": 2},  # large ones, so that a kill while one is written finds it half-written
        "model": {"name": "mlp"},
        "register": {"name": "busy"},
    }
    (folder / "busy.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    local = pipeline("prepare", folder / "busy.yaml", "--json", root=folder / "runs")
    assert local.code == 0, local.err
    return Table(folder / "busy.yaml", json.loads(local.out.splitlines()[-1])["content_digest"])


def write_rows(path: Path, num_rows: int) -> None:
    """Ten numbers, a colour and a label a row, one row in fifty twice; 16 row groups, so that reading is many tasks too."""
    random = np.random.default_rng(7)
    columns: dict[str, Any] = {f"x{index}": random.normal(size=num_rows).round(6) for index in range(10)}
    columns["colour"] = np.array(["black", "blue", "green", "red"])[random.integers(0, 4, num_rows)]
    columns["label"] = np.array(["no", "yes"])[(columns["x0"] + random.normal(size=num_rows) > 0).astype(int)]
    rows = pa.table(columns)
    pq.write_table(pa.concat_tables([rows, rows.slice(0, num_rows // 50)]), path, row_group_size=num_rows // 16)


def assert_published_alone(folder: Path) -> None:
    """The manifest's files, each whole, and nothing else: no leftover of a task that was killed or came second."""
    manifest = read_published(folder)
    assert manifest is not None
    there = {path.relative_to(folder / manifest.attempt).as_posix() for path in (folder / manifest.attempt).rglob("*") if path.is_file()}
    assert there == {entry.path for entry in manifest.files}


@pytest.mark.parametrize("recipe", ["iris", pytest.param("digits", marks=pytest.mark.slow)])
def test_a_cluster_writes_what_local_mode_writes(request, cluster, tmp_path, recipe):
    local: FinishedRun = request.getfixturevalue(f"{recipe}_run")
    expected = read_published(local.run.stage("prepare"))
    assert expected is not None
    with submitted(local.path, tmp_path / "job", "standalone", cluster.environment, master=cluster.url, **SMALL) as job:
        record = job.result()
    assert record["content_digest"] == expected.content_digest
    assert record["reused_from"] is None and record["run_id"] == expected.run_id
    assert len(job.events("ExecutorAdded")) == 2
    assert_published_alone(Path(record["folder"]))


@pytest.mark.slow
def test_the_local_profile_is_local_mode(iris_run, tmp_path):
    expected = read_published(iris_run.run.stage("prepare"))
    environment = {**os.environ, "SPARK_HOME": str(SPARK), "PYSPARK_PYTHON": sys.executable}
    with submitted(iris_run.path, tmp_path / "job", "local", environment) as job:
        assert job.result()["content_digest"] == expected.content_digest


def num_tasks(executor: psutil.Process) -> int:
    """Tasks that an executor has begun, by its own log in its working directory."""
    with suppress(psutil.Error, OSError):
        return (Path(executor.cwd()) / "stderr").read_text().count("Running task")
    return 0


def while_running(job: Job, what: Callable[[], Any], pause_s: float = 0.1) -> Any:
    """What is waited for, which must come before the job ends."""

    def still() -> Any:
        assert job.is_running, "The job has ended: " + job.printed("err")[-3000:]
        return what()

    return wait_for(still, lambda: job.printed("err")[-3000:], timeout_s=400, pause_s=pause_s)


def kill(executors: Iterable[psutil.Process]) -> None:
    """SIGKILL for executors and their Python workers, at once, as where a machine is lost or a container is too big."""
    for executor in executors:
        with suppress(psutil.Error):
            for process in (executor, *executor.children(recursive=True)):
                process.kill()


def written_files(job: Job) -> list[Path]:
    """Prepared files, finished or being written."""
    return list(job.root.glob("*/*/prepare/attempt-*/files/data/*/*part-*"))


@pytest.mark.slow
def test_executors_killed_at_work_change_nothing(cluster, table, tmp_path):
    with submitted(table.recipe, tmp_path / "job", "standalone", cluster.environment, master=cluster.url, **SMALL) as job:
        first = while_running(job, lambda: len(found := cluster.executors()) == 2 and found)
        one = while_running(job, lambda: next((executor for executor in first.values() if num_tasks(executor) >= 2), None))
        kill([one])
        while_running(job, lambda: set(cluster.executors()) - set(first))  # another took its place
        while_running(job, lambda: written_files(job), pause_s=0.005)
        kill(cluster.executors().values())
        assert job.is_running
        record = job.result()
    assert record["content_digest"] == table.content_digest
    assert_published_alone(Path(record["folder"]))
    assert len(job.events("ExecutorRemoved")) >= 3
    assert any(event["Task End Reason"]["Reason"] == "ExecutorLostFailure" for event in job.events("TaskEnd"))


@pytest.mark.slow
def test_second_copies_of_tasks_change_nothing(cluster, table, tmp_path):
    eager = {f"speculation.{key}": value for key, value in EAGER.items()}
    with submitted(table.recipe, tmp_path / "job", "standalone", cluster.environment, master=cluster.url, **SMALL, **eager) as job:
        record = job.result()
    assert record["content_digest"] == table.content_digest
    assert_published_alone(Path(record["folder"]))
    assert [event for event in job.events("TaskStart") if event["Task Info"]["Speculative"]]


@pytest.mark.slow  # Spark asks the master three times, 20 s each
def test_who_does_not_know_the_secret_runs_nothing(cluster, iris_run, tmp_path):
    stranger = {key: value for key, value in cluster.environment.items() if key != "_SPARK_AUTH_SECRET"}
    with submitted(iris_run.path, tmp_path / "job", "standalone", stranger, master=cluster.url, **SMALL) as job:
        assert job.process.wait(timeout=300) == 4
    assert "Spark did not start" in job.printed("out") and not list(job.root.rglob("manifest.json"))
