"""Autoencoders and generators on real ranks: they learn, two ranks equal one, and what is killed ends with the same weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.schema import Trained
from pipeline.train import job as train
from pipeline.train.unlabelled import check_gives_back, check_is_a_pair
from tests.conftest import PROJECT
from tests.evaluate.finished_unlabelled import IMAGES, PICTURES, TABLE, finish_prepare, make_request

pytestmark = pytest.mark.e2e

GAN = {**IMAGES, "model": {"name": "dcgan", "latent": 4, "filters": 4}}
WGAN = {**IMAGES, "model": {"name": "wgan_gp", "latent": 4, "filters": 4}}
TRAIN = """
import json, sys
from pathlib import Path
from pipeline.train import job
from tests.evaluate.finished_unlabelled import make_request
job.run(make_request(Path(sys.argv[1]), json.loads(sys.argv[2])))
"""
SLOW_STEPS = {"steps_per_execution": 1, "checkpoint_steps": 1}


def with_train(document: dict, **settings: object) -> dict:
    return {**document, "train": {**document["train"], "optimizer": {"name": "sgd", "learning_rate": 0.01}, **settings}}


def trained(root: Path, document: dict) -> tuple[Trained, keras.Model]:
    request = make_request(root, document)
    finish_prepare(request)
    outcome = train.run(request)
    model = keras.saving.load_model(outcome.found.files / "model.keras", safe_mode=True, compile=False)
    return Trained.model_validate(outcome.manifest.facts), model


def assert_alike(left: keras.Model, right: keras.Model) -> None:
    for one, other in zip(left.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)


@pytest.mark.slow
def test_a_denoising_autoencoder_learns_to_give_back_what_was_there_before_augmentation(tmp_path):
    document = {**with_train(TABLE, epochs=12, optimizer={"name": "adam", "learning_rate": 0.02}), "feed": {"augment": {"jitter": 0.3}}}
    facts, model = trained(tmp_path, {**document, "model": {**TABLE["model"], "latent": 4, "width": 16}})
    losses = [epoch.metrics["loss"] for epoch in facts.history]
    assert losses[-1] < 0.6 * losses[0] and set(facts.history[0].metrics) >= {"loss", "mae", "val_loss", "val_mae"}
    assert model.output_shape == (None, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "document", [with_train(TABLE), with_train(PICTURES), with_train(GAN), with_train(WGAN)], ids=["rows", "images", "dcgan", "wgan_gp"]
)
def test_two_ranks_give_the_weights_and_metrics_of_one(tmp_path, document):
    two, model_of_two = trained(tmp_path / "two", document)
    one, model_of_one = trained(tmp_path / "one", {**document, "train": {**document["train"], "ranks": 1}})
    assert_alike(model_of_two, model_of_one)
    for left, right in zip(two.history, one.history, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=2e-3, abs=1e-4)
    assert model_of_two.name == ("generator" if document["task"] == "gan" else "autoencoder")


@pytest.mark.slow
def test_a_killed_gan_goes_on_with_both_optimizers_to_the_same_generator(tmp_path):
    document = with_train(GAN, epochs=6, optimizer={"name": "adam", "learning_rate": 0.001, "beta_1": 0.5}, **SLOW_STEPS)
    undisturbed, _ = trained(tmp_path / "undisturbed", document)
    request = make_request(tmp_path / "killed", document)
    finish_prepare(request)
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, tmp_path / "killed", json.dumps(document)],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = request.run.stage("train") / "checkpoints"
    deadline = time.monotonic() + 120
    while not any(int(path.name[5:]) >= 9 for path in folder.glob("*/step-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    resumed = Trained.model_validate(train.run(request).manifest.facts)
    assert resumed.resumed_from is not None
    assert resumed.weight_digest == undisturbed.weight_digest


def test_a_model_that_is_not_of_its_task_is_refused_with_what_was_expected():
    row = keras.Input((4,))
    with pytest.raises(ConfigError, match=r"model mine takes \(4,\) and gives \(2,\)"):
        check_gives_back(keras.Model(row, keras.layers.Dense(2)(row)), "mine")
    with pytest.raises(ConfigError, match="ends with sigmoid"):
        check_gives_back(keras.Model(row, keras.layers.Dense(4, activation="sigmoid")(row)), "mine")
    with pytest.raises(ConfigError, match="model mine has no critic and no generator"):
        check_is_a_pair(keras.Model(row, keras.layers.Dense(4)(row)), "mine")
