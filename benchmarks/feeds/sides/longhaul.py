"""Our feed, from prepared Parquet to batches: every row shuffled within its window, each epoch in another order."""

from __future__ import annotations

from benchmarks.feeds import consume, consume_tf, rows
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    reader = rows.reader(found, data)
    plan = Plan(reader.rows_per_file, found.batch, found.lanes, 17)
    feed = TrainingFeed(reader, plan, epochs=consume_tf.EPOCHS + 1)  # so that it reads ahead in every epoch that is timed
    consume_tf.consume_dataset(feed.epoch, out)
    feed.close()


if __name__ == "__main__":
    main()
