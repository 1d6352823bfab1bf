"""The wait for batches: measured where there is one, none where there is none, and advice above the limit."""

from __future__ import annotations

import time

import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism  # TensorFlow has no public way back

from pipeline.feed.stall import advice, share
from pipeline.feed.stall_clock import StallClock

pytestmark = pytest.mark.tf

BATCHES, SLOW_S = 8, 0.05


def slow_batches():
    for number in range(BATCHES):
        time.sleep(SLOW_S)
        yield (number,)


def slow_dataset():
    dataset = tf.data.Dataset.from_generator(slow_batches, output_signature=(tf.TensorSpec((), tf.int64),))
    return dataset.apply(tf.data.experimental.assert_cardinality(BATCHES)).prefetch(2)


def test_a_slow_feed_is_waited_for():
    clock = StallClock()
    dataset = clock.around(slow_dataset())
    assert int(dataset.cardinality()) == BATCHES
    assert [int(number) for (number,) in dataset] == list(range(BATCHES))
    assert 0.8 * BATCHES * SLOW_S < clock.seconds


def test_batches_that_are_ready_are_not_waited_for_and_clocks_are_apart():
    idle, clock = StallClock(), StallClock()
    batches = iter(clock.around(slow_dataset()))
    next(batches)
    before = clock.seconds
    time.sleep(4 * SLOW_S)  # the feed fills its buffer of 2 meanwhile
    next(batches)
    assert clock.seconds - before < SLOW_S
    assert idle.seconds == 0


def test_the_clock_works_where_operations_are_deterministic():
    tf.config.experimental.enable_op_determinism()  # every rank runs with it
    try:
        clock = StallClock()
        assert len(list(clock.around(tf.data.Dataset.range(3).map(lambda number: (number,))))) == 3
    finally:
        disable_op_determinism()  # or tests after this one need seeds


@pytest.mark.parametrize(("waited", "steps", "expected"), [(1, 4, 0.25), (0, 4, 0), (5, 4, 1), (1, 0, 0)])
def test_a_share_is_of_the_steps_time(waited, steps, expected):
    assert share(waited, steps) == expected


def test_advice_comes_above_five_percent_and_names_keys_that_help():
    assert advice(0.05, 100, cache="none", window_mb=1, memory_mb=1024) is None
    assert advice(0.5, 1, cache="none", window_mb=1, memory_mb=1024) is None  # half of two seconds
    text = advice(0.2, 100, cache="none", window_mb=700, memory_mb=1024)
    assert text is not None and "waited 100 s for rows, 20% of its time" in text
    assert "feed.cache: memory" in text and "raise feed.memory_mb (now 1024)" in text
    other = advice(0.2, 100, cache="memory", window_mb=1, memory_mb=1024)
    assert other is not None and "feed.cache" not in other and "memory_mb" not in other
