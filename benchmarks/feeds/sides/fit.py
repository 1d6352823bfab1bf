"""`model.fit` of a small network, fed by our feed or by arrays in memory; the same rows, batch and steps."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import keras
import numpy as np
import tensorflow as tf

from benchmarks.feeds import consume, rows
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan
from pipeline.feed.stall import share

EPOCHS = 5  # the first compiles


class Times(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    reader = rows.reader(found, data)
    plan = Plan(reader.rows_per_file, found.batch, found.lanes, 17)
    keras.utils.set_random_seed(3)
    model, times = network(), Times()
    waited = 0.0
    if sys.argv[5] == "memory":
        tensor, label = rows.in_memory(found, data)
        kept = plan.num_steps * found.batch
        target = (label % 10).astype(np.int64)[:kept]
        model.fit(tensor[:kept], target, batch_size=found.batch, epochs=EPOCHS, shuffle=True, verbose=0, callbacks=[times])
    else:
        feed = TrainingFeed(reader, plan, epochs=EPOCHS)
        for epoch in range(EPOCHS):
            dataset = feed.epoch(epoch).map(lambda tensor, label, weight: (tensor, label % 10, weight))
            model.fit(dataset, epochs=1, verbose=0, callbacks=[times])
        waited = share(feed.clock.seconds, sum(times.seconds))
    steps = plan.num_steps * found.batch
    finish(out, steps, times.seconds, waited)


def finish(out: Path, num_rows: int, seconds: list[float], waited: float) -> None:
    timed = median(seconds[1:])
    own = {"rows_per_s": num_rows / timed, "epoch_s": timed, "first_epoch_s": seconds[0], "waited_share": waited}
    consume.report(out, own, {"rows": num_rows}, tensorflow=tf.__version__, keras=keras.__version__)


def network() -> keras.Model:
    layers = [keras.layers.Dense(width, activation="relu") for width in (256, 256)]
    model = keras.Sequential([keras.Input((32,)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, steps_per_execution=16, jit_compile=False)
    return model


if __name__ == "__main__":
    main()
