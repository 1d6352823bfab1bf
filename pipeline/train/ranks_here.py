"""Ranks as processes of this machine: started, heard, asked to stop, ended. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.train.events import EVENTS_FD, Event

PIN = "LONGHAUL_PIN"  # a variable of a world: launch.pin
# Arrow keeps the memory of one file for the next, in pages of 2 MB: pages fresh from the kernel took two thirds of the time of decoding
# images (docs/feed.md). One arena, since reading threads take turns; what is not used for some seconds goes back.
ARROW_MEMORY = {"JE_ARROW_MALLOC_CONF": "thp:always,narenas:1,dirty_decay_ms:10000,muzzy_decay_ms:10000"}
PINNED = {"HOROVOD_CYCLE_TIME": "0.2"}  # ms between two looks at what is to be summed; where computing goes first, looks cost nothing


class RanksHere:
    """Processes `python <arguments>`, one for each of `worlds`. They die with this process.

    Args:
        arguments: after the interpreter, e.g. ["-m", "pipeline.train.rank_start", "spec.json"].
        worlds: (local size,) environment variables that tell each process which rank it is; with PIN, it is kept on cores of its own.
        logs: folder for rank-0.log, rank-1.log …, by the rank's number over all hosts.

    Raises:
        ConfigError: ranks are to be pinned, and there are fewer cores than ranks.
    """

    def __init__(self, arguments: Sequence[str], worlds: Sequence[Mapping[str, str]], logs: Path) -> None:
        self.hosts = ["localhost"] * len(worlds)
        self.numbers = [int(world.get("HOROVOD_RANK", "0")) for world in worlds]
        self.processes: list[subprocess.Popen[bytes]] = []
        self._pending = b""
        shares = share_cores(len(worlds)) if any(PIN in world for world in worlds) else []
        given = ARROW_MEMORY | (PINNED if shares else {}) | os.environ | thread_limits(len(worlds))
        self._events, send = os.pipe()
        try:
            for number, world in zip(self.numbers, worlds, strict=True):
                environment = {**given, **world, EVENTS_FD: str(send)}
                with (logs / f"rank-{number}.log").open("ab") as log:
                    command = [sys.executable, *arguments]
                    self.processes.append(
                        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[send])
                    )
            for process, cores in zip(self.processes, shares, strict=False):
                os.sched_setaffinity(process.pid, cores)  # its threads, which it has yet to start, inherit it
        except BaseException:
            self.end()
            raise
        finally:
            os.close(send)

    def poll(self) -> list[int | None]:
        """Exit codes in the order of `worlds`; negative for a signal, None for a rank that runs."""
        return [process.poll() for process in self.processes]

    def receive(self, timeout_s: float) -> list[Event]:
        """What ranks have told since the last call; waits for the first of it, at most so long."""
        if self._events < 0 or not select.select([self._events], [], [], timeout_s)[0]:
            return []
        chunk = os.read(self._events, 1 << 16)
        if not chunk:  # all ranks have ended
            time.sleep(min(timeout_s, 0.05))
            return []
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def ask_to_stop(self) -> None:
        """Ranks that train save a checkpoint and end with 143; others end at once."""
        for process in self.processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """No rank is left afterwards, stopped ones included."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()
        if self._events >= 0:
            os.close(self._events)
            self._events = -1


def share_cores(size: int) -> list[list[int]]:
    """(size,) cores of each rank: neighbours, as many for each; those that this process may use.

    Raises:
        ConfigError: there are fewer cores than ranks.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < size:
        raise ConfigError(f"launch.pin: {size} ranks cannot have a core each of the {len(cores)} here. Lower train.ranks or leave pin out.")
    each = len(cores) // size
    return [cores[rank * each : (rank + 1) * each] for rank in range(size)]


def thread_limits(size: int) -> dict[str, str]:
    """Ranks share the cores; a rank that starts a thread for every core slows all others."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // size))
    return {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }
