"""Starts ranks, watches them, and ends them all as soon as one fails or none gets on. Imports no TensorFlow.

Where ranks run is the only difference between a local run and a cluster: `ranks_here.py`, `ranks_over_ssh.py` and `ranks_in_spark.py`
start and end them; what is below is the same for all.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import ConfigError, DataError, InfrastructureError, Interrupted, LonghaulError, error_for_exit_code
from pipeline.sections.launch import Launch
from pipeline.train.events import Event
from pipeline.train.heartbeat import STOP_GRACE_S
from pipeline.train.ranks_here import PIN, RanksHere
from pipeline.train.ranks_over_ssh import RanksOverSsh
from pipeline.train.rendezvous import LOOPBACK, address_of, check_horovod, pick_interface, rendezvous
from pipeline.train.verdict import Beat, Stall, Watchdog

__all__ = ["Event", "Report", "launch"]

SETTLE_S = 2.0  # after a failure: the rank that failed first may be heard of last
LAST_LINES = 5  # of the failing rank's log, in the error
VERDICT = "verdict.json"


@dataclass
class Report:
    """What was seen of the ranks while they ran."""

    stragglers: list[dict[str, Any]] = field(default_factory=list)
    marks: dict[str, float] = field(default_factory=dict)  # rank 0's start: what was reached -> when, by time.monotonic


class RankLost(InfrastructureError):
    """A rank was killed, held all others up, or its host is gone; another place may do better."""

    def __init__(self, message: str, host: str, places: int) -> None:
        super().__init__(message)
        self.host, self.places = host, places


class Crew(Protocol):
    """Ranks that have been started somewhere."""

    hosts: list[str]  # (size,) by rank

    def poll(self) -> list[int | None]: ...
    def receive(self, timeout_s: float) -> list[Event]: ...
    def ask_to_stop(self) -> None: ...
    def end(self) -> None: ...


def launch(
    arguments: Sequence[str],
    size: int,
    *,
    logs: Path,
    stall_timeout_s: int,
    on_event: Callable[[Event], None],
    settings: Launch | None = None,
    has_to_end: Callable[[], bool] = lambda: False,
) -> Report:
    """Run `python <arguments>` as `size` ranks and wait for all.

    Args:
        arguments: after the interpreter, e.g. ["-m", "pipeline.train.rank_start", "spec.json"].
        size: ranks, >= 1; one rank runs without Horovod.
        logs: folder for rank-0.log, rank-1.log …, and for verdict.json.
        stall_timeout_s: a rank that is silent, or gets on with nothing, for so long ends the job.
        on_event: called with every event that a rank sends, heartbeats left out.
        settings: where ranks run; on this machine if nothing is said.
        has_to_end: asked all the time; True has ranks save a checkpoint and end, which is Interrupted here.

    Raises:
        LonghaulError: what the first failing rank failed with, or which rank held all others up; all ranks are ended before it is raised.
        Interrupted: this process was told to stop; ranks had STOP_GRACE_S to save a checkpoint.
    """
    settings = settings or Launch()
    with ExitStack() as stack:
        crew = start(stack, arguments, size, logs, stall_timeout_s, settings)
        watched = Watch(crew, Watchdog(crew.hosts, stall_timeout_s, time.monotonic()), logs, on_event, has_to_end)
        watched.report.marks["ranks started"] = time.monotonic()
        try:
            watched.until_over()
        except Interrupted as error:
            watched.stop()
            raise Interrupted(f"{error} {watched.errors.get(0, '')}".rstrip()) from error
        codes = crew.poll()
        if any(codes):
            crew.end()
            raise watched.verdict(codes)
        return watched.report


def start(stack: ExitStack, arguments: Sequence[str], size: int, logs: Path, stall_timeout_s: int, settings: Launch) -> Crew:
    """The ranks, and what they need for as long as `stack` is open; they are ended with it."""
    if size > 1 or settings.spark or settings.hosts:
        check_horovod()
    shared = limits(stall_timeout_s) | ({"HOROVOD_AUTOTUNE": "1"} if settings.autotune else {}) | ({PIN: "1"} if settings.pin else {})
    crew: Crew
    if settings.spark:
        from pipeline.train.ranks_in_spark import RanksInSpark

        crew = RanksInSpark(arguments, size, logs, interfaces=settings.interfaces, environment=shared)
    elif settings.hosts:
        is_alone = [name for name, _ in settings.slots] == ["localhost"]
        address = LOOPBACK if is_alone else address_of(pick_interface(settings.interfaces))
        worlds = stack.enter_context(rendezvous(settings.slots, address))
        crew = RanksOverSsh(
            arguments,
            settings.slots,
            [{**shared, **world} for world in worlds],
            logs,
            interfaces=() if is_alone else settings.interfaces,
            ssh_config=settings.ssh_config,
            silence_s=max(10.0, min(60.0, float(stall_timeout_s))),
        )
    else:
        worlds = stack.enter_context(rendezvous([("localhost", size)])) if size > 1 else [{}]
        crew = RanksHere(arguments, [{**shared, **world} for world in worlds], logs)
    stack.callback(crew.end)
    return crew


def limits(stall_timeout_s: int) -> dict[str, str]:
    """Horovod's own limits lie beyond ours, since it does not say for which rank it waited; its shutdown time must exceed its check."""
    return {
        "HOROVOD_STALL_CHECK_TIME_SECONDS": str(stall_timeout_s + 30),
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(2 * stall_timeout_s + 60),
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(2 * stall_timeout_s + 60),
    }


