"""Trials are slots: as many as were asked for, each given to one worker, and given back when that worker dies."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from optuna.trial import TrialState

from pipeline.tune.slots import MAX_RETRIES, OWNER, RETRY_OF, take
from tests.conftest import PROJECT

DEAD = {"pid": 1, "started": "no such time"}


def value_of(point) -> float:
    return abs(point["train.optimizer.learning_rate"] - 0.01) + point["model.width"] / 100


def finish(study, taken) -> None:
    study.load().tell(taken.trial, value_of(taken.point))


def run_all(study) -> list[dict]:
    points = []
    while taken := take(study):
        points.append(taken.point)
        finish(study, taken)
    return points


def lose(study, taken) -> None:
    """As if the worker of a trial had been killed."""
    owner = taken.trial.user_attrs[OWNER]
    study.storage.set_trial_user_attr(taken.trial._trial_id, OWNER, {**owner, **DEAD})


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_a_search_gives_as_many_different_trials_as_asked_for_and_the_same_ones_again(open_search, tmp_path, sampler):
    runs = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        study = open_search(tmp_path / name, sampler=sampler, trials=7, startup_trials=4)
        runs.append(run_all(study))
    assert runs[0] == runs[1] and len(runs[0]) == 7
    assert len({point["train.optimizer.learning_rate"] for point in runs[0]}) == 7


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(open_search, tmp_path):
    (tmp_path / "whole").mkdir()
    undisturbed = run_all(open_search(tmp_path / "whole", trials=7, startup_trials=3))
    study = open_search(trials=7, startup_trials=3)
    for _ in range(4):
        finish(study, take(study))
    taken = take(study)
    lose(study, taken)
    again = open_search(trials=7, startup_trials=3)
    points = run_all(again)
    assert points[0] == taken.point == undisturbed[4]
    assert sorted(point["train.optimizer.learning_rate"] for point in points) == pytest.approx(
        sorted(point["train.optimizer.learning_rate"] for point in undisturbed[4:])
    )
    states = [trial.state for trial in again.trials()]
    assert (states.count(TrialState.COMPLETE), states.count(TrialState.FAIL)) == (7, 1)


def test_more_trials_may_be_asked_for_later(open_search):
    first = run_all(open_search(trials=3))
    second = run_all(open_search(trials=5))
    assert (len(first), len(second)) == (3, 2)


def test_workers_share_a_grid_without_trying_a_point_twice(open_search):
    grid = {"train.optimizer.learning_rate": {"choices": [0.1, 0.01, 0.001]}, "model.width": {"low": 4, "high": 7}}
    points, guard = [], threading.Lock()

    def worker() -> None:
        study = open_search(parameters=grid, sampler="grid")
        for point in run_all(study):
            with guard:
                points.append(tuple(point.values()))

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(points) == sorted((rate, width) for rate in (0.1, 0.01, 0.001) for width in range(4, 8))


def test_a_trial_that_kills_its_worker_again_and_again_is_given_up(open_search):
    study = open_search(trials=1)
    origins = []
    while taken := take(study):
        origins.append((taken.origin, taken.point))
        lose(study, taken)
    assert origins == [origins[0]] * (1 + MAX_RETRIES)
    assert [trial.state for trial in study.trials()] == [TrialState.FAIL] * (1 + MAX_RETRIES)


def test_the_trial_of_a_process_that_is_gone_is_given_to_another(open_search, tmp_path):
    study = open_search(trials=2)
    code = """
import sys, pathlib
from pipeline.tune.slots import open_study, take
from pipeline.tune.storage import open_storage
from tests.tune.conftest import make_tune
folder = pathlib.Path(sys.argv[1])
print(take(open_study(open_storage(folder, None), "iris-00000000", make_tune(trials=2), folder)).trial.number)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    taken = take(study)
    assert (taken.origin, taken.trial.user_attrs[RETRY_OF]) == (0, 0)
    assert study.trials()[0].state == TrialState.FAIL


def test_a_living_workers_trial_is_left_alone(open_search):
    study = open_search(trials=1)
    taken = take(study)
    assert take(open_search(trials=1)) is None
    assert study.trials()[taken.trial.number].state == TrialState.RUNNING
