"""What the DAG tests do inside Airflow's environment. A JSON request on stdin, the JSON answer as the last line of stdout.

Run by Airflow's Python, never imported by pytest: `python airflow_side.py parse|params|execute < request`.
"""

from __future__ import annotations

import contextvars
import json
import os
import sys
import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

OURS_AND_HEAVY = ("pipeline", "models", "tensorflow", "keras", "pyspark", "petastorm", "horovod", "mlflow", "sklearn", "pyarrow", "typer")


def parse(request: None) -> dict[str, Any]:
    """What a DagBag finds, what was imported for it, and what it cost beyond Airflow itself."""
    import airflow.sdk  # noqa: F401
    from airflow.dag_processing.dagbag import DagBag

    DagBag(dag_folder=os.devnull, collect_dags=False)
    start = time.process_time()
    bag = DagBag(dag_folder=os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    seconds = time.process_time() - start
    return {
        "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
        "import_errors": bag.import_errors,
        "modules": sorted(name for name in sys.modules if name.split(".")[0] in OURS_AND_HEAVY),
        "seconds": seconds,
    }


def describe(dag: Any) -> dict[str, Any]:
    return {
        "tasks": [task.task_id for task in dag.topological_sort()],
        "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "retries": {task.task_id: (task.retries, task.retry_delay.total_seconds()) for task in dag.tasks},
        "pools": {task.task_id: task.pool for task in dag.tasks},
        "outlets": {task.task_id: [asset.uri for asset in task.outlets] for task in dag.tasks},
        "templates": {task.task_id: list(task.template_fields) for task in dag.tasks},
        "schedule": dag.schedule,
        "catchup": dag.catchup,
        "start_date": dag.start_date.isoformat(),
        "max_active_runs": dag.max_active_runs,
        "params": {name: [dag.params[name], dag.params.get_param(name).schema] for name in dag.params},
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
    }


def digits() -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=os.environ["AIRFLOW__CORE__DAGS_FOLDER"]).dags["digits"]


def params(request: list[dict[str, Any]]) -> list[list[str | None]]:
    """For each conf of a request, why it is refused: by the worker, and by the API server (from the serialized DAG); None if it is not."""
    from airflow.sdk.definitions.param import process_params
    from airflow.serialization.serialized_objects import DagSerialization

    dag = digits()
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))

    def refusal(check: Any) -> str | None:
        try:
            check()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    return [
        [
            refusal(lambda conf=conf: process_params(dag, dag.get_task("train"), conf, suppress_exception=False)),
            refusal(lambda conf=conf: stored.params.deep_merge(conf).validate()),
        ]
        for conf in request
    ]


def execute(request: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each case of a request ({stage, params, environment, logical_date}) run by the operator as Airflow's task runner runs it."""
    dag = digits()
    return [execute_case(dag, case) for case in request]


def execute_case(dag: Any, case: dict[str, Any]) -> dict[str, Any]:
    from airflow.sdk.bases.operator import ExecutorSafeguard

    task = dag.get_task(case.get("stage", "train"))
    logical_date = case.get("logical_date", "2026-01-03T00:00:00+00:00")
    run = SimpleNamespace(
        logical_date=logical_date and datetime.fromisoformat(logical_date), run_after=datetime(2026, 2, 1, 12, 30, 15, tzinfo=UTC)
    )
    context = {
        "dag_run": run,
        "params": dag.params.dump() | case.get("params", {}),
        "outlet_events": {asset: SimpleNamespace() for asset in task.outlets},
    }
    os.environ.update(case.get("environment", {}))
    inside = contextvars.copy_context()
    inside.run(ExecutorSafeguard.tracker.set, task)
    try:
        return {"result": inside.run(task.execute, context=context), "events": [vars(event) for event in context["outlet_events"].values()]}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](json.load(sys.stdin))
    print("\n" + json.dumps(answer, default=str))
