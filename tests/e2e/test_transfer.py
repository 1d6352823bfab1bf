"""Trainings that start from a model: whole commands, two real ranks, real digits and irises."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from pipeline import config
from pipeline.attempt import read_published
from pipeline.evaluate.rows import read_columns
from pipeline.register import store
from pipeline.schema import SAMPLE_ID, Evaluated, SplitName
from pipeline.stage import upstream
from tests.conftest import PROJECT, FinishedRun, pipeline
from tests.train.test_ranks import ranks_of, reached, start_training, train, wait_for, weights

pytestmark = pytest.mark.e2e

EPOCHS = 6
STAGES = [{"epoch": 4, "layers": ["hidden_0"], "learning_rate": 0.002}]


def recipe_from(iris: FinishedRun, folder: Path) -> FinishedRun:
    """A recipe that starts from the finished irises' model, with its data prepared. Two of three species, so the head starts anew."""
    values = yaml.safe_load(iris.path.read_text())
    values["name"] = "fewer"
    kept = {"keep_values": {"column": "species", "values": ["versicolor", "virginica"]}}
    values["clean"] = {"max_dropped": 0.5, "rules": [kept, "drop_duplicates"]}
    values["transfer"] = {"source": str(iris.run.folder), "freeze": ["hidden_*"], "unfreeze": STAGES}
    values["train"] |= {"epochs": EPOCHS, "global_batch": 8, "early_stopping": None, "checkpoint_steps": 2, "steps_per_execution": 1}
    path = folder / "fewer.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))  # a feature is known by its place
    command = pipeline("prepare", path, root=folder)
    assert command.code == 0, command.err
    recipe = config.load(path)
    return FinishedRun(folder, recipe, path, command)


def kernel(model: keras.Model, layer: str) -> np.ndarray:
    return np.asarray(model.get_layer(layer).kernel)


def test_a_training_starts_from_a_model_with_its_scalers_and_frozen_layers_keep_its_bits(iris_run, tmp_path):
    here = recipe_from(iris_run, tmp_path)
    theirs = json.loads((iris_run.run.stage("prepare") / "manifest.json").read_text())["facts"]
    ours = json.loads((here.run.stage("prepare") / "manifest.json").read_text())["facts"]
    assert ours["scalers"] == theirs["scalers"] and ours["origin"]["run_id"] == iris_run.run.run_id
    facts, path = train(here, tmp_path, "transfer.unfreeze=[]")
    model = keras.saving.load_model(path, compile=False)
    published = read_published(iris_run.run.stage("train"))
    assert published is not None
    origin = keras.saving.load_model(iris_run.run.stage("train") / published.attempt / "model.keras", compile=False)
    np.testing.assert_array_equal(kernel(model, "hidden_0"), kernel(origin, "hidden_0"))
    assert model.output_shape == (None, 2)
    assert facts.transfer is not None and facts.transfer.origin.train_digest == published.digest
    assert (facts.transfer.new_layers, facts.transfer.frozen) == (("outputs",), ((1, ("hidden_0",)),))
    page = next(here.root.glob("fewer/*/train/attempt-*/files/report.html")).read_text()
    assert "hidden_0" in page and iris_run.run.run_id in page


@pytest.mark.slow
def test_killed_while_layers_thaw_it_goes_on_to_the_same_weights_on_one_rank_as_on_two(iris_run, tmp_path):
    here = recipe_from(iris_run, tmp_path)
    undisturbed, model_of_two = train(here, tmp_path)
    _, model_of_one = train(here, tmp_path, "train.ranks=1")
    for left, right in zip(weights(model_of_two), weights(model_of_one), strict=True):
        np.testing.assert_allclose(left, right, rtol=2e-3, atol=2e-4)
    again = tmp_path / "again"
    again.mkdir()
    process, checkpoints = start_training(here, again)
    wait_for(reached(checkpoints, 3 * undisturbed.steps_per_epoch + 2), process)  # within the epoch that thaws
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    process.communicate(timeout=120)
    resumed, _ = train(here, again)
    assert resumed.resumed_from is not None and resumed.weight_digest == undisturbed.weight_digest
    assert [epoch.metrics["learning_rate"] for epoch in resumed.history] == pytest.approx([0.01] * 3 + [0.002] * 3)


@pytest.fixture(scope="module")
def parity(digits_run, tmp_path_factory) -> dict[str, FinishedRun]:
    """Read only: conf/digits_parity.yaml from the registered champion and from random weights, up to the evaluation."""
    root = tmp_path_factory.mktemp("parity") / "runs"
    shutil.copytree(digits_run.root, root)
    path, found = PROJECT / "conf" / "digits_parity.yaml", {}
    for side, sets in {"transfer": [], "scratch": ["transfer=null"]}.items():
        for stage in ("prepare", "train", "evaluate"):
            command = pipeline(stage, path, *(argument for override in sets for argument in ("--set", override)), root=root)
            assert command.code == 0, command.err
        found[side] = FinishedRun(root, config.load(path, sets), path, command)
    return found


def ids_of(here: FinishedRun, split: SplitName) -> set[str]:
    return set(read_columns(upstream(here.request(), "prepare"), split, [SAMPLE_ID]).column(0).to_pylist())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_see_the_same_few_labels_and_neither_training_saw_a_test_row(digits_run, parity):
    few, test = ids_of(parity["transfer"], "train"), ids_of(parity["transfer"], "test")
    assert (few, test) == (ids_of(parity["scratch"], "train"), ids_of(parity["scratch"], "test"))
    assert len(few) < 60 and len(test) > 300
    assert not test & (few | ids_of(digits_run, "train") | ids_of(digits_run, "validation"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_few_labels_answer_a_new_question_better_from_the_champion_than_from_scratch_beyond_both_intervals(parity):
    found = {side: upstream(here.request(), "evaluate").manifest.facts for side, here in parity.items()}
    accuracy = {side: Evaluated.model_validate(facts).metrics["accuracy"] for side, facts in found.items()}
    assert accuracy["transfer"].low > accuracy["scratch"].high


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_version_says_which_champion_it_started_from(digits_run, parity):
    here, champion = parity["transfer"], upstream(digits_run.request(), "train")
    command = pipeline("register", here.path, root=here.root)
    assert command.code == 0, command.err
    tags = store.origin_of(here.run, "digits_parity", "champion", None)
    assert tags is not None
    assert (tags["origin_source"], tags["origin_train_digest"]) == ("digits@champion", champion.manifest.digest)
