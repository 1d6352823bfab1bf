"""Petastorm's own format: `make_reader` over NdarrayCodec, a Python object a row, `make_petastorm_dataset(reader).batch()`."""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any

import tensorflow as tf
from petastorm import make_reader
from petastorm.tf_utils import make_petastorm_dataset

from benchmarks.feeds import consume, consume_tf, rows
from benchmarks.feeds.sides.petastorm_tf import close


def main() -> None:
    warnings.simplefilter("ignore")
    kind, data, out, cores = consume.arguments()
    opened: list[Any] = []

    def epoch(number: int) -> tf.data.Dataset:
        close(opened)
        url = (data / "petastorm").as_uri()
        opened.append(make_reader(url, reader_pool_type="thread", workers_count=cores, seed=number + 1, num_epochs=1))
        dataset = make_petastorm_dataset(opened[-1]).batch(rows.KINDS[kind].batch)
        return dataset.map(lambda batch: (getattr(batch, rows.TENSOR), batch.label)).prefetch(2)

    consume_tf.consume_dataset(epoch, out, in_python=False, petastorm=metadata.version("petastorm"))
    close(opened)


if __name__ == "__main__":
    main()
