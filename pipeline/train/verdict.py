"""Which rank holds a training up, found from heartbeats. Pure: time is an argument."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

START_LIMIT_S = 600.0  # imports over a slow network, the first trace of a large model
SLOW = 1.25  # a rank whose own work takes so many times the others' median is a straggler
ENOUGH_STEPS = 20  # before anything is said about speed


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself, every second."""

    rank: int
    host: str
    phase: str
    epoch: int  # from 1; 0 before the first
    step: int  # of the whole training, done
    file: str
    moves: int
    reduces: int = 0  # sums over ranks begun
    timed_steps: int = 0  # that the next two are about
    wait_s: float = 0.0  # spent in sums over ranks, waiting for others included
    own_s: float = 0.0  # spent in the rest of these steps


@dataclass(frozen=True)
class Stall:
    """Why a training does not go on. `rank` is the one to look at; `ranks` are all to which the same holds."""

    cause: str  # silent | stuck | network | lost
    rank: int
    host: str
    phase: str
    epoch: int
    step: int
    file: str
    seconds: float  # since it last got on
    limit_s: float
    ranks: list[int]
    reason: str = ""  # what was seen of a host that is lost

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """For a person, without a line break."""
        where = f"rank {self.rank} on {self.host}"
        doing = f"phase {self.phase}, epoch {self.epoch}, step {self.step}" + (f", file {self.file}" if self.file else "")
        also = f" (so have ranks {', '.join(map(str, self.ranks))})" if len(self.ranks) > 1 else ""
        what = {
            "silent": f"{where} has been silent for {self.seconds:.0f} s{also}; last seen in {doing}. It is stopped, its machine hangs, or "
            "the network to it is down",
            "stuck": f"{where} has been in {doing} for {self.seconds:.0f} s{also}. {ADVICE.get(self.phase, 'Look at its log')}",
            "lost": f"{where} is gone{also}; last seen in {doing}, {self.seconds:.0f} s ago. {self.reason.rstrip('.')}",
            "network": f"all ranks have waited for each other for {self.seconds:.0f} s, {where} in {doing}. "
            "The network between them is down",
        }[self.cause]
        return f"Training stalled: {what} (limit {self.limit_s:.0f} s, train.stall_timeout_s)."


ADVICE = {
    "read": "Its disk or network file system hangs",
    "checkpoint": "The disk of the checkpoints hangs",
    "start": "It did not get as far as the first step; look at its log",
}


@dataclass
class Watchdog:
    """What is known of every rank; `limit_s` without a sign of progress is a stall."""

    hosts: Sequence[str]  # (size,) by rank
    limit_s: float
    started: float
    beats: dict[int, Beat] = field(default_factory=dict)
    heard_at: dict[int, float] = field(default_factory=dict)
    moved_at: dict[int, float] = field(default_factory=dict)

    def hear(self, beat: Beat, now: float) -> None:
        before = self.beats.get(beat.rank)
        self.heard_at[beat.rank] = now
        if before is None or sign(before) != sign(beat):
            self.moved_at[beat.rank] = now
        self.beats[beat.rank] = beat

    def stall(self, now: float) -> Stall | None:
        """The verdict, once there is one. A rank that waits for others is not to blame as long as another may still get on."""
        ranks = range(len(self.hosts))
        silent = {rank: now - self.heard_at.get(rank, self.started) for rank in ranks}
        if late := [rank for rank in ranks if silent[rank] > (self.limit_s if rank in self.beats else max(self.limit_s, START_LIMIT_S))]:
            rank = max(late, key=lambda rank: silent[rank])
            return self._stall("silent", rank, silent[rank], late)
        if len(self.beats) < len(self.hosts):
            return None
        still = {rank: now - self.moved_at[rank] for rank in ranks}
        waiting = [rank for rank in ranks if self.beats[rank].phase == "reduce"]
        if stuck := [rank for rank in ranks if rank not in waiting and still[rank] > self._limit(rank)]:
            rank = max(stuck, key=lambda rank: still[rank])
            return self._stall("silent" if silent[rank] > self.limit_s / 2 else "stuck", rank, still[rank], stuck)
        if len(waiting) == len(self.hosts) and min(still.values()) > self.limit_s:
            rank = min(waiting, key=lambda rank: self.beats[rank].reduces)  # the one that is behind
            return self._stall("network", rank, still[rank], [rank])
        return None

    def lost(self, rank: int, reason: str, now: float) -> Stall:
        """The verdict on a rank whose host cannot be reached any more, and on all others of that host."""
        ranks = [other for other, host in enumerate(self.hosts) if host == self.hosts[rank]]
        return replace(self._stall("lost", rank, now - self.heard_at.get(rank, self.started), ranks), reason=reason)

    def stragglers(self) -> list[dict[str, Any]]:
        """Ranks whose own work takes SLOW times the others' median or more, the slowest first.

        Returns:
            rank, host, own_ms (a step, waiting for others left out), others_ms (median), share: of a step's time, what all others wait
            for this rank, 0 to 1.
        """
        known = {rank: beat for rank, beat in self.beats.items() if beat.timed_steps >= ENOUGH_STEPS}
        own = {rank: beat.own_s / beat.timed_steps for rank, beat in known.items()}
        found = []
        for rank in own:
            others = [seconds for other, seconds in own.items() if other != rank]
            usual = statistics.median(others) if others else own[rank]
            if usual > 0 and own[rank] >= SLOW * usual:
                step = own[rank] + known[rank].wait_s / known[rank].timed_steps
                share = (own[rank] - max(others)) / step if step > 0 else 0.0
                found.append(
                    {
                        "rank": rank,
                        "host": self.hosts[rank],
                        "own_ms": round(own[rank] * 1e3, 2),
                        "others_ms": round(usual * 1e3, 2),
                        "share": round(max(0.0, share), 3),
                    }
                )
        return sorted(found, key=lambda straggler: -straggler["own_ms"])

    def _limit(self, rank: int) -> float:
        return max(self.limit_s, START_LIMIT_S) if self.beats[rank].phase == "start" else self.limit_s

    def _stall(self, cause: str, rank: int, seconds: float, ranks: list[int]) -> Stall:
        beat = self.beats.get(rank) or Beat(rank, self.hosts[rank], "start", 0, 0, "", 0)
        limit = self.limit_s if rank in self.beats and beat.phase != "start" else max(self.limit_s, START_LIMIT_S)
        return Stall(cause, rank, self.hosts[rank], beat.phase, beat.epoch, beat.step, beat.file, round(seconds, 1), limit, ranks)


def sign(beat: Beat) -> tuple[object, ...]:
    """What changes as long as a rank gets on."""
    return (beat.epoch, beat.step, beat.moves, beat.reduces)
