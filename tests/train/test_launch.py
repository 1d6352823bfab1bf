"""The launcher with small ranks, here and over ssh: how they meet, what it hears, how it ends them. No TensorFlow unless a name says so."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, DataError, InfrastructureError, Interrupted
from pipeline.sections.launch import Launch
from pipeline.train.launch import launch
from pipeline.train.ranks_here import RanksHere
from pipeline.train.rendezvous import pick_interface, rendezvous
from tests.conftest import PROJECT
from tests.train.hosts import INTERFACE, Hosts, two_hosts, why_not

LACKING = why_not()
needs_hosts = pytest.mark.skipif(LACKING is not None, reason=LACKING or "")

# A rank that beats and goes on until it is told to stop; what it does is a program's tail.
RANK = """
import os, signal, sys, time
from pathlib import Path
from pipeline.progress import NOW
from pipeline.train.events import tell
from pipeline.train.heartbeat import StopRequest, beat, listen
rank, stop = int(os.environ.get("HOROVOD_RANK", "0")), StopRequest()
listen(stop)
NOW.phase, NOW.epoch, NOW.step, NOW.file = "compute", 3, 42, "part-00007.parquet"
beat(tell, rank, stop)
def go_on():
    while not stop.asked:
        NOW.moves += 1
        time.sleep(0.05)
"""


def program(tail: str) -> list[str]:
    return ["-c", RANK + tail]


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run(tail: str, size: int, logs: Path, **options: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    options = {"stall_timeout_s": 60, "on_event": events.append, **options}
    launch(program(tail), size, logs=logs, **options)
    return events


def test_a_stopped_process_ends_the_job_within_its_limit_and_is_named_in_a_line_and_as_json(tmp_path):
    tail = "(time.sleep(2), os.kill(os.getpid(), signal.SIGSTOP)) if rank == 1 else None\ntell({'pid': os.getpid()})\ngo_on()"
    began = time.monotonic()
    with pytest.raises(InfrastructureError) as caught:
        run(tail, 2, tmp_path, stall_timeout_s=5)
    assert time.monotonic() - began < 60
    line, record = str(caught.value), json.loads((tmp_path / "verdict.json").read_text())
    assert "rank 1 on localhost" in line and "part-00007.parquet" in line and "\n" not in line
    assert {name: record[name] for name in ("cause", "rank", "host", "phase", "epoch", "step", "file")} == {
        "cause": "silent", "rank": 1, "host": "localhost", "phase": "compute", "epoch": 3, "step": 42, "file": "part-00007.parquet",
    }  # fmt: skip


def test_no_rank_is_left_after_a_failure_not_even_a_stopped_one(tmp_path):
    pids: list[int] = []
    tail = """
