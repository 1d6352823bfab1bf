"""A rank as `pipeline.train.rank` sets it up, with rows in memory: Keras' `fit`, our optimizer, the vote, the stopwatch, the heartbeat."""

from __future__ import annotations

import os
import sys
import time
from statistics import median
from typing import Any

from benchmarks.p4 import orders

orders.pin()

import keras  # noqa: E402  # after the threads' core is set
import tensorflow as tf  # noqa: E402

from benchmarks.p4 import networks  # noqa: E402
from benchmarks.p4.works import WORKS  # noqa: E402
from pipeline.train.events import tell  # noqa: E402
from pipeline.train.heartbeat import StopRequest, beat  # noqa: E402
from pipeline.train.horovod import World, all_reduce_gradients, detect_world  # noqa: E402
from pipeline.train.rank import make_deterministic  # noqa: E402

TIMES = 7  # a sum is timed


def main() -> None:
    world = World() if orders.is_alone() else detect_world()
    rank = int(os.environ[orders.CORE]) if orders.is_alone() else world.rank
    beat(tell, rank, StopRequest())
    make_deterministic(7)
    work = WORKS[os.environ[orders.MODEL]]
    model = networks.build(keras, work.name)
    optimizer = all_reduce_gradients(keras.optimizers.SGD(0.001, momentum=0.9), world, 1 / 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, steps_per_execution=work.execution, jit_compile=False)
    optimizer.build(model.trainable_variables)
    world.share_variables([*model.variables, *optimizer.variables])
    rows = tf.data.Dataset.from_tensors(work.batch(rank, int(os.environ[orders.ROWS]))).cache().repeat()
    times = networks.times_of(keras)

    def run(steps: int) -> orders.Segment:
        model.fit(rows, steps_per_epoch=steps + work.execution, shuffle=False, verbose=0, callbacks=[times])
        return times.segment

    def weights() -> list[Any]:
        return [variable.numpy() for variable in model.trainable_variables]

    known = {"steps": run, "reduce": lambda size: {"seconds": reduce_s(world, size)}}
    orders.obey(rank, known, weights, tensorflow=tf.__version__, keras=keras.__version__)


def reduce_s(world: World, size: int) -> float:
    """Seconds of one sum of so many bytes."""
    summed = tf.function(lambda values: world.sum_in_graph([values]))
    values, seconds = tf.ones(size // 4), []
    for _ in range(TIMES):
        began = time.perf_counter()
        summed(values)
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


if __name__ == "__main__":
    sys.exit(main())
