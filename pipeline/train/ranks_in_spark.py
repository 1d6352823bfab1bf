"""Ranks inside the executors of a Spark cluster, through `horovod.spark.run`. The cluster is spark-submit's; without one, local Spark.

Horovod starts a process for each rank, which starts ours and stays until it has ended. What ranks tell, and what they are told, goes
through files beside their logs, on the file system that all machines share anyway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InfrastructureError
from pipeline.train.events import EVENTS_FD, EVENTS_FILE, Event
from pipeline.train.heartbeat import STOP_FILE
from pipeline.train.ranks_here import ARROW_MEMORY, thread_limits
from pipeline.train.ranks_over_ssh import passed_on
from pipeline.train.rendezvous import pick_interface
from pipeline.train.spark_servers import guarded

LOOK_S = 0.5  # between two looks at a file
END = "end"  # a file in the logs' folder: ranks are ended
STOP = "stop"  # … are asked to stop


class RanksInSpark:
    """`size` processes `python <arguments>`, one in each Spark task.

    Args:
        arguments: after the interpreter.
        logs: a folder that all machines share.
        interfaces: of the network between executors and driver; all bind the first that the driver has.
        environment: of every rank, besides Horovod's.
    """

    def __init__(
        self, arguments: Sequence[str], size: int, logs: Path, *, interfaces: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.hosts = [f"executor of rank {rank}" for rank in range(size)]
        self.logs = logs.resolve()
        self._read_to = [0] * size
        self._codes: dict[int, int] = {}
        self._error: BaseException | None = None
        self._over = threading.Event()
        for name in (END, STOP, *(f"events-{rank}.jsonl" for rank in range(size))):
            (self.logs / name).unlink(missing_ok=True)
        about = (list(arguments), size, pick_interface(interfaces), {**passed_on(), **environment})
        self._thread = threading.Thread(target=self._run, args=about, daemon=True)
        self._thread.start()

    def poll(self) -> list[int | None]:
        """Exit codes by rank; 4 for ranks that Spark has lost, or never started."""
        if not self._thread.is_alive():
            self.receive(0)
            for rank in range(len(self.hosts)):
                self._codes.setdefault(rank, InfrastructureError.exit_code)
        return [self._codes.get(rank) for rank in range(len(self.hosts))]

    def receive(self, timeout_s: float) -> list[Event]:
        """What ranks have told since the last call."""
        events: list[Event] = []
        for rank, begin in enumerate(self._read_to):
            path = self.logs / f"events-{rank}.jsonl"
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(begin)
                whole = file.read().rpartition(b"\n")[0]
            self._read_to[rank] += len(whole) + 1 if whole else 0
            for event in map(json.loads, whole.splitlines()):
                if "exit" in event:
                    self._codes[rank] = event["exit"]
                elif "host" in event:
                    self.hosts[rank] = event["host"]
                else:
                    events.append(event)
        if not events:
            time.sleep(timeout_s)
        return events

    def lost(self, rank: int) -> str | None:
        """Why Spark's job failed, if that is how the rank ended."""
        if self._error is None:
            return None
        text = next((line.strip() for line in str(self._error).splitlines() if line.strip()), type(self._error).__name__)
        return f"Spark's job failed: {text[:300]}"

    def ask_to_stop(self) -> None:
        (self.logs / STOP).touch()

    def end(self) -> None:
        """Ranks are ended by those who started them; Spark ends what does not answer."""
        (self.logs / END).touch()
        self._thread.join(30)
        if self._thread.is_alive():
            self._over.set()
            self._thread.join(30)

    def _run(self, arguments: list[str], size: int, interface: str, environment: dict[str, str]) -> None:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        try:
            spark = make_session(size)
            try:
                with (self.logs / "horovod.log").open("w") as log, guarded(interface, self._over):
                    import horovod.spark

                    horovod.spark.run(
                        run_rank,
                        args=(arguments, str(self.logs), environment),
                        num_proc=size,
                        use_gloo=True,
                        nics={interface},
                        env={**environment, "PATH": os.environ.get("PATH", "")},
                        stdout=log,
                        stderr=log,
                        verbose=0,
                    )
            finally:
                spark.stop()
        except BaseException as error:  # noqa: BLE001  # told by `lost`
            self._error = error


def make_session(size: int) -> Any:
    """spark-submit's session, or one of this machine. A rank is no task to be run twice, at once or again."""
    from pyspark.sql import SparkSession

    settings = {"speculation": "false", "task.maxFailures": "1"}
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # not under spark-submit
        settings |= {"master": f"local[{size}]", "driver.host": "127.0.0.1", "driver.bindAddress": "127.0.0.1", "ui.enabled": "false"}
    builder = SparkSession.builder.appName("longhaul-train")
    for key, value in settings.items():
        builder = builder.config(f"spark.{key}", value)
    return builder.getOrCreate()


def run_rank(arguments: list[str], logs: str, environment: dict[str, str]) -> int:
    """In the process that Horovod started for a rank: run it to its end, and tell how that was."""
    import socket

    rank, folder = os.environ["HOROVOD_RANK"], Path(logs)
    events = folder / f"events-{rank}.jsonl"

    def tell(event: Event) -> None:
        with events.open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")

    tell({"host": socket.gethostname()})
    limits = thread_limits(int(os.environ.get("HOROVOD_LOCAL_SIZE", "1")))
    own = {key: value for key, value in os.environ.items() if key != EVENTS_FD}
    horovods = {key: value for key, value in own.items() if key.startswith(("HOROVOD_", "NCCL_SOCKET_"))}
    mine = {**ARROW_MEMORY, **own, **limits, **environment, **horovods, EVENTS_FILE: str(events), STOP_FILE: str(folder / STOP)}
    with (folder / f"rank-{rank}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *arguments], env=mine, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while process.poll() is None and not (folder / END).exists():
            time.sleep(LOOK_S)
    finally:
        if process.poll() is None:
            process.kill()
        code = process.wait()
        tell({"exit": code})
    return code
