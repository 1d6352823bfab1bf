"""Horovod as its documentation says: DistributedGradientTape in a tf.function, every gradient an all-reduce of its own, no settings."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.p4 import orders

orders.pin()

import keras  # noqa: E402  # after the threads' core is set
import tensorflow as tf  # noqa: E402

from benchmarks.p4 import networks  # noqa: E402
from benchmarks.p4.works import WORKS  # noqa: E402


def main() -> None:
    rank = int(os.environ[orders.CORE])
    tape_of: Any = lambda tape: tape  # noqa: E731
    if not orders.is_alone():
        import horovod.tensorflow as hvd

        hvd.init()
        rank, tape_of = hvd.rank(), hvd.DistributedGradientTape
    work = WORKS[os.environ[orders.MODEL]]
    model = networks.build(keras, work.name)
    optimizer = keras.optimizers.SGD(0.001, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rows, labels = (tf.constant(array) for array in work.batch(rank, int(os.environ[orders.ROWS])))

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, model(rows, training=True))
        # The values of Keras 3's variables: Horovod knows those of TensorFlow only.
        gradients = tape_of(tape).gradient(value, [variable.value for variable in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    def weights() -> list[Any]:
        return [variable.numpy() for variable in model.trainable_variables]

    orders.obey(rank, {"steps": orders.timed(step)}, weights, tensorflow=tf.__version__, keras=keras.__version__)


if __name__ == "__main__":
    sys.exit(main())