tell({"pid": os.getpid()})
if rank == 0:
    time.sleep(3)
    print("the last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    with pytest.raises(InfrastructureError, match="Rank 0 of 3 was ended by SIGKILL") as caught:
        run(tail, 3, tmp_path, on_event=lambda event: pids.append(event["pid"]))
    assert "the last words" in str(caught.value)
    assert len(pids) == 3 and all(ended(pid) for pid in pids)


def test_what_a_rank_says_of_its_own_failure_is_what_is_raised(tmp_path):
    tail = "tell({'rank': 1, 'error': 'row 7 is wrong'}) or sys.exit(3) if rank == 1 else go_on()"
    with pytest.raises(DataError, match="^row 7 is wrong$"):
        run(tail, 2, tmp_path)


def test_a_rank_in_training_is_asked_to_stop_and_one_that_has_not_begun_ends_at_once(tmp_path):
    worlds = [{"HOROVOD_RANK": str(rank)} for rank in range(2)]
    tail = """
if rank == 0:
    stop.then(lambda: tell({"asked": True}))
tell({"ready": rank})
go_on()
time.sleep(0.2)
sys.exit(0)
"""
    ranks = RanksHere(program(tail), worlds, tmp_path)
    try:
        events: list[dict[str, Any]] = []
        deadline = time.monotonic() + 60
        while sum("ready" in event for event in events) < 2:
            events += ranks.receive(0.1)
            assert time.monotonic() < deadline, events
        ranks.ask_to_stop()
        while None in ranks.poll():
            events += ranks.receive(0.1)
            assert time.monotonic() < deadline, events
        assert ranks.poll() == [0, Interrupted.exit_code]
        assert {"asked": True} in events
    finally:
        ranks.end()


def test_the_rendezvous_listens_on_one_address_and_answers_only_those_who_know_the_secret():
    with rendezvous([("localhost", 2)]) as worlds:
        where = worlds[0]["HOROVOD_GLOO_RENDEZVOUS_ADDR"]
        address, _, secret = where.partition("/")
        assert address.startswith("127.0.0.1:") and len(secret) == 32
        port = int(address.rpartition(":")[2])
        known = f"http://{where}:{port}/global/key"
        put = urllib.request.Request(known, data=b"value", method="PUT")
        assert urllib.request.urlopen(put, timeout=10).status == 200
        assert urllib.request.urlopen(known, timeout=10).read() == b"value"
        for path in ("/global/key", f"/{'0' * 32}:{port}/global/key", "/"):
            with pytest.raises(urllib.error.HTTPError, match="403") as refused:
                urllib.request.urlopen(f"http://{address}{path}", timeout=10)
            refused.value.close()
        others = [name for _, name in socket.if_nameindex() if name != "lo"]
        assert listening_addresses(port) == {"127.0.0.1"}, others


def listening_addresses(port: int) -> set[str]:
    """Of this machine's sockets that listen on a port, IPv4 and IPv6."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address)
    return found


def test_an_interface_that_a_machine_lacks_is_a_recipe_error_that_names_those_it_has():
    with pytest.raises(ConfigError, match="lo"):
        pick_interface(["nosuch0"])
    assert pick_interface(["nosuch0", "lo"]) == "lo"


def test_an_agent_beside_us_runs_ranks_and_hears_when_to_end_them(tmp_path):
    settings = Launch(hosts="localhost:2")
    events = run("tell({'rank': rank, 'iface': os.environ['HOROVOD_GLOO_IFACE']})", 2, tmp_path, settings=settings)
    assert sorted(event["rank"] for event in events) == [0, 1] and {event["iface"] for event in events} == {"lo"}
    with pytest.raises(DataError, match="no such row"):
        run("tell({'rank': 0, 'error': 'no such row'}) or sys.exit(3) if rank == 0 else go_on()", 2, tmp_path, settings=settings)


def test_ranks_of_an_agent_whose_launcher_was_killed_are_ended(tmp_path):
    tail = f"Path({str(tmp_path)!r}, str(rank)).write_text(str(os.getpid())); go_on()"
    code = f"""
from pathlib import Path
from pipeline.sections.launch import Launch
from pipeline.train.launch import launch
launch({program(tail)!r}, 2, logs=Path({str(tmp_path)!r}), stall_timeout_s=60, on_event=print, settings=Launch(hosts="localhost:2"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    deadline = time.monotonic() + 90
    files = [tmp_path / "0", tmp_path / "1"]
    while not all(file.exists() and file.read_text() for file in files):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    process.wait()
    while not all(ended(int(file.read_text())) for file in files):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with two_hosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made


def launch_on(hosts: Hosts, tail: str, logs: Path, stall_timeout_s: int = 60, slots: str = "a:1,b:1") -> subprocess.Popen[str]:
    """The launcher, on host a."""
    code = f"""
import json, sys
from pathlib import Path
from pipeline.errors import LonghaulError
from pipeline.sections.launch import Launch
from pipeline.train.launch import launch
settings = Launch(hosts={slots!r}, interfaces=("nosuch0", {INTERFACE!r}), ssh_config={str(hosts.config)!r})
show = lambda event: print(json.dumps(event), flush=True)
try:
    logs = Path({str(logs)!r})
    launch({program(tail)!r}, len(settings.slots), logs=logs, stall_timeout_s={stall_timeout_s}, on_event=show, settings=settings)
except LonghaulError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
    environment = {**os.environ, "SECRET_OF_THIS_MACHINE": "canary"}
    return subprocess.Popen(
        hosts.on("a", sys.executable, "-c", code), cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@needs_hosts
def test_ranks_on_two_hosts_bind_the_named_network_and_get_no_secrets_of_the_launcher(hosts, tmp_path):
    tail = """
listening = [line.split()[1] for line in open("/proc/net/tcp").readlines()[1:] if line.split()[3] == "0A"]
names = ("HOROVOD_GLOO_IFACE", "HOROVOD_HOSTNAME", "HOROVOD_SIZE", "HOROVOD_LOCAL_SIZE")
tell({"rank": rank, "secret": os.environ.get("SECRET_OF_THIS_MACHINE"), **{name: os.environ[name] for name in names}})
"""
    process = launch_on(hosts, tail, tmp_path)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told = sorted((json.loads(line) for line in out.splitlines()), key=lambda event: event["rank"])
    assert [event["HOROVOD_HOSTNAME"] for event in told] == ["a", "b"]
    shared = {"HOROVOD_GLOO_IFACE": INTERFACE, "HOROVOD_SIZE": "2", "HOROVOD_LOCAL_SIZE": "1", "secret": None}
    assert all(shared.items() <= event.items() for event in told)


@needs_hosts
def test_a_host_whose_network_is_cut_ends_the_job_with_its_name_and_no_rank_on_either_side(tmp_path):
    with two_hosts(tmp_path / "hosts") as own:
        process = launch_on(own, "tell({'rank': rank})\ngo_on()", tmp_path, stall_timeout_s=8)
        assert process.stdout is not None
        assert {json.loads(process.stdout.readline())["rank"] for _ in range(2)} == {0, 1}
        own.cut()
        _, errors = process.communicate(timeout=120)
        record = json.loads((tmp_path / "verdict.json").read_text())
        assert process.returncode == 4 and "rank 1 on b" in errors, errors
        assert (record["rank"], record["host"], record["phase"], record["file"]) == (1, "b", "compute", "part-00007.parquet")
        deadline = time.monotonic() + 60
        while left := [pid for name in ("a", "b") for pid in own.processes(name) if is_rank(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


def is_rank(pid: int) -> bool:
    try:
        return b"go_on" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@needs_hosts
def test_a_host_that_refuses_the_connection_is_named_with_what_ssh_said(hosts, tmp_path):
    config = tmp_path / "config"
    config.write_text(hosts.config.read_text().replace("  IdentityFile", f"  IdentityFile {tmp_path}/no\n  # IdentityFile", 1))
    broken = Hosts(hosts.spaces, config)
    process = launch_on(broken, "go_on()", tmp_path, slots="a:1,b:1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 4 and "rank 0 on a is gone" in errors and "255" in errors and "Permission denied" in errors


@needs_hosts
def test_over_hosts_a_killed_rank_is_named_with_its_host_and_its_last_lines(hosts, tmp_path):
    tail = "print('gone now', flush=True) or time.sleep(1) or os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else go_on()"
    process = launch_on(hosts, tail, tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 4 and "Rank 1 of 2 on b was ended by SIGKILL" in errors and "gone now" in errors


def test_what_rank_0_prints_is_on_the_screen_and_in_its_log_and_what_it_warns_of_in_the_log_alone(tmp_path, capfd):
    tail = """
from pipeline.train.events import show_on_screen
show_on_screen() if rank == 0 else None
print("printed by", rank, flush=True)
print("warned by", rank, file=sys.stderr, flush=True)
"""
    assert run(tail, 2, tmp_path) == []
    shown = capfd.readouterr()
    assert shown.err == "printed by 0\n" and shown.out == ""
    for rank in range(2):
        log = (tmp_path / f"rank-{rank}.log").read_text()
        assert f"printed by {rank}" in log and f"warned by {rank}" in log


def test_ctrl_c_is_the_launchers_to_hear(tmp_path):
    tail, before = "os.kill(os.getpid(), signal.SIGINT); time.sleep(0.3); tell({'alive': rank})", signal.getsignal(signal.SIGINT)
    assert run(tail, 1, tmp_path) == [{"alive": 0}]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.spark
def test_inside_spark_ranks_meet_tell_and_fail_as_anywhere(tmp_path):
    settings = Launch(spark=True, interfaces=("lo",))
    fine, broken = tmp_path / "fine", tmp_path / "broken"
    code = f"""
import json, sys
from pathlib import Path
from pipeline.errors import LonghaulError
from pipeline.sections.launch import Launch
from pipeline.train.launch import launch
show = lambda event: print(json.dumps(event), flush=True)
settings = Launch.model_validate_json({settings.model_dump_json()!r})
for logs, tail in ((Path({str(fine)!r}), {program(SUM)!r}), (Path({str(broken)!r}), {program(WRONG)!r})):
    logs.mkdir()
    try:
        launch(tail, 2, logs=logs, stall_timeout_s=60, on_event=show, settings=settings)
    except LonghaulError as error:
        print(json.dumps({{"failed": str(error), "code": error.exit_code}}), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=500, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert sorted(event["sum"] for event in events if "sum" in event) == [3.0, 3.0], (done.stdout, done.stderr[-2000:])
    assert events[-1] == {"failed": "row 7 is wrong", "code": 3}


SUM = """
import horovod.tensorflow as hvd, numpy as np
hvd.init()
tell({"rank": rank, "sum": float(hvd.allreduce(np.asarray(hvd.rank() + 1.0), op=hvd.Sum))})
"""
WRONG = "tell({'rank': 1, 'error': 'row 7 is wrong'}) or sys.exit(3) if rank == 1 else go_on()"
