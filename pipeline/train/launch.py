"""Starts ranks on this host, watches them, and ends them all as soon as one fails. Imports no TensorFlow."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError, InfrastructureError, Interrupted, LonghaulError, error_for_exit_code
from pipeline.train.horovod import rendezvous

EVENTS_FD = "LONGHAUL_EVENTS_FD"  # a pipe on which ranks tell the launcher what happens, a JSON object a line
GRACE_S = 5.0

Event = dict[str, Any]


def launch(arguments: Sequence[str], size: int, *, logs: Path, stall_timeout_s: int, on_event: Callable[[Event], None]) -> None:
    """Run `python <arguments>` as `size` ranks and wait for all.

    Args:
        arguments: after the interpreter, e.g. ["-m", "pipeline.train.rank", "spec.json"].
        size: ranks, >= 1; one rank runs without Horovod.
        logs: folder for rank-0.log, rank-1.log …
        stall_timeout_s: Horovod ends a rank whose collective waits longer for another rank.
        on_event: called with every event that a rank sends.

    Raises:
        LonghaulError: what the first failing rank failed with; the others are ended before it is raised.
    """
    with ExitStack() as stack:
        worlds = stack.enter_context(rendezvous(size)) if size > 1 else [{}]
        receive, send = os.pipe()
        events = stack.enter_context(os.fdopen(receive, "rb", buffering=0))
        ranks = stack.enter_context(started(arguments, worlds, size, send, logs, stall_timeout_s))
        os.close(send)
        errors = watch(ranks, events.fileno(), on_event)
        codes = [rank.poll() for rank in ranks]
        if any(codes):
            end(ranks)
            raise verdict(codes, errors, logs)


@contextmanager
def started(
    arguments: Sequence[str], worlds: Sequence[Mapping[str, str]], size: int, send: int, logs: Path, stall_timeout_s: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank, world in enumerate(worlds):
            environment = {**os.environ, **thread_limits(size), **stall_limits(stall_timeout_s), **world, EVENTS_FD: str(send)}
            with (logs / f"rank-{rank}.log").open("ab") as log:
                command = [sys.executable, *arguments]
                ranks.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[send]))
        yield ranks
    finally:
        end(ranks)


def thread_limits(size: int) -> dict[str, str]:
    """Ranks share the cores; a rank that starts a thread for every core slows all others."""
    threads = str(max(1, (os.cpu_count() or 1) // size))
    return {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }


def stall_limits(timeout_s: int) -> dict[str, str]:
    """Horovod only warns of a stalled rank unless told to end; the shutdown time must exceed the check time."""
    return {"HOROVOD_STALL_CHECK_TIME_SECONDS": str(max(1, timeout_s // 2)), "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(timeout_s)}


def watch(ranks: Sequence[subprocess.Popen[bytes]], events: int, on_event: Callable[[Event], None]) -> dict[int, str]:
    """Until all ranks have ended well or one has not: pass on events. Returns the errors that ranks told: rank -> message."""
    errors: dict[int, str] = {}
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(events, selectors.EVENT_READ)
        while True:
            codes = [rank.poll() for rank in ranks]
            is_over = any(codes) or all(code == 0 for code in codes)
            while selector.select(timeout=0 if is_over else 0.1) and (chunk := os.read(events, 65536)):
                *lines, pending = (pending + chunk).split(b"\n")
                for event in map(json.loads, lines):
                    if "error" in event:
                        errors[event["rank"]] = event["error"]
                    else:
                        on_event(event)
            if is_over:
                return errors
            time.sleep(0.05)


def end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask every living rank to end, then make it."""
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for rank in ranks:
        try:
            rank.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def verdict(codes: Sequence[int | None], errors: Mapping[int, str], logs: Path) -> LonghaulError | Interrupted:
    """The error of the rank that failed first; ranks that a peer's death took along come last."""
    blamed = [rank for rank, code in enumerate(codes) if code in (ConfigError.exit_code, DataError.exit_code)]
    blamed += [rank for rank, code in enumerate(codes) if code is not None and code < 0]
    blamed += [rank for rank, code in enumerate(codes) if code]
    rank, code = blamed[0], codes[blamed[0]] or 0
    if rank in errors:
        return error_for_exit_code(code, errors[rank])
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    log = logs / f"rank-{rank}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = f" Its last line: {lines[-1][:300]}" if lines else ""
    return InfrastructureError(
        f"Rank {rank} of {len(codes)} {how}; the other ranks were ended.{last} Log: {log}. "
        "Run the same command again: training goes on from its last checkpoint."
    )
