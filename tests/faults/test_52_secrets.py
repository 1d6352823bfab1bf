"""Secrets of the machine that runs the pipeline: whatever stands in its environment is in nothing that a run leaves."""

from __future__ import annotations

import secrets

import pytest

from tests.conftest import PROJECT, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

NAMES = ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "DATABASE_URL", "_SPARK_AUTH_SECRET", "SOME_TOKEN")


def test_what_stands_in_the_environment_is_in_nothing_that_a_run_leaves(tmp_path):
    canaries = {name: f"canary{secrets.token_hex(12)}" for name in NAMES}
    done = pipeline("run", PROJECT / "conf" / "iris.yaml", root=tmp_path, **canaries)
    assert done.code == 0, done.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files) and any(path.suffix == ".log" for path in files)
    told = {"stdout": done.out.encode(), "stderr": done.err.encode()} | {str(path): path.read_bytes() for path in files}
    for name, canary in canaries.items():
        assert [where for where, content in told.items() if canary.encode() in content] == [], name


def test_a_failure_tells_no_secret_either(tmp_path):
    canaries = {name: f"canary{secrets.token_hex(12)}" for name in NAMES}
    wrong = "train.optimizer={name: sgd, learning_rate: 1.0e+30}"
    done = pipeline("run", PROJECT / "conf" / "iris.yaml", "--set", wrong, root=tmp_path / "runs", **canaries)
    assert done.code == 3, done.err
    told = [done.out.encode(), done.err.encode(), *(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())]
    assert not any(canary.encode() in content for canary in canaries.values() for content in told)
