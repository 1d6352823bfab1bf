"""`pipeline tune` for real: trials are trainings, bad ones are ended or recorded, and a killed search goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from pipeline import config
from pipeline.schema import Trained
from pipeline.tune.slots import slots
from tests.conftest import PIPELINE, PROJECT, FinishedRun, pipeline
from tests.tune.conftest import Tunable, make_tunable, make_tune

pytestmark = pytest.mark.e2e

RATE = "train.optimizer.learning_rate"
GRID = {"parameters": {RATE: {"choices": [0.03, 1.0e-6, 1.0e30]}}, "sampler": "grid"}
# Fixed by the seed: the good rate comes first, so that the tiny one can be seen to be worse. The huge one gives a loss that is no number.
SEED = next(seed for seed in range(99) if [json.loads(slot[RATE]) for slot in slots(make_tune(**GRID, seed=seed))] == [0.03, 1e-6, 1e30])


@pytest.fixture(scope="module")
def searched(iris_run: FinishedRun, tmp_path_factory) -> tuple[Tunable, dict]:
    """A grid of three: one good, one that is pruned, one that fails."""
    pruner = {"name": "median", "startup_trials": 1, "warmup_epochs": 0}
    tunable = make_tunable(tmp_path_factory.mktemp("searched"), iris_run, **GRID, seed=SEED, pruner=pruner)
    command = pipeline("tune", tunable.path, "--json", root=tunable.root)
    assert command.code == 0, command.err
    return tunable, json.loads(command.out)


def test_good_bad_and_failing_trials_are_each_recorded_as_what_they_are(searched):
    tunable, record = searched
    trials = json.loads((tunable.study_folder() / "trials.json").read_text())
    assert [trial["state"] for trial in trials] == ["complete", "pruned", "fail"]
    assert record["trials"] == {"complete": 1, "pruned": 1, "fail": 1} and record["best"]["number"] == 0
    assert list(trials[1]["by_epoch"]) == ["1"], "worse than the first at epoch 1, so it has no second"
    assert "Lower train.optimizer.learning_rate" in trials[2]["error"]


def test_a_trial_is_a_real_training_whose_value_is_of_the_weights_it_keeps(searched):
    tunable, record = searched
    stage = tunable.study_folder() / record["best"]["run"] / "train"
    facts = Trained.model_validate(json.loads((stage / "manifest.json").read_text())["facts"])
    assert record["best"]["value"] == facts.history[facts.best_epoch - 1].metrics["val_loss"]
    assert record["best"]["by_epoch"] == {str(epoch.epoch): epoch.metrics["val_loss"] for epoch in facts.history}


def test_the_best_recipe_is_ready_to_run(searched):
    tunable, record = searched
    best = config.load(Path(record["recipe"]))
    assert best.train.optimizer.learning_rate == 0.03 and best.train.optimizer.weight_decay == 0.05
    assert "two layers of 32 overfit" in Path(record["recipe"]).read_text()


def test_the_report_shows_every_trial_and_loads_nothing(searched):
    page = Path(searched[1]["report"]).read_text()
    assert page.count("<svg") >= 4 and "pruned at epoch 1" in page and "failed: " in page
    outside = [url for url in re.findall(r'(?:src|href)="([^"#][^"]*)"', page) if not url.startswith("data:")]
    assert outside == [] and "<script" not in page


def test_a_finished_search_is_found_again_without_training(searched):
    tunable, record = searched
    again = pipeline("tune", tunable.path, "--json", root=tunable.root)
    assert again.code == 0 and json.loads(again.out)["best"] == record["best"]
    assert "3 trials by grid, 3 of them done" in again.err


def reported_epochs(database: Path) -> int:
    if not database.exists():
        return 0
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            return connection.execute("SELECT count(*) FROM trial_intermediate_values").fetchone()[0]
        except sqlite3.OperationalError:  # its tables are being made
            return 0


@pytest.mark.slow
def test_a_search_whose_tuner_is_killed_goes_on_with_the_trials_that_were_running(iris_run, tmp_path):
    tunable = make_tunable(tmp_path, iris_run, sampler="random", trials=2, pruner="none")
    longer = ("--set", "train.epochs=40", "--workers", "2")
    process = subprocess.Popen(
        [PIPELINE, "tune", tunable.path, *longer], cwd=PROJECT, env={**os.environ, "LONGHAUL_ROOT": str(tunable.root)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not any(reported_epochs(database) for database in tunable.root.glob("iris/tune/*/study.db")):
        assert process.poll() is None and time.monotonic() < deadline, "no trial reported an epoch"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = pipeline("tune", tunable.path, *longer, "--json", root=tunable.root)
    assert again.code == 0, again.err
    record = json.loads(again.out)
    trials = json.loads((tunable.study_folder() / "trials.json").read_text())
    lost = [trial for trial in trials if trial["state"] == "fail"]
    assert record["trials"]["complete"] == 2 and lost, trials
    for trial in lost:
        (retry,) = [other for other in trials if other.get("retry_of") == trial["number"]]
        assert retry["parameters"] == trial["parameters"] and retry["state"] == "complete"


@pytest.mark.slow
def test_test_rows_change_nothing(tmp_path):
    """Two prepared data sets that differ in their test rows alone give the same trials."""
    from pipeline import recipe_file
    from pipeline.tune.slots import open_study, take
    from pipeline.tune.storage import open_storage
    from pipeline.tune.trial import Base, run_trial
    from tests.evaluate.finished_run import CONF, finish_prepare, make_request

    values = []
    for num_wrong in (0, 40):
        folder = tmp_path / str(num_wrong)
        prepared = finish_prepare(make_request(folder), num_wrong).found
        tune = make_tune(trials=2, sampler="random")
        study = open_study(open_storage(folder, None), "iris-00000000", tune, folder)
        document = recipe_file.read(CONF / "iris.yaml", ["train.epochs=2", "train.ranks=2"])
        while taken := take(study):
            assert run_trial(study, Base(document, CONF, prepared), taken, lambda note: None) is None
        values.append([(trial.params, trial.value, trial.intermediate_values) for trial in study.trials()])
    assert values[0] == values[1] and len(values[0]) == 2
