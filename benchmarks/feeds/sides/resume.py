"""Going on in the middle of an epoch over many files: seconds from the position to the first batch, and which rows still come."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from benchmarks.feeds import consume, rows
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.plan import Plan, Position


def main() -> None:
    kind, data, out, _ = consume.arguments()
    found = rows.KINDS[kind]
    reader = rows.reader(found, data)
    tf.zeros(1) + 1  # TensorFlow is up, as it is once a model is built
    plan = Plan(reader.rows_per_file, found.batch, found.lanes, 17)
    half = plan.num_steps // 2
    started = time.perf_counter()
    feed = TrainingFeed(reader, plan, epochs=1, start=Position(0, half))
    labels, first_batch_s = [], 0.0
    for _, label, _ in feed.epoch(0):
        first_batch_s = first_batch_s or time.perf_counter() - started
        labels.append(label.numpy())
    rest = np.concatenate(labels)
    rest_s = time.perf_counter() - started - first_batch_s
    before = TrainingFeed(reader, plan, epochs=1)
    taken = np.concatenate([label.numpy() for _, label, _ in before.epoch(0).take(half)])
    before.close()
    own = {"first_batch_s": first_batch_s, "rest_s": rest_s}
    whole = np.concatenate([taken, rest])
    sums = {"rows": len(whole), "distinct": len(np.unique(whole)), "steps": plan.num_steps, "files": found.num_files}
    consume.report(out, own, [sums], tensorflow=tf.__version__)


if __name__ == "__main__":
    main()
