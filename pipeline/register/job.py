"""The register stage: the gate, then a version with the alias, or a recorded rejection."""

from __future__ import annotations

from pathlib import Path

from pipeline import attempt as attempts
from pipeline import console, stage
from pipeline.attempt import Attempt
from pipeline.errors import ConfigError, DataError, GateRejected
from pipeline.lineage import check_made_from
from pipeline.manifest import Manifest
from pipeline.paths import Run
from pipeline.register import gate
from pipeline.register.store import Candidate, Champion, origin_of, settle
from pipeline.schema import Condition, Evaluated
from pipeline.sections.transfer import REGISTERED
from pipeline.stage import Outcome, Request, Work


def run(request: Request) -> Outcome:
    """Register this run's model if its gate lets it pass, or find that it was done.

    A result that is reused does not touch the alias: whoever moved it since, by another run or by hand, is right.

    Raises:
        GateRejected: a condition does not hold. The alias stays; the candidate is kept as an MLflow run tagged `gate=rejected`.
        DataError: an input is missing, damaged, or not made from the others.
        InfrastructureError: the store cannot be used.
    """
    train, evaluate = stage.upstream(request, "train"), stage.upstream(request, "evaluate")
    prepare = published_prepare(request)
    for result, source in ((train.manifest, prepare), (evaluate.manifest, prepare), (evaluate.manifest, train.manifest)):
        check_made_from(result, source)
    candidate = Candidate(request.recipe, request.run, prepare, train, evaluate)

    def work(attempt: Attempt) -> Work:
        with console.quiet(attempt.log / "register.log"):
            return register(request, candidate)

    return stage.run_stage(request, "register", request.recipe.section("register"), {"train": train, "evaluate": evaluate}, work)


def trained_folder(run: Run, source: str) -> Path:
    """The train stage's folder that a registered model came from.

    Args:
        run: any of the root whose registry is asked.
        source: `name@alias` or `name/version`.

    Raises:
        ConfigError: there is no such model.
        DataError: the folder does not hold that training any more.
        InfrastructureError: the registry cannot be used.
    """
    found = REGISTERED.match(source)
    tags = origin_of(run, found["name"], found["alias"], found["version"]) if found else None
    if tags is None:
        raise ConfigError(f"{source} is neither a path nor a model that is registered in {run.registry}.")
    folder = Run(run.root, tags["recipe"], tags["pipeline_run"]).stage("train")
    manifest = attempts.read_published(folder)
    if manifest is None or manifest.digest != tags["train_digest"]:
        raise DataError(f"{source} was registered from {folder}, which does not hold that training any more. Run its recipe again.")
    return folder


def published_prepare(request: Request) -> Manifest:
    """The manifest alone: registering reads no prepared row, so none is verified."""
    folder = request.run.published("prepare")
    manifest = attempts.read_published(folder)
    if manifest is None:
        raise DataError(f"{folder} has no published result. Expected the one that the model was trained on. Run `pipeline run RECIPE`.")
    return manifest


def register(request: Request, candidate: Candidate) -> Work:
    result, rules = Evaluated.model_validate(candidate.evaluate.manifest.facts), request.recipe.register_

    def decide(champion: Champion | None) -> tuple[Condition, ...]:
        if champion is None:
            return gate.decide(rules.gate, result, None)
        dates = gate.check_date(request.run.run_id, champion.run_id) if rules.gate.versus_champion is None else ()
        return (*gate.decide(rules.gate, result, champion.metrics), *dates)

    decision = settle(candidate, decide)
    if not decision.conditions:
        request.console.warn(f"register.gate of {request.recipe.name} has no conditions: every model is registered.")
    if decision.registered is None:
        raise GateRejected(
            f"{rules.name} does not pass its gate; the alias {rules.alias} stays where it was.\n"
            f"{gate.explain_rejection(decision.conditions, result)}\n"
            f"Read {candidate.evaluate.files / result.report}, then improve the model or its data, or change register.gate in the recipe. "
            "The candidate is kept in MLflow as a run tagged gate=rejected."
        )
    return Work(decision.registered.model_dump(mode="json"))
