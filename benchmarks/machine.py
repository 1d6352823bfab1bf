"""What a figure was measured on. No names of hosts or users."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from benchmarks.bench import ROOT


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str | int | float]:
    cpu = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": cores(),
        "cpu": cpu[0] if cpu else platform.machine(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "java": java(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def java() -> str:
    """First line of `java -version`, which it writes to stderr; empty without Java."""
    program = shutil.which("java")
    if program is None:
        return ""
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    return said.splitlines()[0] if said else ""


def revision() -> str:
    """Commit of the checkout, with `+` where files differ from it; empty outside of git."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run(
        [*git, "status", "--porcelain", "pipeline", "models", "benchmarks"], capture_output=True, text=True, check=False
    )
    is_changed = any(not line.endswith(".json") for line in changes.stdout.splitlines())
    return commit.stdout.strip() + ("+" if is_changed else "")
