"""How long training waits for the feed: the clock is read in tf.data, before and after each batch is asked for."""

from __future__ import annotations

import tensorflow as tf


class StallClock:
    """Adds up the seconds that `next(batch)` takes, without Python in between."""

    def __init__(self) -> None:
        self._seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64, name="feed_wait_s")

    @property
    def seconds(self) -> float:
        """Waited so far."""
        return float(self._seconds.numpy())

    def around(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches; zip asks its inputs one after another, so the second stamp is taken when the batch is there."""
        stamps = tf.data.Dataset.range(dataset.cardinality()).map(lambda _: tf.timestamp())

        def add(before: tf.Tensor, batch: tuple[tf.Tensor, ...], after: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.control_dependencies([self._seconds.assign_add(after - before, read_value=False)]):
                return tuple(tf.identity(tensor) for tensor in batch)

        timed = tf.data.Dataset.zip((stamps, dataset, stamps)).map(add)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # it would take the time of filling a buffer, not of waiting
        return timed.with_options(options)
