"""Callbacks that a recipe asks for, with worlds and clocks made by hand."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import user_code
from pipeline.errors import ConfigError, DataError, InfrastructureError
from pipeline.sections.objective import Optimizer, Plateau, UserCallback
from pipeline.sections.training import Train
from pipeline.train.build import vary_random_numbers
from pipeline.train.callbacks import OneTraining, Progress
from pipeline.train.horovod import World
from pipeline.train.normalisation import synchronise
from pipeline.train.objective import make_optimizer
from pipeline.train.rank import restore
from pipeline.train.watch import (
    CsvHistory,
    MovingAverage,
    Plateaus,
    SameWeights,
    StopOnNan,
    TensorBoardScalars,
    TimeLimit,
    best_is,
    make_custom,
    weight_digest,
)

pytestmark = pytest.mark.tf

HISTORY = [
    {"epoch": 1, "steps": 4, "metrics": {"loss": 0.5, "val_loss": 0.75}, "seconds": 1.5},
    {"epoch": 2, "steps": 4, "metrics": {"loss": 0.25, "val_loss": 0.5}, "seconds": 1.25},
]


@dataclass(frozen=True)
class HandMade(World):
    """A world whose rank 0 says `digest`, and whose other ranks' parts of a sum are `theirs`."""

    digest: bytes = b""
    theirs: float = 0.0

    def from_rank_0(self, array: NDArray) -> NDArray:
        return np.frombuffer(self.digest, np.int64)

    def sum(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        return [array + self.theirs for array in arrays]


def linear(value: float = 0.0) -> keras.Model:
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer=keras.initializers.Constant(value))(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def placed(callback: keras.callbacks.Callback, model: keras.Model) -> keras.callbacks.Callback:
    callback.set_model(model)
    return callback


def test_a_loss_that_is_no_number_ends_the_rank_where_it_is_seen():
    StopOnNan().on_train_batch_end(3, {"loss": 7.0})
    with pytest.raises(DataError, match="The loss was nan by step 4 of the epoch"):
        StopOnNan().on_train_batch_end(3, {"loss": math.nan})


def test_a_time_limit_counts_all_attempts():
    now = [100.0]
    model = linear()
    limit = placed(TimeLimit(60, lambda: now[0]), model)
    model.stop_training = False
    now[0] = 130.0
    limit.on_epoch_end(0)
    assert not model.stop_training
    again = placed(TimeLimit(60, lambda: now[0]), model)
    again.restore(limit.state())
    now[0] = 161.0
    again.on_epoch_end(1)
    assert model.stop_training


def test_a_plateau_lowers_the_learning_rate_and_goes_on_waiting_after_a_resume():
    model = linear()
    first = placed(Plateaus(Plateau(patience=2, factor=0.5)), model)
    first.on_train_begin()
    for epoch, loss in enumerate((1.0, 1.0)):
        first.on_epoch_end(epoch, {"val_loss": loss})
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    second = placed(Plateaus(Plateau(patience=2, factor=0.5)), model)
    second.on_train_begin()
    second.restore(first.state())
    second.on_epoch_end(2, {"val_loss": 1.0})
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize(("metric", "expected"), [("val_loss", "min"), ("val_auc", "max"), ("val_rmse", "min"), ("val_r2", "max")])
def test_what_is_better_is_known_of_every_metric(metric, expected):
    assert best_is(metric) == expected


def test_equal_weights_pass_and_one_differing_bit_is_told_on_every_rank():
    model, other = linear(1.0), linear(float(np.nextafter(np.float32(1), np.float32(2))))
    placed(SameWeights(HandMade(digest=weight_digest(model), size=2)), model).on_epoch_end(0)
    with pytest.raises(InfrastructureError, match=r"weights of 1 of 2 ranks are not rank 0's \(this one, rank 1, among them\)"):
        placed(SameWeights(HandMade(rank=1, digest=weight_digest(other), size=2)), model).on_epoch_end(0)
    with pytest.raises(InfrastructureError, match=r"not rank 0's \(not this one\)"):
        placed(SameWeights(HandMade(digest=weight_digest(model), size=2, theirs=1.0)), model).on_epoch_end(0)


def test_weights_that_are_no_numbers_end_the_epoch_whatever_the_loss_is():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
    watch = SameWeights(World())
    watch.set_model(model)
    watch.on_epoch_end(0)
    model.get_layer("out").bias.assign([np.nan])
    with pytest.raises(DataError, match="Epoch 2 ended with weights that are no numbers: .*out/bias"):
        watch.on_epoch_end(1)


def test_the_moving_average_is_what_is_validated_and_training_goes_on_with_the_raw_weights():
    model = linear()
    settings = Train(optimizer=Optimizer(name="sgd", learning_rate=0.1, ema=0.5))
    model.compile(make_optimizer(settings, 4), "mse")
    model.optimizer.build(model.trainable_variables)
    average = MovingAverage()
    seen: list[tuple[str, float]] = []

    def look(name: str) -> keras.callbacks.Callback:
        return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((name, float(model.get_weights()[0][0, 0]))))

    callbacks = OneTraining([average, look("validated"), average.resume, look("raw")], model, epochs=2, steps=4, verbose=0)
    rows, labels = np.ones((4, 1), np.float32), np.full((4, 1), 10, np.float32)
    for epoch in range(2):
        model.fit(rows, labels, batch_size=1, initial_epoch=epoch, epochs=epoch + 1, callbacks=callbacks, shuffle=False, verbose=0)
    callbacks.finish()
    weight, mean, expected = 0.0, 0.0, {}
    for step in range(8):
        weight -= 0.1 * 2 * (weight - 10)
        mean = weight if step == 0 else 0.5 * mean + 0.5 * weight
        expected[step] = (mean, weight)
    found = [value for _, value in seen]
    assert found == pytest.approx([*expected[3], *expected[7]], rel=1e-5)
    assert model.get_weights()[0][0, 0] == pytest.approx(expected[7][0], rel=1e-5)  # the result is the average


