"""Training that survives the loss of ranks and hosts: what is left goes on from the last checkpoint, and who comes back joins.

Ranks are started anew, all of them, with the number that there is room for: a checkpoint says (epoch, step), and the feed's plan gives
any number of ranks the rest of the epoch, every row once. Horovod's own elastic mode keeps survivors in memory instead; its driver
listens on every interface and runs what it is sent, and its Keras state speaks Keras 2.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import ConfigError, InfrastructureError, Interrupted
from pipeline.sections.launch import Elastic, Hosts, Launch
from pipeline.train.events import Event
from pipeline.train.launch import RankLost, Report, launch
from pipeline.train.ranks_over_ssh import ssh

LOOK_S = 2.0  # between two looks at which hosts there are
DISCOVERY_LIMIT_S = 30.0
MAX_LOSSES = 5  # one after another without a step between them: it is not the machines

Slots = list[tuple[str, int]]


@dataclass
class Places:
    """Where ranks may run now: what was given or discovered, less what was lost and is not back."""

    given: Slots
    elastic: Elastic
    max_ranks: int
    ssh_config: str | None = None
    lost: list[tuple[str, int, float]] = field(default_factory=list)  # host, places, when
    probes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # of lost hosts that are asked whether they answer

    def now(self) -> Slots:
        """Hosts and how many ranks each takes, at most `max_ranks` over all. Raises ConfigError for what is no list of hosts."""
        self.forgive()
        slots, room = [], self.max_ranks
        for host, count in discover(self.elastic.discovery) if self.elastic.discovery else self.given:
            gone = sum(places for name, places, _ in self.lost if name == host)
            if (use := min(room, count - gone)) > 0:
                slots.append((host, use))
                room -= use
        return slots

    def lose(self, host: str, places: int) -> None:
        self.lost.append((host, places, time.monotonic()))

    def forgive(self) -> None:
        """Lost places count again when their time is over and their host answers. Ranks are not ended for a host that is still dead."""
        due = [loss for loss in self.lost if time.monotonic() - loss[2] >= self.elastic.cooldown_s]
        back = {host for host in {host for host, _, _ in due} if self.answers(host)}
        self.lost = [loss for loss in self.lost if loss not in due or loss[0] not in back]

    def answers(self, host: str) -> bool:
        """Whether ssh reaches a host. It is asked in the background; one of the next calls knows."""
        if host == "localhost":
            return True
        if host not in self.probes:
            command = [*ssh(host, self.ssh_config), "true"]
            self.probes[host] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.probes[host].poll() is None:
            return False
        return self.probes.pop(host).returncode == 0

    def close(self) -> None:
        """Nobody is asked any more."""
        for probe in self.probes.values():
            probe.kill()
            probe.wait()

    def wait(self, tell: Callable[[Event], None]) -> Slots:
        """Places for at least `min_ranks`.

        Raises:
            InfrastructureError: there were not for `wait_s`.
        """
        deadline, has_told = time.monotonic() + self.elastic.wait_s, False
        while (total := num_places(slots := self.now())) < self.elastic.min_ranks:
            short = f"{total} places for ranks, launch.elastic.min_ranks={self.elastic.min_ranks}"
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"There were only {short}, for {self.elastic.wait_s} s (launch.elastic.wait_s). Bring hosts back and run the same "
                    "command again: training goes on from its last checkpoint."
                )
            if not has_told:
                tell({"warning": f"There are {short}; waiting for hosts to come back."})
                has_told = True
            time.sleep(min(LOOK_S, 0.2 + self.elastic.wait_s / 10))
        return slots


def num_places(slots: Slots) -> int:
    return sum(count for _, count in slots)


def discover(executable: str) -> Slots:
    """What a discovery script prints: host:slots, a line each; the lines may be none.

    Raises:
        ConfigError: it cannot be run, fails, takes too long, or prints something else.
    """
    try:
        done = subprocess.run([executable], capture_output=True, text=True, timeout=DISCOVERY_LIMIT_S, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"launch.elastic.discovery: {executable} did not list hosts: {error}") from error
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    try:
        text = TypeAdapter(Hosts).validate_python(",".join(lines)) if lines else ""
    except ValidationError:
        raise ConfigError(
            f"launch.elastic.discovery: {executable} printed {lines[:5]}; expected a host and its places a line, such as node1:4"
        ) from None
    return [(name, int(count)) for name, _, count in (item.rpartition(":") for item in text.split(",") if item)]


def launch_elastic(
    arguments: Sequence[str], size: int, *, logs: Path, stall_timeout_s: int, on_event: Callable[[Event], None], settings: Launch
) -> Report:
    """As `launch`, on as many ranks as there are places for, up to `size`; again with those that are left whenever one is lost.

    Raises:
        LonghaulError: what ranks failed with, if it was no loss; or that too few places were left for too long.
        Interrupted: this process was told to stop.
    """
    if settings.elastic is None:
        raise ValueError("launch.elastic is not set")
    places = Places(settings.slots or [("localhost", size)], settings.elastic, size, settings.ssh_config)
    losses, furthest = 0, -1

    def hear(event: Event) -> None:
        nonlocal losses, furthest
        if event.get("done", -1) > furthest:
            losses, furthest = 0, event["done"]
        on_event(event)

    with closing(places):
        while True:
            slots = places.wait(on_event)
            total = num_places(slots)
            growth = Growth(places, total)
            try:
                return launch(
                    arguments,
                    total,
                    logs=logs,
                    stall_timeout_s=stall_timeout_s,
                    on_event=hear,
                    settings=settings.model_copy(update=hosts_of(settings, slots)),
                    has_to_end=growth,
                )
            except RankLost as error:
                losses += 1
                if losses >= MAX_LOSSES:
                    raise
                places.lose(error.host, error.places)
                on_event({"warning": f"{error} Elastic: going on from the last checkpoint without that place."})
            except Interrupted:
                if not growth.was_seen:
                    raise
                on_event({"warning": f"Hosts have come back: going on from the checkpoint just saved, on more than {total} ranks."})


@dataclass
class Growth:
    """Asked again and again: whether there is now room for more ranks than run."""

    places: Places
    total: int
    was_seen: bool = False
    looked_at: float = field(default_factory=time.monotonic)

    def __call__(self) -> bool:
        if not self.was_seen and time.monotonic() - self.looked_at > LOOK_S:
            self.looked_at = time.monotonic()
            self.was_seen = num_places(self.places.now()) > self.total
        return self.was_seen


def hosts_of(settings: Launch, slots: Slots) -> dict[str, Any]:
    """What differs in the settings of one launch from those of the whole job."""
    is_here = settings.hosts is None and (settings.elastic is None or settings.elastic.discovery is None)
    return {"elastic": None, "hosts": None if is_here else ",".join(f"{host}:{count}" for host, count in slots)}
