"""A model that passes becomes a version with the alias, once; one that does not leaves everything as it was, and a record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import stage
from pipeline.errors import DataError, GateRejected
from pipeline.register import job, store
from pipeline.schema import Registered
from tests.evaluate.finished_run import finish_prepare, finish_train

pytestmark = pytest.mark.tf

LOW = "register.gate.accuracy.min=0.5"
CHAMPION = "register.gate.versus_champion={metric: accuracy, max_drop: 0.05}"


def registered(outcome) -> Registered:
    return Registered.model_validate(outcome.manifest.facts)


def test_the_first_model_becomes_version_1_with_the_alias_and_all_its_evidence(world):
    outcome = job.run(world.first(LOW, CHAMPION))
    facts = registered(outcome)
    run = world.client.get_run(facts.mlflow_run_id)
    assert (facts.version, facts.previous_version, world.champion, world.versions) == (1, None, 1, {1: "manual-aaaaaaaa"})
    assert [condition.holds for condition in facts.conditions] == [True, True]
    assert (run.info.status, run.info.run_name, run.data.tags["gate"]) == ("FINISHED", "manual-aaaaaaaa", "accepted")
    assert (run.data.params["train.optimizer.name"], run.data.params["columns.species.role"]) == ("adamw", "label")
    assert (run.data.metrics["test/accuracy"], run.data.metrics["test/rows"]) == (0.9, 40)
    assert [point.step for point in world.client.get_metric_history(facts.mlflow_run_id, "epoch/val_loss")] == [1, 2, 3]
    paths = {item.path for item in world.client.list_artifacts(facts.mlflow_run_id)}
    assert paths >= {"report.html", "recipe.yaml", "gate.json", "manifests"}
    assert run.data.tags["evaluate_digest"] == stage.upstream(world.first(), "evaluate").manifest.digest


def test_the_registered_model_loads_and_predicts_as_the_trained_one(world):
    import keras
    import mlflow.tensorflow

    job.run(world.first(LOW))
    rows = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    trained = keras.saving.load_model(stage.upstream(world.first(), "train").files / "model.keras")
    loaded = mlflow.tensorflow.load_model("models:/iris@champion")
    np.testing.assert_array_equal(loaded.predict(rows, verbose=0), trained.predict(rows, verbose=0))


def test_everything_is_under_the_root(world, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    request = world.first(LOW)
    monkeypatch.chdir(elsewhere)  # where log_model would make ./mlruns
    facts = registered(job.run(request))
    version = world.client.get_model_version("iris", str(facts.version))
    model = world.client.get_logged_model(version.source.removeprefix("models:/"))
    assert Path(model.artifact_location.removeprefix("file://")).is_relative_to(request.run.registry_artifacts)
    assert list(elsewhere.iterdir()) == []


def test_two_registrations_give_two_versions_and_the_alias_follows(world):
    job.run(world.first(LOW))
    facts = registered(job.run(world.second(LOW)))
    assert (facts.version, facts.previous_version, world.champion) == (2, 1, 2)
    assert world.versions == {1: "manual-aaaaaaaa", 2: "manual-bbbbbbbb"}
    assert world.client.get_model_version("iris", "2").tags["replaces"] == "1"


def test_a_worse_candidate_is_rejected_recorded_and_changes_nothing(world):
    job.run(world.first(LOW))
    request = world.second(LOW, CHAMPION)
    with pytest.raises(GateRejected) as caught:
        job.run(request)
    assert caught.value.exit_code == 5
    assert "expected accuracy >= champion - 0.05 (champion: 0.9), received 0.8 (95 % interval" in str(caught.value)
    assert "accuracy >= 0.5" not in str(caught.value)
    assert (world.champion, world.versions) == (1, {1: "manual-aaaaaaaa"})
    (run,) = world.runs("tags.gate = 'rejected'")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "manual-bbbbbbbb")
    assert "does not hold: accuracy >= champion - 0.05" in run.data.tags["gate.conditions"]
    assert not (request.run.stage("register") / "manifest.json").exists()


def test_a_first_model_below_its_fixed_bound_is_rejected(world):
    with pytest.raises(GateRejected, match=r"expected accuracy >= 0.9, received 0.8"):
        job.run(world.second("register.gate.accuracy.min=0.9"))
    assert world.versions == {}


def test_a_rejection_that_is_repeated_is_recorded_once_and_can_be_overcome(world):
    for _ in range(2):
        with pytest.raises(GateRejected):
            job.run(world.second("register.gate.accuracy.min=0.9"))
    assert len(world.runs()) == 1
    job.run(world.second(LOW))
    assert [run.data.tags["gate"] for run in world.runs()] == ["accepted"]


def test_a_crash_between_version_and_alias_reuses_the_version(world, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(store, "promote", crash)
        job.run(world.first(LOW))
    assert world.versions == {1: "manual-aaaaaaaa"}
    assert registered(job.run(world.first(LOW))).version == 1
    assert (world.versions, world.champion, len(world.runs())) == ({1: "manual-aaaaaaaa"}, 1, 1)


def test_a_crash_before_the_version_leaves_none_and_the_rerun_makes_one(world, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(store, "log_model", crash)
        job.run(world.first(LOW))
    assert (world.versions, [run.info.status for run in world.runs()]) == ({}, ["FAILED"])
    job.run(world.first(LOW))
    assert (world.champion, [run.info.status for run in world.runs()]) == (1, ["FINISHED"])


def test_a_crash_after_the_alias_still_knows_whom_it_replaced(world, forget):
    job.run(world.first(LOW))
    job.run(world.second(LOW))
    forget(world.second(), "register")
    facts = registered(job.run(world.second(LOW, CHAMPION)))
    assert (facts.version, facts.previous_version, world.versions.keys()) == (2, 1, {1, 2})


def test_a_result_that_is_reused_does_not_take_the_alias_back(world):
    job.run(world.first(LOW))
    job.run(world.second(LOW))
    assert job.run(world.first(LOW)).reused_from == "manual-aaaaaaaa"
    assert world.champion == 2


def test_reusing_a_result_and_importing_the_job_import_no_mlflow(world):
    job.run(world.first(LOW))
    program = (
        "import sys, pathlib\n"
        "from pipeline.register import job\n"
        "from tests.evaluate.finished_run import make_request\n"
        "assert job.run(make_request(pathlib.Path(sys.argv[1]), 'manual-aaaaaaaa', (sys.argv[2],))).reused_from\n"
        "print(sorted({'mlflow', 'tensorflow', 'keras', 'sqlalchemy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(world.root), LOW], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_evaluation_of_another_model_is_refused(world):
    from keras import layers

    finish_train(world.first(), [layers.Dense(3)])
    with pytest.raises(DataError, match="evaluate result .* was not made from the train result that is there now"):
        job.run(world.first(LOW))


def test_a_model_of_other_data_is_refused(world):
    finish_prepare(world.first(), num_wrong=1)
    with pytest.raises(DataError, match="was not made from the prepare result"):
        job.run(world.first(LOW))


def test_a_truncated_model_is_refused_and_the_champion_keeps_serving(world):
    job.run(world.first(LOW))
    model = stage.upstream(world.second(), "train").files / "model.keras"
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(DataError, match="bytes, its manifest says"):
        job.run(world.second(LOW))
    assert world.champion == 1


def test_a_gate_without_conditions_registers_and_warns(world, monkeypatch):
    said = []
    request = world.first("register.gate={}")
    monkeypatch.setattr(request.console, "warn", said.append)
    assert registered(job.run(request)).conditions == ()
    assert said == ["register.gate of iris has no conditions: every model is registered."]


def crash(*_):
    raise RuntimeError("the process dies here")
