"""tf.data without Parquet: TFRecord files parsed a batch at a time, or rows already in memory. Neither is shuffled: that favours them."""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf

from benchmarks.feeds import consume, consume_tf, rows


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    dataset = from_records(found, data) if sys.argv[5] == "records" else in_memory(found, data)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    consume_tf.consume_dataset(lambda _: dataset, out)


def in_memory(kind: rows.Kind, data: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(rows.in_memory(kind, data)).batch(kind.batch)


def from_records(kind: rows.Kind, data: Any) -> tf.data.Dataset:
    spec = {rows.TENSOR: tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.int64)}

    def parse(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(records, spec)
        values = tf.io.decode_raw(parsed[rows.TENSOR], kind.tensor.dtype)
        return tf.reshape(values, [-1, *kind.tensor.shape]), parsed["label"]

    paths = [str(path) for path in sorted((data / "tfrecord").glob("*.tfrecord"))]
    # Not num_parallel_reads: it hands over record by record between threads, and is 1.5 to 8 times slower on these records.
    return tf.data.TFRecordDataset(paths).batch(kind.batch).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


if __name__ == "__main__":
    main()
