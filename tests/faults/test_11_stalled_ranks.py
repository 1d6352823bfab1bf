"""Ranks that do not get on, in a real training: the job ends within its limit and says who it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import PIPELINE, PROJECT, FinishedRun
from tests.train.hosts import two_hosts, why_not
from tests.train.places import HERE, over, training, with_callback
from tests.train.processes import marked, wait_until_none_is_left
from tests.train.test_ranks import is_alive, link_prepared, ranks_of, reached, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 10
PHASES = ("read", "compute", "reduce", "checkpoint", "evaluate")
OVERRIDES = ("train.steps_per_execution=1", f"train.stall_timeout_s={LIMIT_S}")


def start(finished: FinishedRun, root: Path, **environment: str) -> tuple[subprocess.Popen[str], Path]:
    """`pipeline train` in the background, and the stage's folder."""
    run = link_prepared(finished, root, OVERRIDES)
    sets = [argument for override in OVERRIDES for argument in ("--set", override)]
    command = [PIPELINE, "train", finished.path, *sets, "--root", root]
    process = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return process, run.stage("train")


def verdict(errors: str) -> dict[str, object]:
    found = re.search(r"(\S+verdict\.json)", errors)
    assert found, errors
    record: dict[str, object] = json.loads(Path(found[1]).read_text())
    return record


def test_a_stopped_rank_is_named_and_none_is_left(iris_run, tmp_path):
    process, folder = start(iris_run, tmp_path)
    wait_for(reached(folder / "checkpoints", 5), process)
    ranks = ranks_of(process.pid)
    os.kill(ranks[1], signal.SIGSTOP)
    began = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 4 and time.monotonic() - began < LIMIT_S + 60
    assert "rank 1 on localhost has been silent" in errors
    assert verdict(errors)["rank"] == 1
    assert not any(is_alive(rank) for rank in ranks)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a disk that hangs is made with gcc")
def test_a_stuck_reader_is_named_with_its_file(iris_run, tmp_path):
    library, marker = tmp_path / "hanging_disk.so", tmp_path / "hangs"
    source = PROJECT / "tests" / "faults" / "hanging_disk.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    process, folder = start(iris_run, tmp_path, LD_PRELOAD=str(library), HANGS_WHILE=str(marker))
    wait_for(reached(folder / "checkpoints", 5), process)
    ranks = ranks_of(process.pid)
    marker.touch()
    _, errors = process.communicate(timeout=200)
    record = verdict(errors)
    assert process.returncode == 4 and record["cause"] == "stuck" and record["phase"] == "read", errors
    assert str(record["file"]).startswith("part-") and str(record["file"]) in errors
    assert not any(is_alive(rank) for rank in ranks)


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_cut_network_ends_both_sides_and_names_the_host_that_is_gone(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.1)
    with two_hosts(tmp_path / "hosts") as hosts, training(over(hosts), slow, tmp_path, *OVERRIDES, callback, "train.ranks=2") as job:
        job.wait_for_step(5)
        hosts.cut()
        began = time.monotonic()
        assert job.end(LIMIT_S + 60) == 4, job.printed()
        wait_until_none_is_left(job.mark, LIMIT_S + 30)
    seen = verdict(job.printed())
    assert (seen["rank"], seen["host"]) == (1, "b") and seen["phase"] in PHASES and str(seen["file"]).startswith("part-"), seen
    assert "rank 1 on b" in job.printed() and str(seen["file"]) in job.printed()
    assert time.monotonic() - began < LIMIT_S + 90


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_rank_stopped_on_another_host_is_named_with_it(iris_run, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.1)
    with two_hosts(tmp_path / "hosts") as hosts, training(over(hosts), slow, tmp_path, *OVERRIDES, callback, "train.ranks=2") as job:
        job.wait_for_step(5)
        (there,) = set(hosts.processes("b")) & {pid for pid, command in marked(job.mark).items() if "pipeline.train.rank" in command}
        os.kill(there, signal.SIGSTOP)
        assert job.end(LIMIT_S + 60) == 4, job.printed()
        wait_until_none_is_left(job.mark, 20)
    seen = verdict(job.printed())
    assert (seen["cause"], seen["rank"], seen["host"]) == ("silent", 1, "b") and seen["phase"] in PHASES, seen


def test_a_rank_that_is_slower_than_the_others_is_named_with_its_share(iris_run, tmp_path):
    uneven, callback = with_callback(iris_run, tmp_path / "recipe", "OneIsSlow", rank=1, seconds=0.2)
    overrides = ("train.early_stopping=null", "train.steps_per_execution=1", "train.epochs=12", "train.ranks=2")
    with training(HERE, uneven, tmp_path, *overrides, callback) as job:
        assert job.end() == 0, job.printed()
    told = re.search(
        r"straggler: rank (\d) on localhost needs ([\d.]+) ms .* the others ([\d.]+) ms; they wait for it (\d+)%", job.printed()
    )
    assert told, job.printed()
    assert told[1] == "1" and float(told[2]) >= 200 > float(told[3]) and int(told[4]) >= 50
