"""Petastorm as it is documented for TensorFlow, row by row, or with `.rebatch()`; over our packed layout or over a column a value.

Row groups are shuffled, rows are not: that favours it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import tensorflow as tf
from petastorm import make_batch_reader
from petastorm.tf_utils import make_petastorm_dataset

from benchmarks.feeds import consume, rows


def main() -> None:
    warnings.simplefilter("ignore")
    kind, data, out, cores = consume.arguments()
    found, (layout, way) = rows.KINDS[kind], sys.argv[5:7]
    folder = data / "packed" / "data" / "train" if layout == "packed" else data / layout
    urls = [path.as_uri() for path in sorted(folder.glob("*.parquet"))]

    def as_tensor(batch: Any) -> tuple[tf.Tensor, tf.Tensor]:
        if layout == "packed":
            values = tf.io.decode_raw(getattr(batch, rows.TENSOR), found.tensor.dtype)
            return tf.reshape(values, [-1, *found.tensor.shape]), batch.label
        return tf.stack([getattr(batch, f"x{index}") for index in range(found.tensor.shape[0])], axis=-1), batch.label

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        with make_batch_reader(urls, reader_pool_type="thread", workers_count=cores, seed=number + 1, num_epochs=1) as reader:
            dataset = make_petastorm_dataset(reader)
            dataset = dataset.unbatch().batch(found.batch).map(as_tensor) if way == "rows" else dataset.map(as_tensor).rebatch(found.batch)
            yield from dataset.prefetch(2)

    consume.consume(epoch, out, epochs=2, tensorflow=tf.__version__, petastorm=metadata.version("petastorm"))


if __name__ == "__main__":
    main()
