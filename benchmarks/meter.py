"""Runs one command and measures all processes that it starts. A process of its own, so that nothing else is among its children.

    python -m benchmarks.meter RESULT.json LOG_FOLDER TIMEOUT_S COMMAND …

It is the reaper of orphans (a JVM whose parent has ended stays in the tree), and ends what is left when the command has ended.
Standard library and psutil.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

INTERVAL_S = 0.1
PSS_SHARE = 0.03  # of one core, which reading PSS may take: the kernel walks every page table
LEFTOVERS_S = 20.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TIMED_OUT = 124


def main() -> int:
    result, logs, timeout_s, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        measured = run(command, Path(logs), float(timeout_s))
    finally:
        end_leftovers(grace_s=0.0)
    Path(result).write_text(json.dumps(measured))
    return 0


def run(command: list[str], logs: Path, timeout_s: float) -> dict[str, Any]:
    sampler = Sampler()
    before = machine_seconds()
    started = time.monotonic()
    with (logs / "stdout").open("wb") as out, (logs / "stderr").open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    sampler.start()
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        code = TIMED_OUT
    wall_s = time.monotonic() - started
    sampler.stop()
    after = machine_seconds()  # before the leftovers, which take no more part
    end_leftovers(0.0 if code == TIMED_OUT else LEFTOVERS_S)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    # What was waited for is counted exactly by the kernel. Spark's Python daemon ignores SIGCHLD, and then the kernel forgets
    # its workers' seconds: those are only in the samples.
    cpu_s = max(reaped.ru_utime + reaped.ru_stime, sampler.cpu_s)
    own = resource.getrusage(resource.RUSAGE_SELF)
    others_s = max(0.0, after["busy"] - before["busy"] - cpu_s - own.ru_utime - own.ru_stime)
    return {
        "code": code,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_pss_mib": sampler.peak_pss / 2**20,
        "peak_rss_mib": sampler.peak_rss / 2**20,
        "processes": len(sampler.seconds),
        "others_cores": others_s / wall_s,  # cores that everything else on the machine kept busy
        "stolen_cores": (after["stolen"] - before["stolen"]) / wall_s,  # that the hypervisor gave to others
    }


class Sampler:
    """Peaks of memory and CPU seconds of all descendants of this process."""

    def __init__(self) -> None:
        self.peak_rss = self.peak_pss = 0
        self.seconds: dict[tuple[int, float], float] = {}
        self.pss_due = 0.0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    @property
    def cpu_s(self) -> float:
        return sum(self.seconds.values())

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.done.set()
        self.thread.join()

    def loop(self) -> None:
        while not self.done.wait(INTERVAL_S):
            self.sample()

    def sample(self) -> None:
        tree = psutil.Process().children(recursive=True)
        rss = sum(self.look_at(process) for process in tree)
        self.peak_rss = max(self.peak_rss, rss)
        # PSS is never above RSS, so there is a new peak of it only when RSS is above the last one.
        if rss > self.peak_pss and time.monotonic() >= self.pss_due:
            started = time.thread_time()
            self.peak_pss = max(self.peak_pss, sum(pss_of(process.pid) for process in tree))
            self.pss_due = time.monotonic() + (time.thread_time() - started) / PSS_SHARE

    def look_at(self, process: psutil.Process) -> int:
        """Resident bytes; the process's seconds are noted."""
        with suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            self.seconds[process.pid, process.create_time()] = times.user + times.system
            return int(process.memory_info().rss)
        return 0


def pss_of(pid: int) -> int:
    """Bytes, shared pages in parts; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def machine_seconds() -> dict[str, float]:
    """CPU seconds of the whole machine since it started."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    tick = os.sysconf("SC_CLK_TCK")
    return {"busy": (user + nice + system + irq + softirq) / tick, "stolen": steal / tick}


def end_leftovers(grace_s: float) -> None:
    """Wait for processes that the command left, then end them; reap all."""
    deadline = time.monotonic() + grace_s
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.monotonic() >= deadline:
                for process in psutil.Process().children(recursive=True):
                    with suppress(psutil.Error):
                        process.kill()
            time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
