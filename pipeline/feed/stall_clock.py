"""How long training waits for the feed, counted by TensorFlow itself as batches are asked for; no Python in between."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.framework import summary_pb2
from tensorflow.python.data.ops import dataset_ops

TAG = "longhaul_feed_wait"


class StallClock:
    """Adds up the time that `next(batch)` takes.

    By tf.data's own statistics, which lost their public names in TF 2.4 but not their operations. A map with `tf.timestamp` before and
    after would do the same, but is refused where operations must be deterministic.
    """

    def __init__(self) -> None:
        self._totals = tf.raw_ops.StatsAggregatorHandle(container="", shared_name=f"{TAG}_{id(self)}")

    @property
    def seconds(self) -> float:
        """Waited so far."""
        summary = summary_pb2.Summary.FromString(tf.raw_ops.StatsAggregatorSummary(iterator=self._totals).numpy())
        return sum(float(value.histo.sum) for value in summary.value if value.tag == TAG) / 1e6  # microseconds

    def around(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, timed. Place it last: whatever comes after would take the waiting upon itself."""
        spec, cardinality = dataset.element_spec, dataset.cardinality()
        output = {
            "output_types": [tensor.dtype for tensor in tf.nest.flatten(spec)],
            "output_shapes": [tensor.shape for tensor in tf.nest.flatten(spec)],
        }
        timed = tf.raw_ops.LatencyStatsDataset(input_dataset=dataset._variant_tensor, tag=TAG, **output)
        counted = tf.raw_ops.SetStatsAggregatorDataset(
            input_dataset=timed, stats_aggregator=self._totals, tag="", counter_prefix="", **output
        )
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # it would be what waits
        again: tf.data.Dataset = dataset_ops._VariantDataset(counted, spec).with_options(options)
        return again.apply(tf.data.experimental.assert_cardinality(cardinality))
