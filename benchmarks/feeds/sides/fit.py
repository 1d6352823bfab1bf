"""`model.fit` of a small network, fed by our feed or by arrays in memory; the same rows, batch and steps."""

from __future__ import annotations

import sys
import time
from statistics import median

import keras
import numpy as np
import tensorflow as tf

from benchmarks.feeds import consume, rows
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan
from pipeline.feed.reader import SplitReader
from pipeline.feed.stall import share

EPOCHS = 4  # the first compiles


class Times(keras.callbacks.Callback):  # type: ignore[misc]
    """Seconds from one epoch's end to the next one's: what lies between two epochs is in them."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = [time.perf_counter()]
        self.cpu = [time.process_time()]

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    reader = rows.reader(found, data)
    plan = Plan(reader.rows_per_file, found.batch, found.lanes, 17)
    keras.utils.set_random_seed(3)
    model = network()
    times, own = (fit_in_memory if sys.argv[5] == "memory" else fit_fed)(model, reader, plan)
    seconds, cpu = (np.diff(marks).tolist() for marks in (times.ends, times.cpu))
    num_rows, timed = plan.num_steps * found.batch, median(seconds[1:])
    own |= {"rows_per_s": num_rows / timed, "epoch_s": timed, "epoch_cpu_s": median(cpu[1:]), "first_epoch_s": seconds[0]}
    consume.report(out, own, [{"rows": num_rows}], tensorflow=tf.__version__, keras=keras.__version__)


def fit_in_memory(model: keras.Model, reader: SplitReader, plan: Plan) -> tuple[Times, dict[str, float]]:
    kept = plan.num_steps * plan.global_batch
    parts = list(reader.read(range(len(reader.files))))
    tensor, label, weight = (np.concatenate(arrays)[:kept] for arrays in zip(*(part.arrays for part in parts), strict=True))
    times = Times()
    model.fit(tensor, label, sample_weight=weight, batch_size=plan.global_batch, epochs=EPOCHS, shuffle=True, verbose=0, callbacks=[times])
    return times, {}


def fit_fed(model: keras.Model, reader: SplitReader, plan: Plan) -> tuple[Times, dict[str, float]]:
    """As a rank does: a `fit` for each epoch."""
    feed, times = TrainingFeed(reader, plan, epochs=EPOCHS), Times()
    for epoch in range(EPOCHS):
        model.fit(feed.epoch(epoch), initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[times])
    feed.close()
    return times, {"waited_share": share(feed.clock.seconds, times.ends[-1] - times.ends[0])}


def network() -> keras.Model:
    layers = [keras.layers.Dense(width, activation="relu") for width in (256, 256)]
    model = keras.Sequential([keras.Input((32,)), *layers, keras.layers.Dense(10)])
    model.compile("adam", loss, steps_per_execution=16, jit_compile=False)
    return model


def loss(label: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Rows are numbered; ten classes are made of that."""
    return keras.losses.sparse_categorical_crossentropy(label % 10, logits, from_logits=True)


if __name__ == "__main__":
    main()
