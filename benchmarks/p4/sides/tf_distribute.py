"""TensorFlow's MultiWorkerMirroredStrategy with its ring, and Keras 2 (tf-keras): it does not take Keras 3's models. Keras' own `fit`."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.p4 import orders

orders.pin()

import tensorflow as tf  # noqa: E402  # after the threads' core is set
import tf_keras as keras  # noqa: E402

from benchmarks.p4 import networks  # noqa: E402
from benchmarks.p4.works import WORKS  # noqa: E402


def main() -> None:
    rank = int(os.environ[orders.CORE])
    for threads, count in (("intra", 1), ("inter", 2)):
        getattr(tf.config.threading, f"set_{threads}_op_parallelism_threads")(count)
    work = WORKS[os.environ[orders.MODEL]]
    strategy = tf.distribute.get_strategy()
    if not orders.is_alone():
        ring = tf.distribute.experimental.CommunicationOptions(implementation=tf.distribute.experimental.CommunicationImplementation.RING)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=ring)
    with strategy.scope():
        model = networks.build(keras, work.name)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.001, momentum=0.9), loss, steps_per_execution=work.execution)
    rows = tf.data.Dataset.from_tensors(work.batch(rank, int(os.environ[orders.ROWS]))).cache().repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    per_rank = rows.with_options(options)
    fed = strategy.distribute_datasets_from_function(lambda context: per_rank) if not orders.is_alone() else per_rank
    times = networks.times_of(keras)

    def run(steps: int) -> orders.Segment:
        model.fit(fed, steps_per_epoch=steps + work.execution, verbose=0, callbacks=[times])
        return times.segment

    def weights() -> list[Any]:
        return [variable.numpy() for variable in model.trainable_variables]

    orders.obey(rank, {"steps": run}, weights, tensorflow=tf.__version__, keras=keras.__version__)


if __name__ == "__main__":
    sys.exit(main())
