"""Measures one command by `meter.py`, in an environment that nothing of ours leaks into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import ROOT

# Variables of the caller that would change what a side does.
LEFT_OUT = ("PYTHON", "VIRTUAL_ENV", "CONDA", "LONGHAUL", "SPARK", "PYSPARK", "POLARS", "OMP_", "UV_", "JAVA_TOOL", "_JAVA")
FIGURES = ("wall_s", "cpu_s", "peak_pss_mib", "peak_rss_mib", "others_cores", "stolen_cores")


class SideFailed(Exception):
    """A side did not end well; the message has the last lines that it wrote."""


def measure(command: Sequence[str | Path], logs: Path, timeout_s: float, variables: Mapping[str, str]) -> dict[str, float]:
    """Run a command in the project's folder; its figures.

    Args:
        command: argument list.
        logs: an existing folder, for `stdout`, `stderr` and `meter.json`.
        timeout_s: after which its processes are ended.
        variables: added to the environment.

    Returns:
        FIGURES: wall and CPU seconds, and peaks of memory, of the command and everything that it started.

    Raises:
        SideFailed: it ended with another code than 0, or not in time.
    """
    result = logs / "meter.json"
    result.unlink(missing_ok=True)
    meter = [sys.executable, "-m", "benchmarks.meter", result, logs, f"{timeout_s:g}", *command]
    subprocess.run([str(part) for part in meter], cwd=ROOT, env={**environment(os.environ), **variables}, check=True)
    measured: dict[str, Any] = json.loads(result.read_text())
    if measured["code"]:
        raise SideFailed(f"{' '.join(map(str, command))}\nended with code {measured['code']}\n{tail(logs / 'stderr')}\nlogs: {logs}")
    return {name: round(measured[name], 3) for name in FIGURES}


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not name.startswith(LEFT_OUT)}


def tail(path: Path, num_lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-num_lines:])
