"""A rank's signs of life, and its ear for being told to stop. Threads that go on while TensorFlow computes. Imports no TensorFlow."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.errors import Interrupted
from pipeline.progress import NOW

BEAT_S = 1.0
STOP_GRACE_S = 25.0  # for a checkpoint; Slurm and Kubernetes kill 30 s after they asked
STOP_FILE = "LONGHAUL_STOP_FILE"  # where ranks get no signals (Spark): the launcher makes this file to stop them

Tell = Callable[[Mapping[str, Any]], None]


class StopRequest:
    """Whether this rank was told to stop. Until `is_ready` there is nothing to save, and the process ends at once."""

    def __init__(self) -> None:
        self.asked = self.is_ready = False
        self._then: list[Callable[[], None]] = []

    def then(self, action: Callable[[], None]) -> None:
        """Call this when the request comes, from another thread; from now on the rank stops by itself."""
        self._then.append(action)
        self.is_ready = True
        if self.asked:
            action()

    def ask(self) -> None:
        self.asked = True
        if not self.is_ready:
            os._exit(Interrupted.exit_code)
        for action in self._then:
            action()


def listen(stop: StopRequest) -> None:
    """SIGTERM asks to stop, even while the main thread is inside TensorFlow for long; Ctrl-C is the launcher's to hear."""
    hears, says = os.pipe()
    os.set_blocking(says, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.set_wakeup_fd(says, warn_on_full_buffer=False)

    def wait() -> None:
        while os.read(hears, 1) != bytes([signal.SIGTERM]):
            continue
        stop.ask()
        time.sleep(STOP_GRACE_S + 5)  # the launcher ends who takes longer, where there still is one
        os._exit(Interrupted.exit_code)

    threading.Thread(target=wait, name="stop", daemon=True).start()


def beat(tell: Tell, rank: int, stop: StopRequest) -> None:
    """Tell every second what this process is doing, for as long as it lives."""
    host, file = socket.gethostname(), os.environ.get(STOP_FILE)

    def go_on() -> None:
        while True:
            with suppress(OSError):  # the launcher is gone, and takes this process along
                tell({"beat": as_record(rank, host)})
            if file and not stop.asked and Path(file).exists():
                stop.ask()
            time.sleep(BEAT_S)

    threading.Thread(target=go_on, name="heartbeat", daemon=True).start()


def as_record(rank: int, host: str) -> dict[str, Any]:
    """The fields of verdict.Beat."""
    return {
        "rank": rank,
        "host": host,
        "phase": NOW.current_phase(),
        "epoch": NOW.epoch,
        "step": NOW.step,
        "file": NOW.file,
        "moves": NOW.moves,
        "reduces": NOW.num_reduces(),
        "timed_steps": NOW.timed_steps,
        "wait_s": round(NOW.wait_s, 6),
        "own_s": round(NOW.own_s, 6),
    }
