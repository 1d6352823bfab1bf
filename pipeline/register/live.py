"""Writes a training's epochs into MLflow while it goes on: `python -m pipeline.register.live SPEC.json`, told a JSON line an epoch.

A process of its own beside the ranks: a database that is locked, slow or gone keeps nobody waiting but this one, and what it could not
write is added when the model is registered, to the same run. Its standard input's end is the training's: `{"end": "FINISHED"}` before
it says how; without that the launcher was killed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.paths import Run
from pipeline.register import record
from pipeline.register.mlflow_runs import Client, logged_epochs, open_experiment, search
from pipeline.register.store import connect, exclusively, retrying


@dataclass(frozen=True)
class Training:
    """Which one it is; `key` is its stage's."""

    run: Run
    key: str
    recipe: dict[str, Any]  # resolved
    is_anew: bool  # not the going on of an earlier attempt

    @classmethod
    def read(cls, path: Path) -> Training:
        values = json.loads(path.read_text())
        run = Run(Path(values["root"]), values["recipe"]["name"], values["run_id"])
        return cls(run, values["key"], values["recipe"], values["is_anew"])


def main(arguments: Sequence[str]) -> None:
    training = Training.read(Path(arguments[0]))
    client, run_id = open_run(training)
    known = logged_epochs(client, run_id)
    status = "KILLED"
    for event in map(json.loads, sys.stdin):
        status = event.get("end", status)
        if "metrics" in event and event["epoch"] not in known:
            retrying(partial(log_epoch, client, run_id, event), training.run.registry)
            known.add(event["epoch"])
    retrying(lambda: client.set_terminated(run_id, status), training.run.registry)


def open_run(training: Training) -> tuple[Client, str]:
    """The MLflow run of this training: that of an attempt that was cut off, or a new one."""
    with exclusively(training.run.root):  # the store's first use makes its tables
        return retrying(lambda: find_or_create(connect(training.run), training), training.run.registry)


def find_or_create(client: Client, training: Training) -> tuple[Client, str]:
    experiment_id = open_experiment(client, training.run)
    tags = {"recipe": training.run.recipe, "pipeline_run": training.run.run_id, "train_key": training.key}
    found = search(client, experiment_id, tags)
    if found and not training.is_anew and found[0].info.status != "FINISHED":
        client.update_run(found[0].info.run_id, status="RUNNING")
        return client, str(found[0].info.run_id)
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=training.run.run_id).info.run_id)
    for name, value in record.flatten(training.recipe).items():
        client.log_param(run_id, name, value)
    return client, run_id


def log_epoch(client: Client, run_id: str, event: dict[str, Any]) -> None:
    now = int(time.time() * 1000)
    for name, value in in_order(event["metrics"]):
        client.log_metric(run_id, f"epoch/{name}", value, now, event["epoch"])


def in_order(metrics: dict[str, float]) -> Iterable[tuple[str, float]]:
    """The loss last: an epoch whose loss is there is there as a whole."""
    return sorted(metrics.items(), key=lambda item: item[0] == record.LAST)


if __name__ == "__main__":
    main(sys.argv[1:])
