"""What a thread produces, a few items ahead of whoever takes them; a producer that is stuck or gone is an error, never a hang."""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from pipeline.errors import InfrastructureError
from pipeline.progress import asking_for_rows

Item = TypeVar("Item")

LOOK_S = 0.2  # between two looks at whether the other side still lives
EXIT_S = 5.0  # a process that ends waits so long for the thread: Arrow and TensorFlow abort if it still runs in them


class Stream(Generic[Item]):
    """Runs `produce()` in a thread of its own, at most `depth` items ahead. One consumer.

    Args:
        produce: gives the items; what it raises is raised to the consumer.
        what: names the work in messages, e.g. "the feed of rank 0".
        timeout_s: without an item for so long the producer is given up.
        depth: items that may wait.
    """

    def __init__(self, produce: Callable[[], Iterator[Item]], what: str, timeout_s: float, depth: int = 1) -> None:
        self._produce, self._what, self._timeout_s = produce, what, timeout_s
        self._items: queue.Queue[Item] = queue.Queue(depth)
        self._closed = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)  # a stuck read must not keep the process
        self._thread.start()
        atexit.register(self._end)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        """The next item.

        Raises:
            StopIteration: there are no more.
            InfrastructureError: none came within `timeout_s`.
            BaseException: whatever the producer raised.
        """
        with asking_for_rows():
            return self._next(time.monotonic() + self._timeout_s)

    def _next(self, deadline: float) -> Item:
        while True:
            is_over = not self._thread.is_alive()  # looked at first: what it put before it ended is then in the queue
            try:
                return self._items.get_nowait() if is_over else self._items.get(timeout=LOOK_S)
            except queue.Empty:
                if is_over:
                    if self._error is not None:
                        raise self._error from None
                    raise StopIteration from None
                if time.monotonic() > deadline:
                    raise InfrastructureError(
                        f"{self._what} gave nothing for {self._timeout_s:g} s: its disk or network hangs, or feed.timeout_s is too short "
                        "for files of this size. Look at the file system, then run the same command again: training goes on from its "
                        "last checkpoint."
                    ) from None

    def close(self) -> None:
        """Let the producer end; a producer that is stuck is left behind."""
        self._closed.set()
        with self._items.mutex:
            self._items.queue.clear()
            self._items.not_full.notify_all()

    def _end(self) -> None:
        self.close()
        self._thread.join(EXIT_S)

    def _run(self) -> None:
        items = self._produce()
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001  # it belongs to the consumer
            self._error = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            atexit.unregister(self._end)

    def _put(self, item: Item) -> bool:
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=LOOK_S)
                return True
            except queue.Full:
                continue
        return False


def in_turn(parts: Iterable[tuple[int, Iterator[Item]]]) -> Iterator[Item]:
    """The items of iterators, one after another; when the last item of one is there, a thread begins the next.

    Args:
        parts: how many items, and the iterator. Asked for one ahead.
    """
    begun: Begun[Item] | None = None
    upcoming = iter(parts)
    part = next(upcoming, None)
    try:
        while part is not None:
            count, items = part[0], begun or part[1]
            for _ in range(count - 1):
                yield next(items)
            last = [next(items)] if count else []
            next(items, None)  # it ends, and lets go of what it holds
            part = next(upcoming, None)
            begun = Begun(part[1]) if part is not None else None
            if last:
                yield last.pop()  # not kept here as well
    finally:
        if begun is not None:
            begun.close()


class Begun(Generic[Item]):
    """An iterator whose first item a thread fetches at once."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items, self._first = items, list[Item]()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._begin, name="feed-begin", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        self._thread.join()
        if self._error is not None:
            raise self._error from None
        return self._first.pop() if self._first else next(self._items)

    def close(self) -> None:
        """Wait for the thread: what it uses must not be taken away from it."""
        self._thread.join()

    def _begin(self) -> None:
        try:
            self._first.append(next(self._items))
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever asks for the item
            self._error = error
