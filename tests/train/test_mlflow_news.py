"""Epochs in MLflow while training goes on, and training that goes on whatever becomes of MLflow."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.console import Console
from pipeline.errors import Interrupted
from pipeline.register import store
from pipeline.stage import Request
from pipeline.train import mlflow_news as news
from tests.conftest import PROJECT, pipeline
from tests.evaluate.finished_run import make_request

SECRET = "s3cr3t-canary"
KEY = "k" * 64


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return make_request(tmp_path / "runs", overrides=(f"description=from https://me:{SECRET}@host/table",))


def told(epoch: int) -> dict[str, Any]:
    return {"done": epoch, "epoch": epoch, "metrics": {"loss": 1 / epoch, "val_loss": 2 / epoch}, "ranks": [{"rows": 3}]}


def runs(request: Request) -> list[Any]:
    with store.exclusively(request.run.root):  # whoever is first makes the tables
        client = store.connect(request.run)
        experiment = client.get_experiment_by_name(request.run.recipe)
        return client.search_runs([experiment.experiment_id]) if experiment else []


def losses(request: Request, run_id: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.connect(request.run).get_metric_history(run_id, "epoch/loss")]


def logged(request: Request, epoch: int) -> bool:
    found = runs(request)
    return bool(found) and epoch in [step for step, _ in losses(request, found[0].info.run_id)]


def hear(request: Request, folder: Path, *, is_anew: bool = True) -> Any:
    folder.mkdir(exist_ok=True)
    return news.mlflow_news(request, KEY, folder, is_anew=is_anew)


@pytest.mark.tf
@pytest.mark.slow
def test_an_epoch_is_there_before_training_ends_and_a_killed_training_goes_on_in_the_same_run(request_, tmp_path, monkeypatch):
    monkeypatch.setattr(news, "GRACE_S", 300.0)  # a loaded machine takes its time to import MLflow
    with pytest.raises(Interrupted), hear(request_, tmp_path / "log") as tell:
        tell(told(1))
        tell({"done": 3, "epoch": 2, "loss": 0.1, "stalled": 0.0})  # no epoch's end
        deadline = time.monotonic() + 120
        while not logged(request_, 1):
            assert time.monotonic() < deadline, (tmp_path / "log" / "mlflow.log").read_text()
            time.sleep(0.2)
        raise Interrupted("stopped")
    assert [run.info.status for run in runs(request_)] == ["KILLED"]
    with hear(request_, tmp_path / "log", is_anew=False) as tell:
        tell(told(1))  # told again, because the checkpoint was from before
        tell(told(2))
    (run,) = runs(request_)
    assert (run.info.status, losses(request_, run.info.run_id)) == ("FINISHED", [(1, 1.0), (2, 0.5)])
    assert run.data.params["train.optimizer.name"] == "adamw"
    everything = (request_.run.root / "mlflow.db").read_bytes() + (tmp_path / "log" / "mlflow.log").read_bytes()
    assert SECRET.encode() not in everything


@pytest.mark.tf
def test_a_locked_or_damaged_database_keeps_nobody_waiting_and_is_told(request_, tmp_path, monkeypatch):
    monkeypatch.setattr(news, "GRACE_S", 4.0)
    request_.run.root.mkdir(parents=True)
    store.connect(request_.run).search_experiments()  # makes the tables
    said: list[str] = []
    monkeypatch.setattr(Console, "note", lambda self, text: said.append(text))
    lock = sqlite3.connect(request_.run.root / "mlflow.db")
    lock.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with hear(request_, tmp_path / "log") as tell:
        for epoch in range(1, 3000):  # more than a pipe holds
            tell(told(epoch))
    assert time.monotonic() - began < 30
    lock.close()
    (request_.run.root / "mlflow.db").write_bytes(b"no database" * 1000)
    with hear(request_, tmp_path / "log") as tell:
        tell(told(1))
        time.sleep(0.1)
    assert len(said) == 2 and "register adds what is missing" in said[0]


@pytest.mark.e2e
@pytest.mark.slow
def test_the_registered_version_refers_to_the_run_that_training_wrote_and_has_every_epoch_once(tmp_path):
    sets = ["train.callbacks={mlflow: true}", "train.epochs=6", "train.early_stopping=null", "register.gate={}"]
    command = pipeline("run", PROJECT / "conf" / "iris.yaml", *[part for text in sets for part in ("--set", text)], root=tmp_path)
    assert command.code == 0, command.out + command.err
    facts = json.loads(next(tmp_path.glob("iris/*/register/manifest.json")).read_text())["facts"]
    request = make_request(tmp_path)
    (run,) = runs(request)
    assert run.info.run_id == facts["mlflow_run_id"]
    assert (run.info.status, run.data.tags["gate"]) == ("FINISHED", "accepted")
    assert [step for step, _ in losses(request, run.info.run_id)] == [1, 2, 3, 4, 5, 6]
