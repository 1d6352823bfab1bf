"""Runs, versions and the alias in MLflow, on SQLite under the root. The only mlflow importer.

Everything here can be done again after a crash anywhere: a version is found by the digest of the evaluation it carries, and is
made, tags included, in one transaction. One process decides at a time, so a champion cannot change between the gate and the alias.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.attempt import Found
from pipeline.config import Recipe
from pipeline.errors import InfrastructureError
from pipeline.manifest import Manifest
from pipeline.paths import Run
from pipeline.register import record
from pipeline.register.gate import passes
from pipeline.register.mlflow_runs import find_live, logged_epochs, open_experiment, remove_earlier
from pipeline.schema import UNLABELLED, Condition, Registered, Trained, prepared

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")

RETRY_DELAYS_S = (1.0, 4.0)  # MLflow itself waits 20 s for a locked SQLite before it gives up, each time
LOCK_TIMEOUT_S = 600.0
REQUIREMENTS = ("tensorflow-cpu", "tensorflow", "keras", "numpy", "mlflow")  # of the model; guessing them would import everything again


@dataclass(frozen=True)
class Candidate:
    """A trained and evaluated model, with the run it belongs to."""

    recipe: Recipe
    run: Run
    prepare: Manifest
    train: Found
    evaluate: Found

    @property
    def manifests(self) -> dict[str, Manifest]:
        return {"prepare": self.prepare, "train": self.train.manifest, "evaluate": self.evaluate.manifest}


@dataclass(frozen=True)
class Champion:
    """The version that the alias points to. `metrics` are of its own evaluation."""

    version: ModelVersion
    metrics: Mapping[str, float]

    @property
    def run_id(self) -> str:
        """Of the run of this pipeline that registered it; "manual" of a version that somebody else made."""
        return str(self.version.tags.get("pipeline_run", "manual"))


@dataclass(frozen=True)
class Decision:
    """What the gate said; `registered` only if it let the model pass."""

    conditions: tuple[Condition, ...]
    registered: Registered | None


def settle(candidate: Candidate, decide: Callable[[Champion | None], tuple[Condition, ...]]) -> Decision:
    """Put the candidate before the gate and record what came out: a version with the alias, or a rejected run.

    Args:
        candidate: model and evidence.
        decide: conditions, given the champion or None.

    Raises:
        InfrastructureError: the store is locked, damaged or unreachable. What was recorded is found again by a rerun.
    """
    with exclusively(candidate.run.root):
        return retrying(lambda: settle_once(connect(candidate.run), candidate, decide), candidate.run.registry)


def settle_once(client: MlflowClient, candidate: Candidate, decide: Callable[[Champion | None], tuple[Condition, ...]]) -> Decision:
    champion = find_champion(client, candidate)
    conditions = decide(champion)
    if not passes(conditions):
        record_rejected(client, candidate, conditions)
        return Decision(conditions, None)
    version = find_version(client, candidate) or create_version(client, candidate, conditions)
    return Decision(conditions, promote(client, candidate, conditions, version, champion))


@contextmanager
def exclusively(root: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """One process at a time over the store of a root: its first use migrates the database, and decisions must not cross."""
    root.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with (root / ".mlflow.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise InfrastructureError(
                        f"Another process has held {lock.name} for {timeout_s:g} s. Expected a registration to take seconds. "
                        "Find it with `fuser`, end it if it hangs, and run register again."
                    ) from None
                time.sleep(0.1)
        yield


def retrying(action: Callable[[], T], store: str) -> T:
    """The result of `action`, tried again while the store is busy; `action` must be safe to do twice.

    Raises:
        InfrastructureError: still busy after the last delay, or failed for another reason.
    """
    for num_tries, delay_s in enumerate((*RETRY_DELAYS_S, None), start=1):
        try:
            return action()
        except known_failures() as error:
            if delay_s is None or not is_busy(error):
                raise InfrastructureError(
                    f"The MLflow store {store} failed: {error}. Tries: {num_tries}. Check that no other program keeps it locked and that "
                    "its disk has space, then run register again: it continues from what is recorded."
                ) from error
            time.sleep(delay_s)
    raise AssertionError("unreachable")


def known_failures() -> tuple[type[Exception], ...]:
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError


def is_busy(error: BaseException) -> bool:
    return "database is locked" in str(error) or "OperationalError" in f"{type(error).__name__} {error}"


def connect(run: Run) -> MlflowClient:
    """A client of the root's store. Nothing is sent anywhere, and this folder's uv project is not taken for the model's."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_UV_AUTO_DETECT="false")  # before mlflow is imported
    import mlflow

    mlflow.set_tracking_uri(run.registry)  # log_model has no argument for it
    mlflow.set_registry_uri(run.registry)
    return mlflow.MlflowClient(run.registry, run.registry)


def find_champion(client: MlflowClient, candidate: Candidate) -> Champion | None:
    from mlflow.exceptions import MlflowException

    register = candidate.recipe.register_
    try:
        version = client.get_model_version_by_alias(register.name, register.alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no such model, no such alias
            return None
        raise
    logged = client.get_run(str(version.run_id)).data.metrics
    return Champion(version, {name.removeprefix("test/"): value for name, value in logged.items() if name.startswith("test/")})


def origin_of(run: Run, name: str, alias: str | None, version: str | None) -> dict[str, str] | None:
    """Tags of a registered version, which say what run it came from; None if there is no such version.

    Raises:
        InfrastructureError: the store is locked, damaged or unreachable.
    """

    def look() -> dict[str, str] | None:
        from mlflow.exceptions import MlflowException

        client = connect(run)
        try:
            found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, str(version))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return dict(found.tags)

    with exclusively(run.root):
        return retrying(look, run.registry)


