"""Ranks that do not get on, in a real training: the job ends within its limit and says who it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.schema import Trained
from tests.conftest import PIPELINE, PROJECT, FinishedRun
from tests.train.hosts import INTERFACE, two_hosts, why_not
from tests.train.test_ranks import is_alive, link_prepared, ranks_of, reached, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 10
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
def test_over_two_hosts_the_weights_are_those_of_a_local_run(iris_run, tmp_path):
    overrides = ("train.epochs=4", "train.early_stopping=null", "train.ranks=2")
    run = link_prepared(iris_run, tmp_path, overrides)
    digests = []
    with two_hosts(tmp_path / "hosts") as hosts:
        over_hosts = ("launch.hosts=a:1,b:1", f"launch.interfaces=[{INTERFACE}]", f"launch.ssh_config={hosts.config}")
        for launch in ((), over_hosts):
            sets = [argument for override in (*overrides, *launch) for argument in ("--set", override)]
            command = [sys.executable, "-m", "pipeline.cli", "train", str(iris_run.path), *sets, "--force", "--root", str(tmp_path)]
            done = subprocess.run(hosts.on("a", *command), cwd=PROJECT, capture_output=True, text=True, check=False, timeout=400)
            assert done.returncode == 0, done.stdout + done.stderr
            manifest = json.loads((run.stage("train") / "manifest.json").read_text())
            digests.append(Trained.model_validate(manifest["facts"]).weight_digest)
    assert digests[0] == digests[1]
