"""Weights by layer name, layers that are frozen for some epochs, and what is refused; no ranks, no data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from models import mlp
from pipeline.errors import ConfigError, DataError
from pipeline.schema import Prepared
from pipeline.sections.objective import Optimizer
from pipeline.sections.training import Train
from pipeline.sections.transfer import Transfer
from pipeline.train import transfer
from pipeline.train.horovod import World, all_reduce_gradients
from pipeline.train.objective import make_optimizer
from pipeline.train.watch import MovingAverage

pytestmark = pytest.mark.tf


def network(num_outputs: int = 3, **options: object) -> keras.Model:
    return mlp.build(4, num_outputs, **{"width": 8, "depth": 2, "dropout": 0.0, **options})


def settings(**values: object) -> Transfer:
    return Transfer.model_validate_json(json.dumps({"source": "iris@champion", **values}))


def plan(model: keras.Model, *, is_new_head: bool = True, **values: object) -> transfer.Plan:
    return transfer.Plan(model, settings(**values), is_new_head=is_new_head)


def facts(*classes: str) -> Prepared:
    return Prepared.model_construct(task="classification", label="species", classes=classes)


def saved(model: keras.Model, folder: Path) -> tuple[Path, str]:
    path = folder / "model.keras"
    model.save(path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_layers_get_the_weights_of_those_of_the_same_name_and_the_head_its_own(tmp_path):
    origin, model = network(3), network(5)
    head = model.get_layer("outputs").get_weights()
    transfer.copy_weights(model, *saved(origin, tmp_path), plan(model).anew)
    for name in ("hidden_0", "hidden_1"):
        for ours, theirs in zip(model.get_layer(name).get_weights(), origin.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for ours, before in zip(model.get_layer("outputs").get_weights(), head, strict=True):
        np.testing.assert_array_equal(ours, before)


def test_another_architecture_is_refused_with_every_layer_that_does_not_fit(tmp_path):
    model = network(depth=3, width=16)
    with pytest.raises(ConfigError) as caught:
        transfer.copy_weights(model, *saved(network(), tmp_path), plan(model).anew)
    told = str(caught.value)
    assert "hidden_0: expected weights of shapes [(4, 16), (16,)], the origin has [(4, 8), (8,)]" in told
    assert "hidden_2: expected weights of shapes [(16, 16), (16,)], the origin has no layer of this name" in told
    transfer.copy_weights(model, *saved(network(), tmp_path), plan(model, new_layers=["hidden_*"]).anew)


def test_a_file_that_is_another_one_or_has_code_in_it_is_not_loaded(tmp_path):
    path, sha256 = saved(network(), tmp_path)
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="It was not loaded"):
        transfer.copy_weights(network(), path, sha256, ())
    code = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda rows: rows * 2), layers.Dense(3)])
    with pytest.raises(DataError, match=r"cannot be loaded safely: .* without a Lambda layer"):
        transfer.copy_weights(network(), *saved(code, tmp_path), ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze": ["hiden_0"]}, "no layer is called hiden_0. Layers with weights: hidden_0, hidden_1, outputs"),
        ({"freeze": ["hidden_0"], "unfreeze": [{"epoch": 2, "layers": ["conv"]}]}, "no layer is called conv"),
        ({"freeze_depth": 4}, "expected at most 3, the layers with weights, received 4"),
        ({"freeze": ["*"], "head": "keep"}, "leaves nothing to train in epoch 1"),
    ],
)
def test_names_that_no_layer_has_and_plans_that_train_nothing_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        plan(network(), is_new_head=False, **values)


def test_the_head_starts_anew_where_classes_differ_and_may_not_be_kept_then():
    assert transfer.make_plan(network(), settings(), facts("a", "b", "c"), facts("a", "b", "c")).anew == set()
    assert transfer.make_plan(network(), settings(), facts("a", "b", "c"), facts("a", "b", "d")).anew == {"outputs"}
    assert transfer.make_plan(network(), settings(head="new"), facts("a"), facts("a")).anew == {"outputs"}
    with pytest.raises(ConfigError, match="expects the origin's labels: species of a, b. Here they are species of a, d"):
        transfer.make_plan(network(), settings(head="keep"), facts("a", "b"), facts("a", "d"))


def test_stages_follow_from_the_epoch_and_what_starts_anew_is_never_frozen():
    stages = [{"epoch": 3, "layers": ["hidden_1"]}, {"epoch": 5}]
    found = plan(network(), freeze=["*"], unfreeze=stages).stages()
    assert found == [(1, ("hidden_0", "hidden_1")), (3, ("hidden_0",)), (5, ())]
    assert plan(network(), freeze_depth=1).stages() == [(1, ("hidden_0",))]


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_what_is_frozen_keeps_every_bit_and_learns_once_it_is_not(name):
    model, rows, labels = network(), np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32), np.arange(32) % 3
    options = Optimizer(name=name, learning_rate=0.05, weight_decay=0.1, clip_norm=1.0, ema=0.5)
    train = Train(optimizer=options, global_batch=32)
    model.compile(
        all_reduce_gradients(make_optimizer(train, 1), World(), 1.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.optimizer.build(model.trainable_variables)
    stages = plan(model, freeze=["hidden_*"], unfreeze=[{"epoch": 3, "layers": ["hidden_1"], "learning_rate": 0.01}])
    seen, rates = [], []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            seen.append([model.get_layer(name).kernel.numpy() for name in ("hidden_0", "hidden_1", "outputs")]),
            rates.append(float(model.optimizer.learning_rate)),
        )
    )
    before = [model.get_layer(name).kernel.numpy() for name in ("hidden_0", "hidden_1")]
    average = MovingAverage()
    model.fit(rows, labels, batch_size=32, epochs=4, verbose=0, callbacks=[transfer.Stages(stages, train), average, average.resume, watch])
    assert all(np.array_equal(kernels[0], before[0]) for kernels in seen)
    assert [np.array_equal(kernels[1], before[1]) for kernels in seen] == [True, True, False, False]
    assert not np.array_equal(seen[0][2], seen[1][2])
    assert rates == pytest.approx([0.05, 0.05, 0.01, 0.01])
