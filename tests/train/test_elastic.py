"""Losing ranks and hosts, and getting them back, with ranks that count instead of training."""

from __future__ import annotations

import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, DataError, InfrastructureError
from pipeline.sections.launch import Elastic, Launch
from pipeline.train import elastic
from pipeline.train.elastic import Places, discover, launch_elastic

# Counts to 30 together, the count being the checkpoint; rank 0 writes it down. `tail` does what goes wrong.
RANK = """
import json, os, signal, sys, time
from pathlib import Path
from pipeline.train.events import tell
from pipeline.train.heartbeat import StopRequest, beat, listen
folder = Path(sys.argv[1])
rank, size, stop = int(os.environ.get("HOROVOD_RANK", "0")), int(os.environ.get("HOROVOD_SIZE", "1")), StopRequest()
listen(stop)
beat(tell, rank, stop)
stop.then(lambda: None)
saved, once = folder / "count", folder / "once"
count = int(saved.read_text()) if saved.exists() else 0
tell({"begins": count, "rank": rank, "size": size})
while count < 30:
    TAIL
    count += 1
    if rank == 0:
        saved.with_suffix(".new").write_text(str(count))
        os.replace(saved.with_suffix(".new"), saved)
        tell({"done": count})
    if stop.asked:
        sys.exit(143)
    time.sleep(0.05)
"""


def run(tmp_path: Path, tail: str, size: int, hosts: str | None = None, **settings: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    launch_elastic(
        ["-c", RANK.replace("TAIL", tail), str(tmp_path)],
        size,
        logs=tmp_path,
        stall_timeout_s=60,
        on_event=events.append,
        settings=Launch(hosts=hosts, elastic=Elastic(**settings)),
    )
    return events


def sizes(events: list[dict[str, Any]]) -> list[int]:
    """Of the worlds that were started, in order."""
    return [event["size"] for event in events if event.get("begins") is not None and event["rank"] == 0]


# The last of three is killed, once, when the first has begun; the first waits for that, so that it is not done before.
KILL_ONE = """while rank == 2 and not saved.exists():
        time.sleep(0.05)
    rank == 2 and count == 5 and not once.exists() and (once.touch() or os.kill(os.getpid(), signal.SIGKILL))
    while size == 3 and count == 5 and not once.exists():
        time.sleep(0.05)"""


@pytest.mark.parametrize("hosts", [None, "localhost:3"], ids=["here", "agent"])
def test_a_killed_rank_is_survived_by_those_that_are_left_from_the_last_checkpoint(tmp_path, hosts):
    events = run(tmp_path, KILL_ONE, 3, hosts)
    assert sizes(events) == [3, 2]
    begins = [event["begins"] for event in events if event.get("begins") is not None and event["rank"] == 0]
    assert begins[0] == 0 and begins[1] >= 1
    assert (tmp_path / "count").read_text() == "30"
    assert any("SIGKILL" in event.get("warning", "") for event in events)


def test_what_is_no_loss_is_not_tried_again(tmp_path):
    with pytest.raises(DataError, match="row 7"):
        run(tmp_path, "tell({'rank': rank, 'error': 'row 7'}); sys.exit(3)", 2)


def test_losses_without_a_step_between_them_end_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(elastic, "MAX_LOSSES", 2)
    with pytest.raises(InfrastructureError, match="SIGKILL"):
        run(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", 3)


def test_below_the_minimum_it_waits_and_then_fails(tmp_path):
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"2 places for ranks, launch.elastic.min_ranks=3, for 1 s"):
        run(tmp_path, KILL_ONE, 3, min_ranks=3, wait_s=1)
    assert time.monotonic() - began >= 1


def test_a_place_that_is_back_after_its_cooldown_joins(tmp_path):
    events = run(tmp_path, KILL_ONE + "\n    time.sleep(0.4) if size == 2 else None", 3, cooldown_s=1)
    assert sizes(events) == [3, 2, 3]
    assert (tmp_path / "count").read_text() == "30"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_hosts_are_those_that_the_discovery_script_prints_less_what_was_lost(tmp_path):
    found = script(tmp_path / "discover", "echo a:2; echo; echo b:4")
    places = Places([], Elastic(discovery=found, cooldown_s=100), max_ranks=5)
    assert places.now() == [("a", 2), ("b", 3)]
    places.lose("a", 2)
    assert places.now() == [("b", 4)]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="openssh-client is missing")
def test_ranks_are_not_ended_for_a_lost_host_that_does_not_answer_yet(tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text("Host b\n  HostName 127.0.0.1\n  Port 1\n")  # nobody listens there
    places = Places([("a", 2), ("b", 2)], Elastic(cooldown_s=1), max_ranks=4, ssh_config=str(config))
    places.lose("b", 2)
    places.lose("localhost", 1)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert places.now() == [("a", 2)]
        time.sleep(0.2)
    assert [host for host, _, _ in places.lost] == ["b"]
    places.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [("echo 'a:2; rm -rf /'", "expected a host and its places"), ("echo -x:2", "expected a host"), ("exit 3", "did not list hosts")],
)
def test_a_discovery_script_that_fails_or_prints_something_else_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        discover(script(tmp_path / "discover", text))
    assert discover(script(tmp_path / "none", "true")) == []
