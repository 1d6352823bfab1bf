"""A search's trials as slots: made before any of them runs, taken by workers one at a time, given back when a worker dies.

So N trials are N, whatever the number of workers, and a grid's points are each tried once; Optuna's own grid may repeat some when
workers meet (optuna#5139). A slot is a waiting trial; its number and the seed make its parameters.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from pipeline.attempt import locked, process_start
from pipeline.sections.tuning import Tune
from pipeline.tune.samplers import make_pruner, make_sampler
from pipeline.tune.space import Point, decode, distributions, encode, suggest

HEARTBEAT_S = 30
GRACE_S = 300  # a worker of another machine that has been silent for so long is taken for dead
MAX_RETRIES = 2  # of a slot whose worker died; a trial that kills its worker three times is a failed one
OWNER, RETRY_OF = "owner", "retry_of"  # user attributes of a trial


@dataclass(frozen=True)
class Study:
    """An open search. `folder` is shared by its workers on this machine; across machines the database alone keeps them apart."""

    storage: BaseStorage
    name: str
    tune: Tune
    folder: Path

    def load(self, number: int = 0) -> optuna.Study:
        """Optuna's view of it, with the sampler of one trial."""
        sampler, pruner = make_sampler(self.tune, number), make_pruner(self.tune.pruner)
        return optuna.load_study(study_name=self.name, storage=self.storage, sampler=sampler, pruner=pruner)

    def trials(self) -> list[FrozenTrial]:
        return self.load().get_trials(deepcopy=False)

    def point(self, trial: FrozenTrial) -> Point:
        """The values that a trial tried; empty of one that nobody has taken."""
        return decode(trial.params, self.tune)


@dataclass(frozen=True)
class Taken:
    """A slot that is this worker's."""

    trial: optuna.Trial
    point: Point
    origin: int  # number of the slot that this one is a retry of, or its own


def open_study(storage: BaseStorage, name: str, tune: Tune, folder: Path) -> Study:
    """The search of that name, made if there is none, with as many slots as the recipe asks for; more may be asked for later."""
    study = Study(storage, name, tune, folder)
    with locked(folder):
        known = optuna.create_study(study_name=name, storage=storage, direction=tune.direction, load_if_exists=True)
        num_slots = sum(RETRY_OF not in trial.user_attrs for trial in known.get_trials(deepcopy=False))
        for params in slots(tune)[num_slots:]:
            known.enqueue_trial(params)
    return study


def slots(tune: Tune) -> list[dict[str, Any]]:
    """What is fixed of each trial: of a grid everything, in a seeded order, so that a search that is cut short has seen all of it."""
    if tune.sampler != "grid":
        return [{}] * tune.num_trials
    points = [encode(point, tune) for point in tune.grid()]
    random.Random(tune.seed).shuffle(points)
    return points


def take(study: Study) -> Taken | None:
    """The next slot, with its parameters drawn; None if none is left. A slot is given to one worker only."""
    while True:
        with locked(study.folder):
            give_back_lost(study)
            waiting = [trial for trial in study.trials() if trial.state == TrialState.WAITING]
            if not waiting:
                return None
            # Retries first: what is drawn after them then knows what it would have known without the death.
            chosen = min(waiting, key=lambda trial: (RETRY_OF not in trial.user_attrs, trial.number))
            if not study.storage.set_trial_state_values(chosen._trial_id, TrialState.RUNNING):
                continue  # a worker of another machine was faster
            study.storage.set_trial_user_attr(chosen._trial_id, OWNER, this_process())
            trial = optuna.Trial(study.load(chosen.number), chosen._trial_id)
            params = {name: suggest(trial, name, known) for name, known in distributions(study.tune).items()}
        return Taken(trial, decode(params, study.tune), chosen.user_attrs.get(RETRY_OF, chosen.number))


def give_back_lost(study: Study) -> None:
    """Running trials whose worker is gone are failed, and their slots opened again with the same parameters."""
    known = study.load()
    for trial in known.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if is_lost(trial):
            with suppress(UpdateFinishedTrialError):
                study.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                reopen(known, trial)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(known)  # those of other machines that are silent; the storage calls `reopen` for them


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the worker is a process of this machine that is gone, or died before it could say who it was."""
    owner = trial.user_attrs.get(OWNER)
    if owner is None:
        started = trial.datetime_start
        return started is not None and datetime.now() - started > timedelta(seconds=GRACE_S)
    return bool(owner["host"] == socket.gethostname() and process_start(owner["pid"]) != owner["started"])


def reopen(study: optuna.Study, trial: FrozenTrial) -> None:
    origin = trial.user_attrs.get(RETRY_OF, trial.number)
    retries = sum(other.user_attrs.get(RETRY_OF) == origin for other in study.get_trials(deepcopy=False))
    if retries < MAX_RETRIES:
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: origin})


def this_process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}


@contextmanager
def heartbeat(study: Study, taken: Taken) -> Iterator[None]:
    """While the block runs, workers of other machines see that this one lives."""
    is_over = threading.Event()

    def beat() -> None:
        while True:
            with suppress(Exception):  # the database may be away for a moment; the next beat is soon
                study.storage.record_heartbeat(taken.trial._trial_id)  # type: ignore[attr-defined]  # of storages in a database
            if is_over.wait(HEARTBEAT_S):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
