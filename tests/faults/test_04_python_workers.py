"""Spark's Python workers die while they decode: the job says so with 4, publishes nothing, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import PIPELINE, PROJECT
from tests.e2e.test_stopping import descendants, is_running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def workers(pid: int) -> list[int]:
    """Of a command's Python workers those that are at work: children of the process that forks them."""
    found = []
    for child in descendants(pid):
        with suppress(OSError):
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            if all(b"pyspark.daemon" in Path(f"/proc/{process}/cmdline").read_bytes() for process in (child, parent)):
                found.append(child)
    return found


def test_workers_that_die_again_and_again_end_the_job_with_4_and_nothing_is_published(tmp_path):
    command = [PIPELINE, "prepare", PROJECT / "conf" / "digits.yaml", "--root", tmp_path]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed, seen, deadline = 0, set(), time.monotonic() + 300
    while process.poll() is None:
        assert time.monotonic() < deadline
        seen |= descendants(process.pid)
        for worker in workers(process.pid):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        time.sleep(0.02)
    _, errors = process.communicate()
    assert killed and process.returncode == 4, errors
    assert "infrastructure error: The Spark job failed" in errors and "Traceback" not in errors
    assert not list(tmp_path.rglob("manifest.json"))
    until = time.monotonic() + 15
    while alive := [pid for pid in seen if is_running(pid)]:
        assert time.monotonic() < until, alive
        time.sleep(0.1)
