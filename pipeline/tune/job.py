"""`pipeline tune`: prepare once, then trials until the search has all it asked for; a report and the best recipe at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import config, recipe_file
from pipeline.console import Console
from pipeline.errors import ConfigError, LonghaulError
from pipeline.manifest import digest_of
from pipeline.paths import Run, run_id
from pipeline.prepare import job as prepare_job
from pipeline.recipe_file import Document
from pipeline.sections.tuning import Tune
from pipeline.stage import Request
from pipeline.train import job as train_job

if TYPE_CHECKING:  # Optuna is loaded when there is a search to open
    from pipeline.tune.slots import Study
    from pipeline.tune.trial import Base, Tell


@dataclass(frozen=True)
class Asked:
    """What a person asked for; a worker process is told the same."""

    recipe: Path
    root: Path
    overrides: tuple[str, ...] = ()
    workers: int = 1
    registered: Callable[[Run, str], Path] | None = None  # as stage.Request's


@dataclass(frozen=True)
class Search:
    """An open search, ready for trials."""

    asked: Asked
    checked: config.Recipe
    document: Document
    study: Study
    base: Base

    @property
    def tune(self) -> Tune:
        return self.study.tune


def run(asked: Asked, console: Console) -> dict[str, Any]:
    """Search until every trial is done or the time is over, and write what was found.

    Returns:
        What `--json` prints: study, folder, number of trials by state, best trial, files.

    Raises:
        ConfigError: the recipe has no `tune` section, or it cannot be searched as written.
        DataError: no trial was completed.
        InfrastructureError: the storage or a worker failed; the same command goes on.
    """
    from pipeline.tune.results import write_results
    from pipeline.tune.storage import known_failures

    search = open_search(asked, console)
    with known_failures(search.tune.storage):
        show_beginning(search, console)
        if asked.workers == 1:
            work(search, console)
        else:
            from pipeline.tune.workers import work_together

            work_together(search, console)
        return write_results(search, console)


def open_search(asked: Asked, console: Console) -> Search:
    """The recipe's search, with its prepared data; found again by everything that decides what a trial gives."""
    document = recipe_file.read(asked.recipe, asked.overrides)
    folder = asked.recipe.resolve().parent
    recipe = config.check(document, folder)
    tune = recipe.tune
    if tune is None:
        raise ConfigError(
            f"{asked.recipe}: has no section tune, so there is nothing to search. Add one, for example\n"
            "tune:\n  parameters: {train.optimizer.learning_rate: {low: 0.0001, high: 0.1, log: true}}\n  trials: 20"
        )
    run = Run(Path(os.path.abspath(asked.root)), recipe.name, run_id(recipe.digest, None))
    prepared = prepare_job.run(Request(recipe, run, console, registered=asked.registered)).found

    from pipeline.tune.slots import open_study
    from pipeline.tune.storage import known_failures, open_storage
    from pipeline.tune.trial import Base

    decides = [train_job.key_sections(recipe), fixed_part(tune), prepared.manifest.digest]
    study_id = digest_of(decides)[:8]
    place = run.root / recipe.name / "tune" / study_id
    place.mkdir(parents=True, exist_ok=True)
    storage = open_storage(place, tune.storage)
    with known_failures(tune.storage):
        study = open_study(storage, f"{recipe.name}-{study_id}", tune, place)
    return Search(asked, recipe, document, study, Base(document, folder, prepared))


def fixed_part(tune: Tune) -> dict[str, Any]:
    """What decides what is tried; how many trials there are and how long they may take can be changed while a search lasts."""
    free = {"trials", "timeout_s", "max_failures", "storage"}
    return {name: value for name, value in tune.model_dump(mode="json").items() if name not in free}


def work(search: Search, console: Console) -> None:
    """One worker: trials, one after another, until no slot is left or the time is over."""
    with console.meter("tune", search.tune.num_trials) as meter:

        def tell(note: str) -> None:
            meter(num_done(search.study), f"{note}{best_note(search.study)}")

        run_trials(search, tell, console)


def run_trials(search: Search, tell: Tell, console: Console) -> None:
    """Raises the last trial's error if too many in a row fail: then it is not the parameters."""
    from pipeline.tune.slots import take
    from pipeline.tune.trial import run_trial

    deadline = time.monotonic() + (search.tune.timeout_s or float("inf"))
    failures = 0
    while time.monotonic() < deadline and (taken := take(search.study)):
        tell(f"trial {taken.trial.number}  starting")
        error = run_trial(search.study, search.base, taken, tell)
        show_finished(search.study, taken.trial.number, console)
        failures = 0 if error is None else failures + 1
        if error is not None and failures >= search.tune.max_failures:
            raise too_many(error, failures)


def too_many(error: LonghaulError, failures: int) -> LonghaulError:
    return type(error)(
        f"{failures} trials in a row failed, the last one with: {error}\nThe search stops; what it found is kept. Mend this and run the "
        "same command: it goes on with the trials that are left. tune.max_failures says how many may fail."
    )


def show_beginning(search: Search, console: Console) -> None:
    tune, done = search.tune, num_done(search.study)
    known = f", {done} of them done" if done else ""
    where = "study.db" if tune.storage is None else f"the PostgreSQL of {tune.storage}"
    console.line(f"tune      {tune.num_trials} trials by {tune.sampler}{known}, on {tune.metric}; kept in {where}  {search.study.folder}")


def show_finished(study: Study, number: int, console: Console) -> None:
    from pipeline.tune.space import describe
    from pipeline.tune.trial import summary_of

    trial = study.trials()[number]
    seconds = f"  {trial.user_attrs['seconds']:.1f} s" if "seconds" in trial.user_attrs else ""
    console.line(f"trial {number:<3} {summary_of(trial)}  {describe(study.point(trial))}{seconds}")


def num_done(study: Study) -> int:
    """Slots that need no more work."""
    from pipeline.tune.slots import RETRY_OF

    finished = {trial.user_attrs.get(RETRY_OF, trial.number) for trial in study.trials() if trial.state.is_finished()}
    open_ones = {trial.user_attrs.get(RETRY_OF, trial.number) for trial in study.trials() if not trial.state.is_finished()}
    return len(finished - open_ones)


def best_note(study: Study) -> str:
    from pipeline.tune.results import best_of

    best = best_of(study)
    return "" if best is None else f"  best {best.value:.4f} (trial {best.number})"


def as_arguments(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]
