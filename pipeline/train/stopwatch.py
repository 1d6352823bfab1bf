"""How long a rank waits for the others' gradients: the clock is read between TensorFlow's operations, around the sum."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any


class Stopwatch:
    """Adds up the seconds of an operation over tensors. Any thread may read it. Loads TensorFlow when it is first used.

    Two short calls into Python a step, because TensorFlow's own clock, `tf.timestamp`, is refused where operations must be deterministic.
    """

    def __init__(self) -> None:
        self.seconds = 0.0  # of all operations that have ended
        self.times = 0  # how often the operation has begun
        self.is_running = False
        self.when_second: Callable[[], None] = lambda: None  # called as the operation begins for the second time: a whole step is done
        self._began_at = 0.0

    def around(self, call: Callable[[Sequence[Any]], list[Any]], tensors: Sequence[Any]) -> list[Any]:
        """What `call(tensors)` gives. It begins when all tensors are there, as a grouped all-reduce would anyway."""
        import tensorflow as tf

        with tf.control_dependencies(list(tensors)):
            began = tf.numpy_function(self._begin, [], tf.float64)
        with tf.control_dependencies([began]):
            results = call([tf.identity(tensor) for tensor in tensors])
        with tf.control_dependencies(results):
            ended = tf.numpy_function(self._end, [], tf.float64)
        with tf.control_dependencies([ended]):
            return [tf.identity(result) for result in results]

    def _begin(self) -> float:
        self._began_at, self.is_running = time.perf_counter(), True
        self.times += 1
        if self.times == 2:
            self.when_second()
        return 0.0

    def _end(self) -> float:
        self.seconds += time.perf_counter() - self._began_at
        self.is_running = False
        return 0.0
