"""Ranks on several hosts: an agent on each, over ssh, or beside us for localhost. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import error_for_exit_code
from pipeline.train.events import Event

ALIVE_S = 1.0
# No secrets of this machine: of S3, where it is and not who may use it.
TO_STORE = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
PASSED_ON = ("LONGHAUL_", "TF_", "HOROVOD_", "NCCL_", "KERAS_", "XLA_", "CUDA_VISIBLE_DEVICES", "PYTHONPATH", *TO_STORE)


@dataclass
class Host:
    """An agent, the ranks it runs, and what it has said so far of the line that is not whole."""

    name: str
    ranks: range
    agent: subprocess.Popen[bytes]
    pending: bytes = b""
    is_heard: bool = True  # its stdout is open


class RanksOverSsh:
    """`python <arguments>` as `worlds` say, on hosts that have this project, and `logs`, under the same paths.

    Args:
        slots: hosts and how many ranks each takes, in the ranks' order.
        worlds: (size,) environment variables of each rank.
        interfaces: of which every host binds the first that it has.
        ssh_config: a file for `ssh -F`, or None.
        silence_s: an agent that hears nothing of us for so long ends its ranks.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        slots: Sequence[tuple[str, int]],
        worlds: Sequence[Mapping[str, str]],
        logs: Path,
        *,
        interfaces: Sequence[str],
        ssh_config: str | None,
        silence_s: float,
    ) -> None:
        self.hosts = [name for name, count in slots for _ in range(count)]
        self.logs = logs
        self.places: list[Host] = []
        self._codes: dict[int, int] = {}
        self._told_alive = 0.0
        first = 0
        try:
            for name, count in slots:
                ranks = range(first, first + count)
                job = {
                    "host": name,
                    "folder": os.getcwd(),
                    "arguments": list(arguments),
                    "logs": str(logs.resolve()),
                    "worlds": [worlds[rank] for rank in ranks],
                    "environment": passed_on(),
                    "interfaces": list(interfaces),
                    "silence_s": silence_s,
                }
                self.places.append(Host(name, ranks, start_agent(name, job, ssh_config, logs)))
                first += count
        except BaseException:
            self.end()
            raise

    def poll(self) -> list[int | None]:
        """Exit codes by rank. An agent that is gone without having told them stands for 4."""
        for place in self.places:
            if not place.is_heard and (code := place.agent.poll()) is not None:
                for rank in place.ranks:
                    self._codes.setdefault(rank, code if code > 0 and code != 255 else 4)
        return [self._codes.get(rank) for rank in range(len(self.hosts))]

    def receive(self, timeout_s: float) -> list[Event]:
        """What ranks have told since the last call; waits for the first of it, at most so long."""
        self._say_alive()
        heard = [place for place in self.places if place.is_heard]
        if not heard:
            time.sleep(timeout_s)
            return []
        of = {place.agent.stdout.fileno(): place for place in heard}  # type: ignore[union-attr]  # it is a pipe
        ready, _, _ = select.select(list(of), [], [], timeout_s)
        return [event for descriptor in ready for event in self._read(of[descriptor])]

    def lost(self, rank: int) -> str | None:
        """What is known of a rank's host if its agent is gone or was refused by ssh."""
        place = next(place for place in self.places if rank in place.ranks)
        code = place.agent.poll()
        if code in (None, 0) or place.name == "localhost":
            return None
        log = self.logs / f"host-{place.name}.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = f" It said: {lines[-1][:300]}" if lines else ""
        return f"Host {place.name} was lost: ssh ended with exit code {code}.{said}"

    def ask_to_stop(self) -> None:
        self._say(b"stop\n")

    def end(self) -> None:
        """No rank is left afterwards where a host can be reached; where not, its agent ends them."""
        self._say(b"end\n")
        deadline = time.monotonic() + 5
        for place in self.places:
            with suppress(OSError):
                place.agent.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            try:
                place.agent.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                place.agent.kill()
                place.agent.wait()
            place.agent.stdout.close()  # type: ignore[union-attr]

    def _read(self, place: Host) -> list[Event]:
        chunk = os.read(place.agent.stdout.fileno(), 1 << 16)  # type: ignore[union-attr]
        if not chunk:
            place.is_heard = False
            return []
        *lines, place.pending = (place.pending + chunk).split(b"\n")
        events: list[Event] = []
        for line in lines:
            event = parse(line)
            if event is None:  # a login message, say
                continue
            if "exit" in event:
                self._codes[event["rank"]] = event["exit"]
            elif "refused" in event:
                raise error_for_exit_code(event["code"], event["refused"])
            else:
                events.append({**event, "beat": {**event["beat"], "host": place.name}} if "beat" in event else event)
        return events

    def _say_alive(self) -> None:
        if time.monotonic() - self._told_alive > ALIVE_S:
            self._told_alive = time.monotonic()
            self._say(b"alive\n")

    def _say(self, word: bytes) -> None:
        for place in self.places:
            with suppress(OSError, ValueError):  # its ssh is gone, which poll tells, or its pipe is full, because the network is down
                os.write(place.agent.stdin.fileno(), word)  # type: ignore[union-attr]


def passed_on() -> dict[str, str]:
    """Of this machine's environment, what ranks elsewhere get."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}


def parse(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def start_agent(host: str, job: Mapping[str, Any], ssh_config: str | None, logs: Path) -> subprocess.Popen[bytes]:
    agent = [sys.executable, "-m", "pipeline.train.host_agent"]
    command = agent if host == "localhost" else [*ssh(host, ssh_config), shlex.join(agent)]
    with (logs / f"host-{host}.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        os.set_blocking(process.stdin.fileno(), False)  # type: ignore[union-attr]
    except OSError:  # it has ended already, which poll tells
        pass
    return process


def ssh(host: str, config: str | None) -> list[str]:
    """Keys only, and an end within 15 s of a connection that is dead."""
    options = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3"]
    return ["ssh", *(["-F", config] if config else []), "-T", *(part for option in options for part in ("-o", option)), "--", host]
