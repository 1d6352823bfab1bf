"""The prepare stage by spark-submit on a real standalone cluster: the content of local mode, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest

from tests.conftest import PROJECT, FinishedRun

pytestmark = pytest.mark.e2e

SPARK = Path(pyspark.__file__).parent
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "SPARK_HOME": str(SPARK), "PYSPARK_PYTHON": sys.executable, "SPARK_NO_DAEMONIZE": "1"}
    with log.open("wb") as output:
        return subprocess.Popen([SPARK / "bin" / "spark-class", *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT)


def wait_for(log: Path, text: str, times: int = 1) -> str:
    deadline = time.monotonic() + 90
    while (found := log.read_text()).count(text) < times:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return next(line for line in found.splitlines() if text in line)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a master with two workers of one core, all on loopback."""
    folder = tmp_path_factory.mktemp("cluster")
    local = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
    processes = [start(folder / "master.log", MASTER, *local)]
    try:
        url = "spark://" + wait_for(folder / "master.log", "Starting Spark master at spark://").rpartition("spark://")[2].strip()
        for index in range(2):
            limits = ("--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{index}"))
            processes.append(start(folder / f"worker{index}.log", WORKER, *local, *limits, url))
        wait_for(folder / "master.log", "Registering worker", times=2)
        yield url
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


@pytest.mark.parametrize("recipe", ["iris", "digits"])
def test_a_cluster_writes_what_local_mode_writes(request, cluster, tmp_path, recipe):
    local: FinishedRun = request.getfixturevalue(f"{recipe}_run")
    command = [
        SPARK / "bin" / "spark-submit", "--master", cluster,
        "--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.driver.bindAddress=127.0.0.1", "--conf", "spark.ui.enabled=false",
        "--conf", "spark.executor.memory=512m", "--conf", "spark.executor.cores=1",
        PROJECT / "scripts" / "submit.py", "prepare", local.path, "--root", tmp_path / "runs", "--json",
    ]  # fmt: skip
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable, "SPARK_HOME": str(SPARK)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout.splitlines()[-1])
    manifest = json.loads((local.run.stage("prepare") / "manifest.json").read_text())
    folder = Path(record["folder"])
    log = next(folder.glob("attempt-*/log/spark.log")).read_text()
    assert "executor" not in log or "local[" not in log
    from pipeline.attempt import read_published

    expected = read_published(local.run.stage("prepare"))
    assert expected is not None and record["content_digest"] == expected.content_digest
    assert record["reused_from"] is None and manifest["run_id"] == record["run_id"]