def find_version(client: MlflowClient, candidate: Candidate) -> ModelVersion | None:
    """The version that an earlier try made of this very evaluation; its run is finished if the try was cut off before that."""
    digest = candidate.evaluate.manifest.digest
    found = client.search_model_versions(f"name = '{candidate.recipe.register_.name}' AND tag.evaluate_digest = '{digest}'")
    if not found:
        return None
    version = min(found, key=lambda version: int(version.version))
    client.set_terminated(str(version.run_id), "FINISHED")
    return version


def create_version(client: MlflowClient, candidate: Candidate, conditions: tuple[Condition, ...]) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    name = candidate.recipe.register_.name
    with recorded_run(client, candidate, conditions, "accepted") as run_id:
        model = log_model(candidate, run_id)
        try:
            client.create_registered_model(name, description=candidate.recipe.description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags, description = record.tags(candidate.manifests), record.describe(conditions)
        return client.create_model_version(name, model.model_uri, run_id, tags, description=description, model_id=model.model_id)


def record_rejected(client: MlflowClient, candidate: Candidate, conditions: tuple[Condition, ...]) -> None:
    """A run with the metrics and the reasons, without a model; of the same evaluation there is one, however often it is rejected."""
    with recorded_run(client, candidate, conditions, "rejected"):
        pass


@contextmanager
def recorded_run(client: MlflowClient, candidate: Candidate, conditions: tuple[Condition, ...], gate: str) -> Iterator[str]:
    """A run with everything but the model: the training's own, or a new one. FINISHED after the block, FAILED if the block fails."""
    experiment_id = open_experiment(client, candidate.run)
    live = find_live(client, experiment_id, candidate.run.run_id, candidate.train.manifest.key)
    remove_earlier(client, experiment_id, candidate.evaluate.manifest.digest, but=live)
    tags = {**record.tags(candidate.manifests), "gate": gate, "gate.conditions": record.describe(conditions)}
    run_id = live or str(client.create_run(experiment_id, tags=tags, run_name=candidate.run.run_id).info.run_id)
    try:
        for name, value in tags.items() if live else ():
            client.set_tag(run_id, name, value)
        log_evidence(client, candidate, conditions, run_id)
        yield run_id
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def log_evidence(client: MlflowClient, candidate: Candidate, conditions: tuple[Condition, ...], run_id: str) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    known, epochs = client.get_run(run_id).data.params, logged_epochs(client, run_id)  # of the training's own run
    params = [Param(key, value) for key, value in record.flatten(candidate.recipe.resolved()).items() if key not in known]
    for begin in range(0, len(params), 100):  # MLflow's most at a time
        client.log_batch(run_id, params=params[begin : begin + 100])
    points = record.metrics(candidate.train.manifest, candidate.evaluate.manifest)
    metrics = [Metric(name, value, now, step) for name, value, step in points if not (name.startswith("epoch/") and step in epochs)]
    for begin in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[begin : begin + 1000])
    client.log_artifact(run_id, str(candidate.evaluate.files / record.report_of(candidate.evaluate.manifest)))
    client.log_text(run_id, record.as_yaml(candidate.recipe), "recipe.yaml")
    client.log_dict(run_id, {"conditions": [condition.model_dump() for condition in conditions]}, "gate.json")
    for stage, manifest in candidate.manifests.items():
        client.log_text(run_id, manifest.model_dump_json(indent=1), f"manifests/{stage}.json")


def log_model(candidate: Candidate, run_id: str) -> Any:
    """The Keras model with its signature: of a row's tensor in and (B, K) logits or scaled labels out; of other tasks as Keras tells."""
    import keras
    import mlflow.tensorflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def spec(tensor: Any, name: str | None = None) -> TensorSpec:
        return TensorSpec(np.dtype(tensor.dtype), (-1, *tensor.shape[1:]), name)

    data = prepared(candidate.prepare)
    path = candidate.train.local_files / Trained.model_validate(candidate.train.manifest.facts).model
    model = keras.saving.load_model(path, safe_mode=True, compile=False)
    if data.task in UNLABELLED:
        named = model.output if isinstance(model.output, dict) else {None: model.output}
        inputs, outputs = Schema([spec(model.input, model.input.name)]), Schema([spec(tensor, name) for name, tensor in named.items()])
    else:
        inputs = Schema([TensorSpec(np.dtype(data.tensor.dtype), (-1, *data.tensor.shape), data.tensor.name)])
        outputs = Schema([TensorSpec(np.dtype("float32"), (-1, len(data.classes) or 1))])
    with mlflow.start_run(run_id=run_id):  # log_model puts the files into the active run's experiment, else into ./mlruns
        return mlflow.tensorflow.log_model(
            model, name="model", signature=ModelSignature(inputs, outputs), pip_requirements=installed(REQUIREMENTS)
        )


def installed(names: tuple[str, ...]) -> list[str]:
    """`name==version` of those that are installed here."""
    found = []
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name}=={metadata.version(name)}")
    return found


def promote(
    client: MlflowClient, candidate: Candidate, conditions: tuple[Condition, ...], version: ModelVersion, champion: Champion | None
) -> Registered:
    """Move the alias. The version first notes whom it replaces, so that this is known after a crash, and to a rollback."""
    register = candidate.recipe.register_
    replaced = version.tags.get("replaces", "")
    if champion is None or champion.version.version != version.version:
        replaced = "" if champion is None else str(champion.version.version)
        client.set_model_version_tag(register.name, str(version.version), "replaces", replaced)
        client.set_registered_model_alias(register.name, register.alias, str(version.version))
    return Registered(
        model=register.name,
        version=int(version.version),
        alias=register.alias,
        previous_version=int(replaced) if replaced else None,
        mlflow_run_id=str(version.run_id),
        conditions=conditions,
    )
