"""Our feed, as a rank uses it: a plan, Petastorm, blocks, tf.data; every epoch in another order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from benchmarks.feeds import consume, rows
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    reader = rows.reader(found, data)
    plan = Plan(reader.rows_per_file, found.batch, found.lanes, 17)
    feed = TrainingFeed(reader, plan, epochs=consume.EPOCHS)

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        for tensor, label, _ in feed.epoch(number):
            yield tensor, label

    consume.consume(epoch, out, tensorflow=tf.__version__)


if __name__ == "__main__":
    main()
