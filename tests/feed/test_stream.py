"""A producer in its thread: ahead by so much and no more, its errors told, its silence an error."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.errors import DataError, InfrastructureError
from pipeline.feed.stream import Stream, in_turn


def test_items_come_in_order_and_then_it_is_over():
    stream = Stream(lambda: iter(range(100)), "test", 60, depth=3)
    assert list(stream) == list(range(100))
    with pytest.raises(StopIteration):
        next(stream)


def test_the_producer_is_no_further_ahead_than_its_depth():
    produced, reached = [], threading.Event()

    def produce():
        for number in range(10):
            produced.append(number)
            if number == 2:
                reached.set()
            yield number

    stream = Stream(produce, "test", 60, depth=2)
    assert reached.wait(60)
    assert len(produced) == 3  # two that wait, one in its hand
    assert next(stream) == 0
    stream.close()


def test_what_the_producer_raises_comes_after_what_it_gave():
    def produce():
        yield 1
        raise DataError("row group 3 is damaged")

    stream = Stream(produce, "test", 60)
    assert next(stream) == 1
    with pytest.raises(DataError, match="row group 3 is damaged"):
        next(stream)


def test_a_producer_that_is_stuck_is_an_error_that_names_the_limit():
    release = threading.Event()

    def produce():
        yield 1
        release.wait()

    stream = Stream(produce, "The feed of rank 3", 0.3)
    assert next(stream) == 1
    with pytest.raises(InfrastructureError, match="The feed of rank 3 gave nothing for 0.3 s: .*feed.timeout_s"):
        next(stream)
    release.set()


def test_closing_ends_the_producer_in_its_wait_and_runs_its_clean_up():
    ended = threading.Event()

    def produce():
        try:
            while True:
                yield 0
        finally:
            ended.set()

    stream = Stream(produce, "test", 60)
    next(stream)
    stream.close()
    assert ended.wait(60)


def parts(log, counts):
    def items(part, count):
        for number in range(count):
            log.append((part, number))
            yield part, number
        log.append((part, "over"))

    return ((count, items(part, count)) for part, count in enumerate(counts))


def test_iterators_come_in_turn_and_the_next_is_begun_with_the_last_item_of_the_one_before():
    log = []
    items = in_turn(parts(log, [2, 3, 1]))
    assert [next(items), next(items)] == [(0, 0), (0, 1)]
    deadline = time.monotonic() + 60
    while log[-1] != (1, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert log == [(0, 0), (0, 1), (0, "over"), (1, 0)]
    assert list(items) == [(1, 0), (1, 1), (1, 2), (2, 0)]


def test_an_error_of_an_iterator_that_was_begun_ahead_comes_in_its_turn():
    def failing():
        raise DataError("no such file")
        yield

    items = in_turn(iter([(1, iter(["first"])), (1, failing())]))
    assert next(items) == "first"
    with pytest.raises(DataError, match="no such file"):
        next(items)
