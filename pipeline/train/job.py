"""The train stage: prepared data -> ranks -> model.keras and its history."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import model_arguments, storage
from pipeline import origin as origins
from pipeline.attempt import Attempt, Found
from pipeline.config import Recipe
from pipeline.console import Meter
from pipeline.errors import DataError
from pipeline.feed.plan import Plan
from pipeline.manifest import sha256_of_file
from pipeline.schema import Prepared, Trained, files_of
from pipeline.schema import prepared as facts_of
from pipeline.stage import Outcome, Request, Work, key_of, run_stage, upstream
from pipeline.train import accounting
from pipeline.train.elastic import launch_elastic
from pipeline.train.events import Event
from pipeline.train.feed_facts import budget_of, feed_facts
from pipeline.train.launch import Report, launch
from pipeline.train.mlflow_news import mlflow_news
from pipeline.train.rank_spec import OriginModel, Spec
from pipeline.train.resume import checkpoint_folder

REPORT = "report.html"


def run(request: Request) -> Outcome:
    """A trained model for a recipe: found again, or trained, going on from the last checkpoint of a killed attempt.

    Raises:
        DataError: there is no intact prepared data, or too little of it for one step.
        InfrastructureError: a rank died, or the disk failed.
    """
    prepared = upstream(request, "prepare")
    sections = key_sections(request.recipe)
    plan = step_plan(request, prepared)
    checkpoints = request.run.stage("train") / "checkpoints"
    opened = partial(open_checkpoints, request, checkpoints, {**sections, "prepared_data": prepared.manifest.digest}, plan)
    if request.force:
        shutil.rmtree(checkpoints, ignore_errors=True)
    outcome = run_stage(request, "train", sections, {"prepare": prepared}, partial(train, request, prepared, plan, opened))
    shutil.rmtree(checkpoints, ignore_errors=True)  # the model is published; what led to it is not needed again
    return outcome


def open_checkpoints(request: Request, root: Path, made_by: dict[str, Any], plan: Plan) -> Path:
    source = request.run.folder.parent / request.resume_from / "train" / "checkpoints" if request.resume_from else None
    return checkpoint_folder(root, made_by, plan.num_steps, source=source, allow_changed=request.allow_changed)


def key_sections(recipe: Recipe) -> dict[str, Any]:
    """Everything but the prepared data that decides the model. Of the feed that is what it changes, not its limits."""
    changes = {"feed_augment": recipe.feed.augment.model_dump(mode="json")} if recipe.feed.augment.operations else {}
    changes |= recipe.section("transfer") if recipe.transfer is not None else {}
    return {**recipe.section("task", "model", "train"), **changes, "code": model_digest(recipe)}


def model_digest(recipe: Recipe) -> str:
    """Of the builder's file; what a user's file imports is not seen."""
    path = model_arguments.source_path(recipe.model.name, recipe.folder)
    if path is None:
        raise DataError(f"The file of model {recipe.model.name} has gone since the recipe was checked.")
    return sha256_of_file(path)


def step_plan(request: Request, prepared: Found) -> Plan:
    """The plan that ranks will follow; made here too, so that one that cannot hold is refused before any rank starts."""
    settings = request.recipe.train
    rows = tuple(entry.rows or 0 for entry in files_of(prepared.manifest, "train"))
    plan = Plan(rows, settings.global_batch, settings.lanes, settings.seed)
    plan.lanes_of(0, settings.ranks)
    budget_of(request.recipe, prepared, plan, settings.ranks)
    if settings.privacy is not None:
        accounting.check_budget(settings.privacy, plan.num_rows)
    return plan


def train(request: Request, prepared: Found, plan: Plan, checkpoints: Callable[[], Path], attempt: Attempt) -> Work:
    settings, folder = request.recipe.train, checkpoints()
    spec = attempt.folder / "spec.json"
    Spec(
        recipe=request.recipe.resolved(),
        prepared=str(storage.absolute(prepared.folder)),
        prepared_digest=prepared.manifest.digest,
        checkpoints=str(folder.resolve()),
        output=str(attempt.files.resolve()),
        folder=str(request.recipe.folder),
        origin=origin_of(request.recipe, prepared),
    ).write(spec)
    with request.console.meter("train", settings.epochs * plan.num_steps) as meter, news(request, prepared, folder, attempt) as hear:
        meter(0, f"starting {settings.ranks} ranks of {plan.num_steps} steps an epoch")
        launched_at = time.monotonic()
        run_ranks = launch_elastic if request.recipe.launch.elastic is not None else launch
        seen = run_ranks(
            ["-m", "pipeline.train.rank_start", str(spec.resolve())],
            settings.ranks,
            logs=attempt.log,
            stall_timeout_s=settings.stall_timeout_s,
            on_event=partial(show, request, meter, hear),
            settings=request.recipe.launch,
        )
    start = {"checked": launched_at - request.began, **{name: at - request.began for name, at in seen.marks.items()}}
    for line in remarks(seen, start):
        request.console.line(f"{'':<9} {line}")
    record = json.loads((attempt.files / "history.json").read_text())
    feed = feed_facts(request.recipe, prepared, plan, record["history"])
    if feed.advice:
        request.console.warn(feed.advice)
    trained = Trained(
        ranks=settings.ranks,
        global_batch=settings.global_batch,
        steps_per_epoch=plan.num_steps,
        feed=feed,
        privacy=accounting.privacy_facts(settings.privacy, len(record["history"])) if settings.privacy else None,
        report=REPORT,
        start={name: round(seconds, 3) for name, seconds in start.items()},
        **record,
    )
    write_report(request, prepared, trained, attempt)
    return Work(trained.model_dump(mode="json"))


def origin_of(recipe: Recipe, data: Found) -> OriginModel | None:
    """The verified model that ranks start from.

    Raises:
        DataError: it is gone or damaged, its inputs were made otherwise, or the data was prepared for none.
    """
    if recipe.transfer is None:
        return None
    origin = origins.of(data)
    if origin is None:
        raise DataError(f"{data.folder} was prepared for a training that starts from nothing. Run `pipeline prepare RECIPE` again.")
    origins.refuse_other_inputs(origin.facts, facts_of(data.manifest))
    return OriginModel(str(origin.model.resolve()), origin.model_sha256, origin.facts.model_dump(mode="json"))


def write_report(request: Request, prepared: Found, trained: Trained, attempt: Attempt) -> None:
    from pipeline.train import report  # loads matplotlib

    facts = Prepared.model_validate(prepared.manifest.facts)
    page = report.render(request.recipe, facts, trained, run_id=request.run.run_id, started_at=attempt.started_at)
    (attempt.files / REPORT).write_text(page)


def remarks(seen: Report, start: dict[str, float]) -> list[str]:
    """Where the time before the first step went, and who was slow.

    Args:
        seen: of the ranks.
        start: what was reached on the way to the first step -> seconds since the command began.
    """
    begun = [0.0, *start.values()]
    spent = [f"{name} {end - begin:.1f} s" for (name, end), begin in zip(start.items(), begun, strict=False)]
    lines = [f"first step after {max(start.values()):.1f} s: {', '.join(spent)}"] if seen.marks else []
    return lines + [
        f"straggler: rank {slow['rank']} on {slow['host']} needs {slow['own_ms']} ms a step of its own, the others {slow['others_ms']} ms; "
        f"they wait for it {slow['share']:.0%} of the time"
        for slow in seen.stragglers
    ]


def news(request: Request, prepared: Found, folder: Path, attempt: Attempt) -> AbstractContextManager[Callable[[Event], None]]:
    """What MLflow hears of a training, where the recipe asks for it; a search's trials are in the search's own record."""
    if not request.recipe.train.callbacks.mlflow or request.watch is not None:
        return nullcontext(lambda event: None)
    key = key_of("train", key_sections(request.recipe), {"prepare": prepared})
    return mlflow_news(request, key, attempt.log, is_anew=not any(folder.glob("step-*")))


def show(request: Request, meter: Meter, hear: Callable[[Event], None], event: Event) -> None:
    """A rank's event, for a person and for whoever watches."""
    hear(event)
    if request.watch is not None:
        request.watch(event)
    if "warning" in event:
        request.console.warn(event["warning"])
    elif "metrics" in event:
        meter(event["done"], epoch_note(event))
    else:
        epoch = f"epoch {event['epoch']}/{request.recipe.train.epochs}"
        meter(event["done"], f"{epoch}  loss {event['loss']:.4f}  waiting {event['stalled']:.0%}")


def epoch_note(event: Event) -> str:
    metrics: dict[str, Any] = event["metrics"]
    shown = [
        name for name in ("loss", "val_loss", "val_accuracy", "val_mae", "critic_loss", "generator_loss", "epsilon") if name in metrics
    ]
    return f"epoch {event['epoch']}  " + "  ".join(f"{name} {metrics[name]:.4f}" for name in shown)
