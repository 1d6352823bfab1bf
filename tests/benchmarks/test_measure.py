"""The meter, on real process trees."""

from __future__ import annotations

import sys
import textwrap

import pytest

from benchmarks.measure import SideFailed, environment, measure

BUSY_CHILD = """
import subprocess, sys, time
burn = "import time; held = bytearray(60 << 20); end = time.process_time() + 0.6\\nwhile time.process_time() < end: pass"
sys.exit(subprocess.run([sys.executable, "-c", burn]).returncode)
"""
# Leaves a process behind that no one waits for, and whose parent ignores its end as Spark's Python daemon does.
FORGOTTEN_CHILD = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    end = time.process_time() + 0.6
    while time.process_time() < end:
        pass
    os._exit(0)
time.sleep(0.2)
"""


def run(code: str, tmp_path, timeout_s: float = 60, **variables: str) -> dict[str, float]:
    return measure([sys.executable, "-c", textwrap.dedent(code)], tmp_path, timeout_s, variables)


def test_memory_and_seconds_of_grandchildren_count(tmp_path):
    found = run(BUSY_CHILD, tmp_path)
    assert found["cpu_s"] >= 0.6
    assert found["wall_s"] >= 0.6
    assert 60 <= found["peak_pss_mib"] <= found["peak_rss_mib"]


def test_what_outlives_the_command_counts_too(tmp_path):
    found = run(FORGOTTEN_CHILD, tmp_path)
    assert found["cpu_s"] >= 0.6
    assert found["wall_s"] < found["cpu_s"] + 5


def test_a_command_that_fails_shows_its_last_lines(tmp_path):
    with pytest.raises(SideFailed, match="(?s)code 3.*what went wrong"):
        run("import sys; print('what went wrong', file=sys.stderr); sys.exit(3)", tmp_path)


def test_a_command_that_hangs_is_ended(tmp_path):
    with pytest.raises(SideFailed, match="code 124"):
        run("import time; time.sleep(60)", tmp_path, timeout_s=0.3)


def test_variables_that_would_change_a_side_stay_outside():
    assert environment({"PATH": "/bin", "PYTHONPATH": "/x", "SPARK_HOME": "/s", "VIRTUAL_ENV": "/v", "HOME": "/h"}) == {
        "PATH": "/bin",
        "HOME": "/h",
    }
