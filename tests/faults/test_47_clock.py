"""The clock is set back by an hour while ranks train: durations, the watchdog and what is found again do not notice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.train.places import HERE, training, with_callback

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.skipif(shutil.which("gcc") is None, reason="such a clock is made with gcc")]


@pytest.fixture
def clock(tmp_path):
    """What makes a process's clock go back as soon as the file is there."""
    library = tmp_path / "clock_set_back.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, PROJECT / "tests" / "faults" / "clock_set_back.c", "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_SET_BACK_WHILE": str(tmp_path / "set-back")}


def test_the_plant_is_real(clock, tmp_path):
    code = """
import os, pathlib, time
wall, steady = time.time(), time.monotonic()
pathlib.Path(os.environ["CLOCK_SET_BACK_WHILE"]).touch()
print(time.time() - wall, time.monotonic() - steady)
"""
    said = subprocess.run([sys.executable, "-c", code], env=clock, capture_output=True, text=True, check=True).stdout
    wall, steady = map(float, said.split())
    assert -3601 < wall < -3590 and 0 <= steady < 10


def test_a_training_under_a_clock_that_is_set_back_ends_well_with_true_durations(iris_run, clock, tmp_path):
    slow, callback = with_callback(iris_run, tmp_path / "recipe", "Unhurried", seconds=0.1)
    overrides = (callback, "train.epochs=8", "train.early_stopping=null", "train.stall_timeout_s=20", "train.steps_per_execution=1")
    with training(HERE, slow, tmp_path, *overrides, "train.checkpoint_steps=1", **clock) as job:
        job.wait_for_step(5)
        (tmp_path / "set-back").touch()
        assert job.end() == 0, job.printed()
    manifest = json.loads((job.run.stage("train") / "manifest.json").read_text())
    assert 0 < manifest["seconds"] < 300
    assert all(0 < epoch.seconds < 100 for epoch in job.trained().history)
    with training(HERE, slow, tmp_path, *overrides, "train.checkpoint_steps=1") as again:
        assert again.end(60) == 0
    assert json.loads((job.run.stage("train") / "manifest.json").read_text())["attempt"] == manifest["attempt"]
