"""Petastorm as it is documented for TensorFlow, row by row, or with `.rebatch()`; over our packed layout or over a column a value.

Row groups are shuffled, rows are not: that favours it.
"""

from __future__ import annotations

import sys
import warnings
from importlib import metadata
from typing import Any

import tensorflow as tf
from petastorm import make_batch_reader
from petastorm.tf_utils import make_petastorm_dataset

from benchmarks.feeds import consume, consume_tf, rows


def main() -> None:
    warnings.simplefilter("ignore")
    kind, data, out, cores = consume.arguments()
    found, (layout, way) = rows.KINDS[kind], sys.argv[5:7]
    folder = data / "packed" / "data" / "train" if layout == "packed" else data / layout
    urls = [path.as_uri() for path in sorted(folder.glob("*.parquet"))]
    opened: list[Any] = []

    def as_tensor(batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if layout == "packed":
            values = tf.io.decode_raw(getattr(batch, rows.TENSOR), found.tensor.dtype)
            return tf.reshape(values, [-1, *found.tensor.shape]), batch.label
        return tf.stack([getattr(batch, f"x{index}") for index in range(found.tensor.shape[0])], axis=-1), batch.label

    def epoch(number: int) -> tf.data.Dataset:
        close(opened)
        opened.append(make_batch_reader(urls, reader_pool_type="thread", workers_count=cores, seed=number + 1, num_epochs=1))
        dataset = make_petastorm_dataset(opened[-1])
        dataset = dataset.unbatch().batch(found.batch).map(as_tensor) if way == "rows" else dataset.map(as_tensor).rebatch(found.batch)
        return dataset.prefetch(2)

    consume_tf.consume_dataset(epoch, out, in_python=way != "rows", petastorm=metadata.version("petastorm"))
    close(opened)


def close(readers: list[Any]) -> None:
    """End the readers of epochs before, also of one that was left half-way."""
    while readers:
        reader = readers.pop()
        reader.stop()
        reader.join()


if __name__ == "__main__":
    main()
