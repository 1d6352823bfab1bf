"""What this process is doing, for its heartbeat: written by whoever does it, read by another thread. Loads no library."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

Phase = Literal["start", "read", "compute", "reduce", "checkpoint", "evaluate"]


@dataclass
class Progress:
    """Single assignments, so that no lock is needed. What runs inside a TensorFlow graph is asked for by the functions."""

    phase: Phase = "start"  # as far as Python knows
    epoch: int = 0  # from 1; 0 before the first
    step: int = 0  # of the whole training, done
    file: str = ""  # the prepared file that is read, or was read last
    moves: int = 0  # grows with anything that gets on
    timed_steps: int = 0  # that the next two are about
    own_s: float = 0.0  # spent in steps, outside of sums over ranks
    wait_s: float = 0.0  # spent in sums over ranks, waiting for others included
    asking: int = 0  # how many now wait for rows to be read
    in_reduce: Callable[[], bool] = lambda: False  # whether a sum over ranks was begun that has not ended
    num_reduces: Callable[[], int] = lambda: 0  # sums over ranks begun

    def current_phase(self) -> Phase:
        """Python's phase, refined within a step by what the graph says."""
        if self.phase == "evaluate" and self.asking:
            return "read"
        if self.phase != "compute":
            return self.phase
        return "reduce" if self.in_reduce() else "read" if self.asking else "compute"


NOW = Progress()
_LOCK = threading.Lock()


@contextmanager
def during(phase: Phase) -> Iterator[None]:
    """The process is in this phase while the block runs."""
    before, NOW.phase = NOW.phase, phase
    NOW.moves += 1
    try:
        yield
    finally:
        NOW.phase = before
        NOW.moves += 1


@contextmanager
def asking_for_rows() -> Iterator[None]:
    """Somebody waits for rows while the block runs; several threads may."""
    with _LOCK:
        NOW.asking += 1
    try:
        yield
    finally:
        with _LOCK:
            NOW.asking -= 1


def process_age_s() -> float:
    """Seconds since this process was started, its interpreter's own start included (Linux; to a hundredth)."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
