"""Whole DAG runs by Airflow itself: `airflow dags test`, on SQLite, with a stand-in for the stages and with the real ones."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STAGES = ["prepare", "train", "evaluate", "register"]
DIGITS = (PROJECT / "conf" / "digits.yaml").read_text()
ONE_RETRY = {"digits.yaml": DIGITS.replace("retries: 2", "retries: 1, retry_delay_s: 1")}
NO_RETRY = {"digits.yaml": DIGITS.replace("retries: 2", "retries: 0")}

pytestmark = pytest.mark.airflow


def test_a_run_passes_names_and_digests_on_and_tells_of_its_model(airflow):
    done = airflow.command("dags", "test", "digits", "2026-01-03", "--conf", json.dumps({"epochs": 3, "overrides": ["train.seed=5"]}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert airflow.states() == dict.fromkeys(STAGES, ("success", 1))
    assert [call["argv"][0] for call in airflow.calls] == STAGES
    assert (
        len({tuple(call["argv"][1:]) for call in airflow.calls}) == 1
    )  # the same settings for all four, or they would not find each other
    assert airflow.calls[0]["argv"][-4:] == ["--set", "train.epochs=3", "--set", "train.seed=5"]
    kept = {task: json.loads(value) for task, value in airflow.rows("select task_id, value from xcom where key = 'return_value'")}
    expected = {"run_id": "r1", "folder": "/f", "digest": "d1", "content_digest": "c1", "reused_from": None}
    assert kept == {stage: {"stage": stage} | expected for stage in STAGES}
    [(uri, extra)] = airflow.rows("select a.uri, e.extra from asset_event e join asset a on a.id = e.asset_id")
    assert uri == "x-longhaul://models/digits"
    assert json.loads(extra)["digest"] == "d1"
    assert "first line of train" in done.stdout + done.stderr


def test_an_injection_stops_the_run_before_any_stage(airflow):
    owned = airflow.home / "owned"
    texts = [
        f"train.epochs=3; touch {owned}",
        f"train.seed=$(touch {owned})",
        f"train.seed={{{{ cycler.__init__('touch {owned}') }}}}",
        "train.seed=3\n",
    ]
    done = airflow.command("dags", "test", "digits", "2026-01-03", "--conf", json.dumps({"overrides": texts}))
    assert done.returncode != 0
    assert "Invalid input for param overrides" in done.stdout + done.stderr
    assert airflow.calls == [] and not owned.exists()


def test_infrastructure_is_tried_again_and_a_refused_model_is_not(airflow_on_copy):
    airflow = airflow_on_copy(ONE_RETRY)
    done = airflow.command("dags", "test", "digits", "2026-01-03", FAKE=json.dumps({"train": [4, 0], "register": [5]}))
    assert done.returncode != 0
    assert airflow.states() == {"prepare": ("success", 1), "train": ("success", 2), "evaluate": ("success", 1), "register": ("failed", 1)}
    assert [call["argv"][0] for call in airflow.calls] == ["prepare", "train", "train", "evaluate", "register"]
    assert airflow.rows("select * from asset_event") == []


def test_a_killed_task_leaves_no_process(airflow_on_copy):
    airflow = airflow_on_copy(NO_RETRY)
    argv = [str(airflow.python.with_name("airflow")), "dags", "test", "digits", "2026-01-03"]
    environment = airflow.environment | {"FAKE": json.dumps({"prepare": ["wait"]})}
    with subprocess.Popen(argv, env=environment, cwd=airflow.home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: len(pids(airflow.fake)) == 2, 120)
        process.send_signal(signal.SIGTERM)  # Airflow's supervisor stops a task with the same signal; its handler calls on_kill
        wait_for(lambda: not any(map(is_alive, pids(airflow.fake))), 6)
        assert process.wait(60) != 0
    assert airflow.states()["prepare"] == ("failed", 1)


@pytest.mark.e2e
def test_digits_goes_through_every_stage_for_real(airflow):
    """The work environment's own command, on real images; six epochs are enough for the recipe's gate."""
    airflow.environment["LONGHAUL_PIPELINE"] = str(PROJECT / ".venv" / "bin" / "pipeline")
    done = airflow.command("dags", "test", "digits", "2026-01-03", "--conf", '{"epochs": 6}', timeout_s=590)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert airflow.states() == dict.fromkeys(STAGES, ("success", 1))
    [run] = (airflow.home / "runs" / "digits").iterdir()
    assert run.name.startswith("20260103T000000Z-")
    kept = {task: json.loads(value) for task, value in airflow.rows("select task_id, value from xcom where key = 'return_value'")}
    for stage in STAGES:
        manifest = json.loads((run / stage / "manifest.json").read_text())
        assert (manifest["stage"], manifest["run_id"]) == (stage, run.name)
        assert Path(kept[stage]["folder"]) == run / stage and kept[stage]["run_id"] == run.name


def pids(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
