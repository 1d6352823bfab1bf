"""A command that is stopped while Spark works ends with 143, takes its processes along and publishes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import PIPELINE, PROJECT

pytestmark = pytest.mark.e2e


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def start(root: Path) -> subprocess.Popen[str]:
    command = [PIPELINE, "prepare", PROJECT / "conf" / "digits.yaml", "--root", root]
    process = subprocess.Popen(command, cwd=PROJECT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not any("NativeCodeLoader" in log.read_text() for log in root.glob("digits/*/prepare/attempt-*/log/spark.log")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    time.sleep(2)  # into the first Spark job
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=lambda number: number.name)
def test_a_stopped_spark_job_says_143_and_leaves_no_process_and_no_result(tmp_path, number):
    process = start(tmp_path)
    children = descendants(process.pid)
    assert children
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and f"Stopped by {number.name}" in errors and "Traceback" not in errors
    deadline = time.monotonic() + 15
    while alive := [child for child in children if is_running(child)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.slow
def test_a_killed_spark_job_leaves_an_orphan_that_the_next_one_collects(tmp_path):
    process = start(tmp_path)
    children = descendants(process.pid)
    process.kill()
    process.communicate(timeout=30)
    orphan = next(tmp_path.glob("digits/*/prepare/attempt-*"))
    deadline = time.monotonic() + 30
    while alive := [child for child in children if is_running(child)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
    done = subprocess.run(
        [PIPELINE, "prepare", PROJECT / "conf" / "digits.yaml", "--root", tmp_path],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not orphan.exists() and len(list(tmp_path.rglob("manifest.json"))) == 1
