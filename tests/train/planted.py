"""A model with a fault to be planted, and a callback that writes down what half precision does: copied beside a test's recipe."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Fault(keras.layers.Layer):
    """Gives back what it gets. In one training step of one rank the gradient that flows through it is infinite."""

    def __init__(self, step: int, rank: int, **options: Any) -> None:
        super().__init__(**options)
        self.step, self.rank = step, rank

    def build(self, shape: Any) -> None:
        self.done = self.add_weight(shape=(), initializer="zeros", dtype="int64", trainable=False, name="done")

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        is_mine = int(os.environ.get("HOROVOD_RANK", "0")) == self.rank
        factor = tf.where(tf.equal(self.done.value, self.step) & is_mine, np.inf, 1.0)
        self.done.assign_add(1)
        return with_gradient(inputs, tf.cast(factor, inputs.dtype))


@tf.custom_gradient
def with_gradient(inputs: Any, factor: Any) -> Any:
    return tf.identity(inputs), lambda upstream: (upstream * factor, None)


def build(num_features: int, num_outputs: int, *, step: int = -1, rank: int = 1) -> keras.Model:
    """An MLP whose first layer gets an infinite gradient in training step `step`, from 0, on `rank`."""
    rows = keras.Input((num_features,))
    hidden = Fault(step, rank)(keras.layers.Dense(16, activation="relu")(rows))
    return keras.Model(rows, keras.layers.Dense(num_outputs, dtype="float32")(hidden))


class Steps(keras.callbacks.Callback):
    """`steps-<rank>.jsonl`: after each step the loss scale, the updates that were made, and a digest of the trained weights."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / f"steps-{os.environ.get('HOROVOD_RANK', '0')}.jsonl"

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        digest = hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in self.model.trainable_weights))
        line = {
            "updates": int(getattr(optimizer, "inner_optimizer", optimizer).iterations),
            "scale": float(getattr(optimizer, "dynamic_scale", 1.0)),
            "weights": digest.hexdigest(),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
