"""What keeps ranks together, with worlds made by hand: no Horovod, no processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.train.callbacks import OneTraining, RankZeroDecides, metric_variables, sum_metrics
from pipeline.train.horovod import World, all_reduce_gradients

pytestmark = pytest.mark.tf


@dataclass(frozen=True)
class HandMade(World):
    """Another rank that said `from_0`, or whose states are `theirs`."""

    from_0: tuple[float, ...] = ()
    theirs: tuple[NDArray[np.float32], ...] = ()

    def from_rank_0(self, array: NDArray) -> NDArray:
        return np.asarray(self.from_0)

    def sum(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        return [mine + theirs for mine, theirs in zip(arrays, self.theirs, strict=True)]

    def sum_in_graph(self, gradients: Sequence) -> list:
        return [2 * gradient for gradient in gradients]


@pytest.fixture
def model() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
    return model


def test_a_rank_follows_rank_0_whatever_its_own_callbacks_found(model):
    decides = RankZeroDecides(HandMade(rank=1, size=2, from_0=(1.0, 0.025)))
    decides.set_model(model)
    model.stop_training = False
    decides.on_epoch_end(0, {})
    assert model.stop_training is True and float(model.optimizer.learning_rate) == pytest.approx(0.025)


def test_rank_0_keeps_its_own_decision(model):
    decides = RankZeroDecides(World())
    decides.set_model(model)
    model.stop_training = False
    decides.on_epoch_end(0, {})
    assert model.stop_training is False and float(model.optimizer.learning_rate) == pytest.approx(0.1)


def test_metrics_over_uneven_ranks_are_those_of_all_rows_and_not_the_mean_of_means(model):
    rows, labels = np.eye(2, dtype=np.float32), np.asarray([0, 1])
    model.get_layer("logits").set_weights([np.eye(2, dtype=np.float32), np.zeros(2, np.float32)])  # always right
    model.test_on_batch(rows, labels)
    mine = [variable.numpy() for variable in metric_variables(model)]
    # Another rank: 6 rows, all wrong. Accuracy is a pair (total, count), so is the mean of the loss.
    theirs = tuple(np.asarray(value, np.float32) for value in (12.0, 6.0, 0.0, 6.0))
    assert len(mine) == len(theirs)
    summed = sum_metrics(model, HandMade(size=2, theirs=theirs))
    assert summed["accuracy"] == pytest.approx(2 / 8)
    assert summed["loss"] == pytest.approx((mine[0] + 12) / 8)


def test_a_distributed_optimizer_sums_shares_before_it_applies():
    optimizer = all_reduce_gradients(keras.optimizers.SGD(1.0), HandMade(size=2), share=0.5)
    weight = keras.Variable(np.zeros(3, np.float32))
    optimizer.build([weight])
    optimizer.apply([keras.ops.ones(3)], [weight])
    assert np.allclose(weight.numpy(), -1)  # two ranks, each half of the rows, the same gradient


def test_alone_an_embeddings_gradient_is_clipped_by_the_norm_of_what_ranks_would_sum():
    optimizer = all_reduce_gradients(keras.optimizers.SGD(1.0, global_clipnorm=1.0), World(), share=1.0)
    table = keras.Variable(np.zeros((3, 1), np.float32))
    optimizer.build([table])
    rows = tf.IndexedSlices(tf.constant([[3.0], [3.0], [8.0]]), tf.constant([0, 0, 1]), tf.constant([3, 1]))  # in sum 6, 8, 0
    optimizer.apply([rows], [table])
    assert table.numpy()[:, 0] == pytest.approx([-0.6, -0.8, 0.0])


def test_several_fits_are_one_training_for_callbacks(model):
    seen: list[str] = []
    watcher = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch, logs: seen.append(f"epoch {epoch}"),
        on_train_end=lambda logs: seen.append("end"),
    )
    together = OneTraining([watcher], model)
    rows, labels = np.eye(2, dtype=np.float32), np.asarray([0, 1])
    for epoch in range(3):
        model.fit(rows, labels, initial_epoch=epoch, epochs=epoch + 1, callbacks=together, verbose=0)
    together.finish()
    assert seen == ["begin", "epoch 0", "epoch 1", "epoch 2", "end"]
