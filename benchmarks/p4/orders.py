"""What the driver and its workers say to each other: lines of JSON over a socket of this machine. Standard library only: peers run it too.

A worker is one rank of a pair. It pins itself to its core before it loads anything, so all threads of all its libraries stay there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

PAIR, CORE, ADDRESS, MODEL, ROWS = "P4_PAIR", "P4_CORE", "P4_ADDRESS", "P4_MODEL", "P4_ROWS"
ALONE, TOGETHER = "alone", "together"


@dataclass(frozen=True)
class Segment:
    """Some steps of a worker."""

    steps: int
    wall_s: float
    cpu_s: float
    switches: int  # context switches of all threads


class Clock:
    """Time, CPU seconds and context switches of this process since `start`."""

    def start(self) -> None:
        self.began = (time.perf_counter(), time.process_time(), switches())

    def stop(self, steps: int) -> Segment:
        wall_s, cpu_s, count = self.began
        return Segment(steps, time.perf_counter() - wall_s, time.process_time() - cpu_s, switches() - count)


def timed(step: Callable[[], Any]) -> Callable[[int], Segment]:
    """The order `steps` of a side whose loop is plain Python; one step before the clock starts, so that both ranks begin together."""

    def run(steps: int) -> Segment:
        step()
        clock = Clock()
        clock.start()
        for _ in range(steps):
            step()
        return clock.stop(steps)

    return run


def switches() -> int:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_nvcsw + used.ru_nivcsw


def pin() -> None:
    """This process and every thread that it will start, to the core that the driver named, if it named one."""
    if core := os.environ.get(CORE):
        os.sched_setaffinity(0, {int(core)})


def is_alone() -> bool:
    return os.environ[PAIR] == ALONE


def obey(rank: int, orders: dict[str, Callable[[int], Any]], weights: Callable[[], Iterable[Any]], **versions: str) -> None:
    """Do what the driver says until it says end.

    Args:
        rank: of the pair, 0 or 1.
        orders: `steps` takes a number of steps and gives their Segment; our own side also knows `reduce`, of so many bytes, in seconds.
        weights: gives numpy arrays.
        versions: of what this worker runs on.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[ADDRESS])
    lines = connection.makefile("rw")

    def say(record: dict[str, Any]) -> None:
        lines.write(json.dumps(record) + "\n")
        lines.flush()

    versions = {"python": platform.python_version(), **versions}
    say({"pair": os.environ[PAIR], "rank": rank, "pid": os.getpid(), "cores": sorted(os.sched_getaffinity(0)), "versions": versions})
    for line in lines:
        name, count = json.loads(line)
        if name == "end":
            break
        found = digest(weights()) if name == "weights" else orders[name](count)
        say(asdict(found) if isinstance(found, Segment) else found)


def digest(arrays: Iterable[Any]) -> dict[str, Any]:
    """Of the weights: what two ranks that trained together must agree on, to the bit."""
    found, count = hashlib.sha256(), 0
    for array in arrays:
        found.update(array.tobytes())
        count += array.size
    return {"digest": found.hexdigest(), "parameters": count}
