"""The operator: what it starts, what it makes of the way that ends, and what it lets in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RETRIED, FINAL = "AirflowException", "AirflowFailException"
RESULT = {"stage": "train", "run_id": "r1", "folder": "/f", "digest": "d1", "content_digest": "c1", "reused_from": None}

REFUSED = {
    "a second command": "train.epochs=3; touch owned",
    "a command alone": "; touch owned",
    "command substitution": "train.seed=$(touch owned)",
    "backticks": "train.seed=`touch owned`",
    "a variable": "train.seed=$HOME",
    "a template": "train.seed={{ 7*7 }}",
    "a template block": "train.seed={% raw %}",
    "a line break at the end": "train.seed=3\n",
    "a line break inside": "train.seed=3\n--force",
    "a carriage return": "train.seed=3\r",
    "a null character": "train.seed=3\0",
    "an option": "--force",
    "an option as value of no key": "--root=/tmp/elsewhere",
    "a space": "train.seed=3 --force",
    "a quote": "train.seed='3'",
    "a YAML tag": "train.seed=!!python/object:os.system",
    "no value": "train.seed=",
    "no key": "=3",
    "an empty key": "train..seed=3",
    "the recipe's name": "name=other",
    "the gate": "register.gate.accuracy.min=0.0",
    "the registered name": "register.name=other",
    "the schedule": "schedule.retries=99",
    "too long": f"train.seed={'1' * 300}",
}
ACCEPTED = ["train.seed=3", "train.optimizer.learning_rate=1e-3", "source.path=s3://bucket/a_b-c/2026.csv", "normalize.Petal_width=minmax"]

pytestmark = pytest.mark.airflow


def test_arguments_are_literal_the_environment_clean_and_the_folder_the_projects(airflow):
    case = {"stage": "register", "params": {"epochs": 3, "force": True, "overrides": ["train.seed=5", "model.width=64"]}}
    secrets = {
        "AIRFLOW__CORE__FERNET_KEY": "k",
        "_AIRFLOW_PARSING": "p",
        "__AIRFLOW_SUPERVISOR_FD": "9",
        "AIRFLOW_VAR_TOKEN": "t",
        "KEPT": "yes",
    }
    [done] = airflow.side("execute", [case], **secrets)
    [call] = airflow.calls
    assert call["argv"] == [
        *("register", "conf/digits.yaml", "--root", str(airflow.home / "runs"), "--date", "2026-01-03T00:00:00+00:00", "--json"),
        *("--set", "train.epochs=3", "--set", "train.seed=5", "--set", "model.width=64", "--force"),
    ]
    assert call["cwd"] == str(PROJECT)
    assert call["environment"]["KEPT"] == "yes" and "PATH" in call["environment"]
    assert not [name for name in call["environment"] if "AIRFLOW" in name]
    assert "a-password" not in json.dumps(call["environment"])
    assert done == {"result": RESULT | {"stage": "register"}, "events": [{"extra": RESULT | {"stage": "register"}}]}


def test_a_failure_is_retried_only_if_that_can_help(airflow):
    expected = {2: FINAL, 3: FINAL, 5: FINAL, 4: RETRIED, 1: RETRIED, 77: RETRIED, 143: RETRIED, -9: RETRIED, -11: RETRIED, "silent": FINAL}
    cases = [{"environment": {"FAKE": json.dumps({"train": [code]})}} for code in expected]
    ended = dict(zip(expected, airflow.side("execute", cases), strict=True))
    assert {code: case["error"] for code, case in ended.items()} == expected
    assert "ended with exit code 3 (DataError)" in ended[3]["message"]
    assert "first line of train ä\nerror: the reason" in ended[3]["message"]
    assert "was ended by SIGKILL" in ended[-9]["message"]
    assert "not the expected JSON" in ended["silent"]["message"]


def test_a_command_that_is_not_there_is_said_with_the_way_out(airflow):
    [ended] = airflow.side("execute", [{}], LONGHAUL_PIPELINE="/nowhere/pipeline")
    assert ended["error"] == FINAL
    assert "Cannot start /nowhere/pipeline: No such file or directory" in ended["message"] and "make setup" in ended["message"]


@pytest.mark.parametrize(
    ("logical_date", "given"),
    [
        ("2026-01-03T00:00:00+00:00", "2026-01-03T00:00:00+00:00"),
        ("2026-01-03T02:00:00+02:00", "2026-01-03T00:00:00+00:00"),
        (None, "2026-02-01T12:30:15+00:00"),
    ],
    ids=["UTC", "another zone", "none: the run's run_after"],
)
def test_the_date_is_the_logical_date_in_utc(airflow, logical_date, given):
    airflow.side("execute", [{"logical_date": logical_date}])
    assert airflow.calls[0]["argv"][4:6] == ["--date", given]


def test_parameters_that_are_not_plain_settings_are_refused_by_server_and_worker(shared_airflow):
    confs = [{"overrides": [text]} for text in REFUSED.values()]
    confs += [
        {"overrides": "train.seed=3"},
        {"epochs": 0},
        {"epochs": "3; touch owned"},
        {"epochs": 2.5},
        {"epochs": True},
        {"force": "yes"},
    ]
    accepted = [conf for conf, verdicts in zip(confs, shared_airflow.side("params", confs), strict=True) if None in verdicts]
    assert accepted == []


def test_plain_settings_are_accepted(shared_airflow):
    confs = [{"overrides": ACCEPTED}, {"epochs": 3, "force": True}, {}]
    assert shared_airflow.side("params", confs) == [[None, None]] * 3


def test_an_unknown_parameter_is_refused_before_anything_starts(airflow):
    [ended] = airflow.side("execute", [{"params": {"epoch": 3}}])
    assert ended["error"] == FINAL and "Unknown parameters ['epoch']" in ended["message"]
    assert airflow.calls == []