@dataclass
class Watch:
    """Ranks at work, and what they have told."""

    crew: Crew
    watchdog: Watchdog
    logs: Path
    on_event: Callable[[Event], None]
    has_to_end: Callable[[], bool] = lambda: False
    errors: dict[int, str] = field(default_factory=dict)  # rank -> what it failed with
    report: Report = field(default_factory=Report)

    def until_over(self) -> None:
        """Until all ranks have ended well or one has not. Raises InfrastructureError for a stall."""
        failed_at: float | None = None
        is_asked = False
        while True:
            codes = self.crew.poll()
            now = time.monotonic()
            if any(codes) and failed_at is None:
                failed_at = now
            is_clear = any(code in CLEAR or (code or 0) < 0 for code in codes)
            is_over = all(code is not None for code in codes) or (failed_at is not None and (is_clear or now - failed_at > SETTLE_S))
            while events := self.crew.receive(0 if is_over else 0.1):
                for event in events:
                    self.hear(event)
                if not is_over:  # many ranks are never all silent
                    break
            if is_over:
                self.report.stragglers = self.watchdog.stragglers()
                return
            if failed_at is None and (stall := self.watchdog.stall(now)):
                raise self.stalled(stall)
            if not is_asked and self.has_to_end():
                is_asked = True
                self.crew.ask_to_stop()
            time.sleep(0.02)

    def hear(self, event: Event) -> None:
        if "beat" in event:
            self.watchdog.hear(Beat(**event["beat"]), time.monotonic())
        elif "mark" in event:
            self.report.marks.setdefault(event["mark"], time.monotonic())
        elif "line" in event:
            print(event["line"], file=sys.stderr)  # stdout may be for a machine to read
        elif "error" in event:
            self.errors[event["rank"]] = event["error"]
        else:
            self.on_event(event)

    def stop(self) -> None:
        """Let ranks save a checkpoint and end by themselves."""
        self.crew.ask_to_stop()
        deadline = time.monotonic() + STOP_GRACE_S
        while None in self.crew.poll() and time.monotonic() < deadline:
            for event in self.crew.receive(0.1):
                self.hear(event)

    def stalled(self, stall: Stall) -> RankLost:
        path = self.logs / VERDICT
        path.write_text(json.dumps(stall.as_record(), indent=1) + "\n")
        return RankLost(
            f"{stall.line()} All ranks were ended; {path} says the same as JSON. "
            "Run the same command again: training goes on from its last checkpoint.",
            stall.host,
            len(stall.ranks),
        )

    def verdict(self, codes: Sequence[int | None]) -> LonghaulError | Interrupted:
        """The error of the rank that failed first; ranks that a peer's death took along come last."""
        blamed = [rank for rank, code in enumerate(codes) if code in CLEAR]
        blamed += [rank for rank, code in enumerate(codes) if code is not None and code < 0]
        blamed += [rank for rank, code in enumerate(codes) if code]
        lost = getattr(self.crew, "lost", lambda rank: None)
        for rank, code in enumerate(codes):
            if code and (reason := lost(rank)):
                return self.stalled(self.watchdog.lost(rank, reason, time.monotonic()))
        rank, code = blamed[0], codes[blamed[0]] or 0
        log = self.logs / f"rank-{rank}.log"
        if rank in self.errors and (code in CLEAR or code == InfrastructureError.exit_code):
            return error_for_exit_code(code, self.errors[rank])
        if code == Interrupted.exit_code:
            return Interrupted(f"Rank {rank} was told to stop. The same command goes on from the last checkpoint.")
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        where = "" if self.crew.hosts[rank] == "localhost" else f" on {self.crew.hosts[rank]}"
        told = f" {self.errors[rank]}" if rank in self.errors else ""
        text = (
            f"Rank {rank} of {len(codes)}{where} {how}; the other ranks were ended.{told}{last_lines(log)} Log: {log}. "
            "Run the same command again: training goes on from its last checkpoint."
        )
        return RankLost(text, self.crew.hosts[rank], 1) if code < 0 else InfrastructureError(text)


CLEAR = (ConfigError.exit_code, DataError.exit_code, Interrupted.exit_code)  # ends whose reason the rank itself knows


def last_lines(log: Path) -> str:
    """The end of a rank's log, for an error message."""
    lines = [line.rstrip()[:300] for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return " Its last lines:" + "".join(f"\n    {line}" for line in lines[-LAST_LINES:]) + "\n" if lines else ""
