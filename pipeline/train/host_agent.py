"""Runs the ranks of one host: `python -m pipeline.train.host_agent`, started by ssh. Imports no TensorFlow.

It reads its job as a line of JSON from stdin, so that no secret stands in a command line, and then words, one a line: `alive` every
second, `stop`, `end`. It writes what its ranks tell, and how they ended, to stdout. When stdin ends, or no word comes for a while, the
launcher is gone or cannot be reached, and the ranks are ended: nothing is left on a host that was cut off.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.errors import LonghaulError
from pipeline.train.ranks_here import RanksHere
from pipeline.train.rendezvous import pick_interface


def main() -> int:
    job: dict[str, Any] = json.loads(read_line())
    try:
        worlds = [{**job["environment"], **world, **bind(job["interfaces"])} for world in job["worlds"]]
        os.chdir(job["folder"])
        ranks = RanksHere(job["arguments"], worlds, Path(job["logs"]))
    except (LonghaulError, OSError) as error:
        code = error.exit_code if isinstance(error, LonghaulError) else 4
        text = str(error) if isinstance(error, LonghaulError) else f"{error}. Expected the same folders and environment on every host"
        say({"refused": f"Host {job['host']}: {text}", "code": code})
        return code
    try:
        return attend(ranks, float(job["silence_s"]))
    finally:
        ranks.end()


def attend(ranks: RanksHere, silence_s: float) -> int:
    """Until all ranks have ended and that was told, or nobody is there to be told."""
    told: set[int] = set()
    heard, pending = time.monotonic(), b""
    while True:
        codes = ranks.poll()
        for event in ranks.receive(0.1):
            say(event)
        for number, code in zip(ranks.numbers, codes, strict=True):
            if code is not None and number not in told:
                told.add(number)
                while events := ranks.receive(0):
                    for event in events:
                        say(event)
                say({"exit": code, "rank": number})
        if len(told) == len(codes):
            return 0
        if select.select([0], [], [], 0)[0]:
            chunk = os.read(0, 4096)
            heard = time.monotonic()
            *words, pending = (pending + chunk).split(b"\n")
            if not chunk or b"end" in words:
                return 0
            if b"stop" in words:
                ranks.ask_to_stop()
        if time.monotonic() - heard > silence_s:
            return 4


def bind(interfaces: list[str]) -> dict[str, str]:
    """Horovod and NCCL use this network and no other."""
    name = pick_interface(interfaces) if interfaces else "lo"
    return {"HOROVOD_GLOO_IFACE": name, "NCCL_SOCKET_IFNAME": name}


def read_line() -> bytes:
    """One line, and no byte more: the words behind it are read as they come."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return line


def say(event: dict[str, Any]) -> None:
    try:
        os.write(1, (json.dumps(event, ensure_ascii=False) + "\n").encode())
    except BrokenPipeError:  # stdin ends too, and that is what counts
        pass


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.exit(main())