def test_a_csv_holds_every_epoch_of_the_history(tmp_path):
    CsvHistory(tmp_path / "history.csv", HISTORY).on_epoch_end(1)
    with (tmp_path / "history.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines == [
        {"epoch": "1", "loss": "0.5", "val_loss": "0.75", "seconds": "1.5"},
        {"epoch": "2", "loss": "0.25", "val_loss": "0.5", "seconds": "1.25"},
    ]


def test_tensorboard_files_hold_every_epochs_metrics(tmp_path):
    from tensorflow.core.util import event_pb2

    TensorBoardScalars(tmp_path, HISTORY).on_train_end()
    (path,) = tmp_path.iterdir()
    events = [event_pb2.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
    values = {(event.step, value.tag): float(tf.make_ndarray(value.tensor)) for event in events for value in event.summary.value}
    assert values == {(1, "epoch/loss"): 0.5, (1, "epoch/val_loss"): 0.75, (2, "epoch/loss"): 0.25, (2, "epoch/val_loss"): 0.5}
    assert {value.metadata.plugin_data.plugin_name for event in events for value in event.summary.value} == {"scalars"}


MINE = """
import keras


class Counts(keras.callbacks.Callback):
    def __init__(self, start):
        super().__init__()
        self.count = start


class NoCallback:
    pass
"""


def test_a_callback_of_the_users_own_comes_from_the_recipes_folder(tmp_path):
    (tmp_path / "my_callbacks.py").write_text(MINE)
    made = make_custom(UserCallback(name="my_callbacks:Counts", arguments={"start": 3}), lambda name: user_code.load(name, tmp_path))
    assert made.count == 3
    with pytest.raises(ConfigError, match="my_callbacks:NoCallback is no Keras callback"):
        make_custom(UserCallback(name="my_callbacks:NoCallback"), lambda name: user_code.load(name, tmp_path))
    with pytest.raises(ConfigError, match="does not take {'end': 1}"):
        make_custom(UserCallback(name="my_callbacks:Counts", arguments={"end": 1}), lambda name: user_code.load(name, tmp_path))


def test_steps_are_counted_over_epochs_whatever_an_execution_holds():
    progress = Progress(num_steps=10, resumed=None)
    progress.on_epoch_begin(2)
    progress.on_train_batch_end(3)
    assert progress.done == 24
    progress.on_train_batch_end(11)  # the epoch's last execution is only partly filled
    assert progress.done == 30


def test_ranks_drop_other_units():
    inputs = keras.Input((100,))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, seed=3)(inputs))
    start = [variable.numpy() for variable in model.variables]
    drawn = []
    for rank in range(2):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        vary_random_numbers(model, World(rank, 2))
        drawn.append(np.asarray(model(np.ones((1, 100), np.float32), training=True)))
    assert not np.array_equal(*drawn)


def test_a_restored_rank_takes_its_distance_from_rank_0_once(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5, seed=3)(inputs)))
    model.compile(keras.optimizers.SGD(), "mse")
    model.optimizer.build(model.trainable_variables)
    (generator,) = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    before = generator.numpy()
    assert restore(tmp_path, model, World(3, 4), lambda: None) is None
    np.testing.assert_array_equal(generator.numpy(), before + np.asarray([3, 0], before.dtype))


@dataclass(frozen=True)
class Halves(World):
    """Rank 0 of two: the other one has the same rows, so its part of every sum is the same."""

    def sum_in_graph(self, gradients: Sequence) -> list:
        return [2 * gradient for gradient in gradients]


def test_batch_statistics_over_two_ranks_with_the_same_rows_are_those_of_one():
    rows = np.random.default_rng(0).normal(3, 2, (16, 5)).astype(np.float32)
    outputs, gradients = [], []
    for world in (World(), Halves(size=2)):
        inputs = keras.Input((5,))
        layer = keras.layers.BatchNormalization(momentum=0.0)
        model = keras.Model(inputs, layer(inputs))
        synchronise(model, world, 1 / world.size)
        given = tf.constant(rows)
        with tf.GradientTape() as tape:
            tape.watch(given)
            normalised = model(given, training=True)
            loss = tf.reduce_sum(normalised**3)
        outputs.append([normalised.numpy(), layer.moving_mean.numpy(), layer.moving_variance.numpy()])
        gradients.append(tape.gradient(loss, given).numpy())
    for left, right in zip(*outputs, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-4)
