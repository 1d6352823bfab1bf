"""A busy store is tried again, a broken one is an infrastructure error, and decisions do not overlap."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy.exc

from pipeline.errors import InfrastructureError
from pipeline.register import job, store

BUSY = sqlalchemy.exc.OperationalError("UPDATE runs", {}, Exception("database is locked"))


@pytest.fixture
def no_delays(monkeypatch):
    monkeypatch.setattr(store, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def failing(errors):
    """An action that raises these, one a call, and then gives "done"."""
    left = list(errors)

    def action():
        if left:
            raise left.pop(0)
        return "done"

    return action


def test_a_store_that_is_busy_for_a_while_is_tried_again(no_delays):
    assert store.retrying(failing([BUSY] * 3), "sqlite:///x") == "done"


def test_a_store_that_stays_busy_is_an_infrastructure_error(no_delays):
    with pytest.raises(InfrastructureError, match="(?s)database is locked.*Tries: 4.*continues from what is recorded") as caught:
        store.retrying(failing([BUSY] * 4), "sqlite:///x")
    assert caught.value.exit_code == 4


def test_what_is_not_busy_is_not_tried_again(no_delays):
    with pytest.raises(InfrastructureError, match="Tries: 1"):
        store.retrying(failing([PermissionError("mlflow.db")]), "sqlite:///x")


def test_a_defect_is_not_hidden_as_infrastructure(no_delays):
    with pytest.raises(KeyError):
        store.retrying(failing([KeyError("x")]), "sqlite:///x")


def test_decisions_do_not_overlap(tmp_path):
    inside, most = 0, []

    def decide():
        nonlocal inside
        with store.exclusively(tmp_path):
            inside += 1
            most.append(inside)
            time.sleep(0.02)
            inside -= 1

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_waiting_for_a_decision_that_hangs_ends_with_an_infrastructure_error(tmp_path):
    with store.exclusively(tmp_path), pytest.raises(InfrastructureError, match="Another process has held"):
        with store.exclusively(tmp_path, timeout_s=0.1):
            pytest.fail("two at once")


@pytest.mark.tf
def test_a_damaged_database_is_an_infrastructure_error_and_publishes_nothing(world, no_delays):
    request = world.first()
    (world.root / "mlflow.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(InfrastructureError, match="not a database"):
        job.run(request)
    assert not (request.run.stage("register") / "manifest.json").exists()
