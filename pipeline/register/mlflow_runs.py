"""Runs in MLflow, through a client that store.py has opened: a training's own, and those that an evaluation left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.paths import Run
from pipeline.register import record

Client = Any  # an MlflowClient: store.py alone imports mlflow, whose types these are
MlflowRun = Any


def open_experiment(client: Client, run: Run) -> str:
    known = client.get_experiment_by_name(run.recipe)
    return str(known.experiment_id if known else client.create_experiment(run.recipe, (run.registry_artifacts / run.recipe).as_uri()))


def find_live(client: Client, experiment_id: str, run_id: str, key: str) -> str | None:
    """The run that live.py wrote this training's epochs into, unless a version of another evaluation stands on it."""
    found = search(client, experiment_id, {"pipeline_run": run_id, "train_key": key})[:1]
    free = [run.info.run_id for run in found if not client.search_model_versions(f"run_id = '{run.info.run_id}'")]
    return free[0] if free else None


def remove_earlier(client: Client, experiment_id: str, evaluate_digest: str, but: str | None) -> None:
    """Runs of this evaluation that no version stands on: cut off by a crash, or rejected and now decided again."""
    for run in search(client, experiment_id, {"evaluate_digest": evaluate_digest}):
        if run.info.run_id != but and not client.search_model_versions(f"run_id = '{run.info.run_id}'"):
            client.delete_run(run.info.run_id)


def search(client: Client, experiment_id: str, tags: Mapping[str, str]) -> list[MlflowRun]:
    """Runs with these tags, the newest first."""
    condition = " AND ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment_id], condition, order_by=["attributes.start_time DESC"]))


def logged_epochs(client: Client, run_id: str) -> set[int]:
    """Epochs whose metrics a run has as a whole."""
    return {point.step for point in client.get_metric_history(run_id, f"epoch/{record.LAST}")}
