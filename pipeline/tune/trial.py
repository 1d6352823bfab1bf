"""One trial: the recipe with the trial's values, trained in a run folder of its own below the search."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from pipeline import config
from pipeline.attempt import Found
from pipeline.console import Console
from pipeline.errors import LonghaulError
from pipeline.paths import Run, run_id
from pipeline.recipe_file import Document
from pipeline.schema import Trained
from pipeline.stage import Request
from pipeline.train import job as train_job
from pipeline.train.launch import Event
from pipeline.tune.slots import Study, Taken, heartbeat
from pipeline.tune.space import encode, trial_document

Tell = Callable[[str], None]  # a short note on how far the trial is


@dataclass(frozen=True)
class Base:
    """What all trials of a search share."""

    document: Document
    folder: Path  # of the recipe's file
    prepared: Found


class Pruned(Exception):
    """The trial is worse than others were; its ranks are ended."""


def run_trial(study: Study, base: Base, taken: Taken, tell: Tell) -> LonghaulError | None:
    """Train, and record what came out: complete, pruned, or failed with its error, which is returned."""
    began = time.monotonic()
    state, value, error = TrialState.COMPLETE, None, None
    try:
        with heartbeat(study, taken):
            known = known_value(study, taken)
            value = trained_value(study, base, taken, tell) if known is None else known
    except Pruned:
        state = TrialState.PRUNED
    except LonghaulError as failure:
        state, error = TrialState.FAIL, failure
        taken.trial.set_user_attr("error", str(failure)[:2000])
        taken.trial.set_user_attr("exit_code", failure.exit_code)
    taken.trial.set_user_attr("seconds", round(time.monotonic() - began, 1))
    # A worker that was given up for dead meanwhile changes nothing: the slot is another one's.
    study.load().tell(taken.trial, value, state=state, skip_if_finished=True)
    return error


def known_value(study: Study, taken: Taken) -> float | None:
    """The value of an earlier trial with the same parameters: the same recipe, seed included, gives the same weights."""
    params = encode(taken.point, study.tune)
    for other in study.trials():
        if other.state == TrialState.COMPLETE and other.params == params:
            for name in ("run", "best_epoch", "epochs"):
                taken.trial.set_user_attr(name, other.user_attrs[name])
            taken.trial.set_user_attr("same_as", other.number)
            return other.value
    return None


def trained_value(study: Study, base: Base, taken: Taken, tell: Tell) -> float:
    """The metric at the epoch whose weights the trial's model has."""
    recipe = config.check(trial_document(base.document, taken.point, taken.trial.number), base.folder)
    run = Run(study.folder / "trials" / f"{taken.origin:04}", recipe.name, run_id(recipe.digest, None))
    link_prepared(run, base.prepared)
    taken.trial.set_user_attr("run", str(run.folder.relative_to(study.folder)))
    watch = Watch(study, taken, tell, recipe.train.epochs)
    try:
        outcome = train_job.run(Request(recipe, run, Console(None), watch=watch))
    except Pruned:
        shutil.rmtree(run.stage("train") / "checkpoints", ignore_errors=True)
        raise
    facts = Trained.model_validate(outcome.manifest.facts)
    values = {epoch.epoch: epoch.metrics[study.tune.metric] for epoch in facts.history}
    for epoch, value in values.items():
        watch.report(epoch, value)  # those of before a resume, which no rank told this time
    taken.trial.set_user_attr("best_epoch", facts.best_epoch)
    taken.trial.set_user_attr("epochs", len(facts.history))
    taken.trial.set_user_attr("weight_digest", facts.weight_digest)
    return values[facts.best_epoch]


def link_prepared(run: Run, prepared: Found) -> None:
    """The search's one prepared data as this run's own."""
    run.folder.mkdir(parents=True, exist_ok=True)
    link = run.stage("prepare")
    if not link.is_symlink():
        link.symlink_to(prepared.local_files.resolve().parents[1], target_is_directory=True)


class Watch:
    """Hears what ranks tell; reports every epoch's metric and ends the trial if the pruner says so.

    Raises:
        Pruned: from the call, inside the launcher, which then ends all ranks.
    """

    def __init__(self, study: Study, taken: Taken, tell: Tell, num_epochs: int) -> None:
        self.study, self.taken, self.tell, self.num_epochs = study, taken, tell, num_epochs
        self.reported: set[int] = set()

    def __call__(self, event: Event) -> None:
        if "metrics" not in event:
            return
        epoch, value = int(event["epoch"]), float(event["metrics"][self.study.tune.metric])
        self.tell(f"trial {self.taken.trial.number}  epoch {epoch}/{self.num_epochs}  {self.study.tune.metric} {value:.4f}")
        self.report(epoch, value)
        if self.taken.trial.should_prune():
            raise Pruned

    def report(self, epoch: int, value: float) -> None:
        if epoch not in self.reported:
            self.reported.add(epoch)
            self.taken.trial.report(value, epoch)


def summary_of(trial: Any) -> str:
    """`0.1234`, `pruned at epoch 3`, `failed: …` or its state."""
    if trial.state == TrialState.COMPLETE:
        return f"{trial.value:.4f}"
    if trial.state == TrialState.PRUNED:
        return f"pruned at epoch {trial.last_step}"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.user_attrs.get('error', 'its worker died; tried again').splitlines()[0]}"
    return str(trial.state.name.lower())
