"""What every stage does around its work: find what is already done, else try, check, publish.

A job module gives its key, its inputs and a function that fills an attempt; everything about reuse and publishing is here.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import attempt as attempts
from pipeline import upload
from pipeline.attempt import Attempt, Found
from pipeline.config import Recipe
from pipeline.console import Console
from pipeline.disk_cache import DiskCache, verify_and_keep
from pipeline.errors import DataError, GateRejected, InfrastructureError, Interrupted
from pipeline.manifest import Input, Manifest, describe_files, digest_of, verify
from pipeline.paths import Remote, Run, Stage

SOFTWARE = ("longhaul", "pyspark", "pyarrow", "petastorm", "tensorflow-cpu", "tensorflow", "keras", "horovod", "mlflow")


@dataclass(frozen=True)
class Request:
    """What a job is asked to do."""

    recipe: Recipe
    run: Run
    console: Console
    force: bool = False
    resume_from: str | None = None  # id of another run of the recipe, whose unfinished training is gone on from
    allow_changed: bool = False  # go on from checkpoints that another configuration or other data has made
    registered: Callable[[Run, str], Path] | None = None  # train folder of name@alias or name/version; the registry is another stage's
    began: float = field(default_factory=time.monotonic)  # when what the person waits for began, by time.monotonic
    watch: Callable[[dict[str, Any]], None] | None = None  # hears every event of a training's ranks; what it raises ends them


@dataclass(frozen=True)
class Work:
    """What a stage's work returns: its facts, and row counts of the files that have rows (relative path -> rows)."""

    facts: dict[str, Any]
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A published stage. `reused_from` is the run that the result was made in, or None if it was made now."""

    found: Found
    reused_from: str | None

    @property
    def manifest(self) -> Manifest:
        return self.found.manifest


def run_stage(
    request: Request, stage: Stage, sections: Mapping[str, Any], inputs: Mapping[str, Found], work: Callable[[Attempt], Work]
) -> Outcome:
    """The stage's result: an intact one with the same key, or a new attempt's.

    Args:
        request: recipe, run, console, force.
        stage: its name.
        sections: everything but the inputs that decides the result (config sections, digests of source and code).
        inputs: the stages that were read.
        work: fills `attempt.files` and returns the facts; any error leaves what was published as it was.
    """
    key = key_of(stage, sections, inputs)
    if not request.force and (known := _find(request.run, stage, key)):
        return _laid_on_store(request, stage, _reuse(request, stage, known))
    attempt = attempts.begin(request.run.stage(stage))
    try:
        done = work(attempt)
        return _laid_on_store(request, stage, _publish(request, stage, key, inputs, attempt, done))
    except BaseException as error:
        shutil.rmtree(attempt.files, ignore_errors=True)  # the log stays until the next attempt, for whoever reads the error
        if not isinstance(error, (DataError, GateRejected, Interrupted)):
            for log in sorted(path for path in attempt.log.iterdir() if path.stat().st_size):
                request.console.note(f"log  {log}")
        raise


def key_of(stage: Stage, sections: Mapping[str, Any], inputs: Mapping[str, Found]) -> str:
    """The digest of everything that decides a stage's result."""
    return digest_of({"stage": stage, "sections": sections, "inputs": {name: found.manifest.digest for name, found in inputs.items()}})


def upstream(request: Request, stage: Stage) -> Found:
    """This run's published result of an earlier stage, verified.

    Raises:
        DataError: there is none, or it is not what its manifest says.
        InfrastructureError: the store that holds it does not answer.
    """
    folder = request.run.published(stage)
    manifest = attempts.read_published(folder)
    if manifest is None:
        raise DataError(
            f"{folder} has no published result. Expected the {stage} stage of run {request.run.run_id} to be finished. "
            f"Run `pipeline {stage} RECIPE` with the same --root, --data, --date and --set first, or `pipeline run RECIPE`."
        )
    copies = DiskCache.of(request.recipe.feed) if isinstance(folder, Remote) else None
    verify_and_keep(manifest, folder, copies) if copies else verify(manifest, folder)
    return Found(manifest, folder)


def _find(run: Run, stage: Stage, key: str) -> Found | None:
    """An intact result with this key. What lies on a store is not read for it: whoever uses it verifies its digests."""
    folder = run.published(stage)
    return (upload.find(folder, key) if isinstance(folder, Remote) else None) or attempts.find(run, stage, key)


def _laid_on_store(request: Request, stage: Stage, outcome: Outcome) -> Outcome:
    """The result where later stages read it: prepared data is uploaded, if it is to lie on a store and does not yet."""
    folder = request.run.published(stage)
    if not isinstance(folder, Remote) or outcome.found.folder == folder:
        return outcome
    return Outcome(upload.publish(outcome.found, folder, request.console.note), outcome.reused_from)


def _reuse(request: Request, stage: Stage, known: Found) -> Outcome:
    """A result of this run as it is; of another run, hard-linked, so that deleting either run leaves the other whole."""
    if known.folder in (request.run.stage(stage), request.run.published(stage)):
        return Outcome(known, known.manifest.run_id)
    attempt = attempts.begin(request.run.stage(stage))
    for entry in known.manifest.files:
        target = attempt.files / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(known.local_files / entry.path, target)
        except OSError:  # another file system
            shutil.copy2(known.local_files / entry.path, target)
    manifest = known.manifest.model_copy(update={"attempt": attempt.published_name, "run_id": request.run.run_id})
    return Outcome(Found(attempts.publish(attempt, manifest), attempt.stage_folder), known.manifest.run_id)


def _publish(request: Request, stage: Stage, key: str, inputs: Mapping[str, Found], attempt: Attempt, done: Work) -> Outcome:
    try:
        files = describe_files(attempt.files, done.rows)
        manifest = Manifest(
            stage=stage,
            recipe=request.recipe.name,
            run_id=request.run.run_id,
            key=key,
            attempt=attempt.published_name,
            started_at=attempt.started_at,
            seconds=attempt.seconds,
            inputs={name: Input(stage=name, run_id=found.manifest.run_id, digest=found.manifest.digest) for name, found in inputs.items()},
            files=files,
            facts=done.facts,
            software=software(),
        )
        return Outcome(Found(attempts.publish(attempt, manifest), attempt.stage_folder), None)
    except OSError as error:
        raise InfrastructureError(
            f"Cannot publish {attempt.folder}: {error}. Nothing was published. Check free space and permissions."
        ) from error


def software() -> dict[str, str]:
    """Versions of what decides a result, for the manifest."""
    versions = {"python": platform.python_version()}
    for name in SOFTWARE:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
