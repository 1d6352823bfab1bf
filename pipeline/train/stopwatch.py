"""How long a rank waits for the others' gradients: the clock is read inside TensorFlow's graph, around the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Stopwatch:
    """Adds up the seconds of an operation over tensors, without Python in between. Loads TensorFlow when it is first used."""

    def __init__(self) -> None:
        self._seconds: Any = None
        self._begun: Any = None
        self._ended: Any = None

    @property
    def seconds(self) -> float:
        """So far."""
        return 0.0 if self._seconds is None else float(self._seconds.numpy())

    @property
    def times(self) -> int:
        """How often the operation has begun."""
        return 0 if self._begun is None else int(self._begun.numpy())

    @property
    def is_running(self) -> bool:
        return self._begun is not None and int(self._begun.numpy()) > int(self._ended.numpy())

    def around(self, call: Callable[[Sequence[Any]], list[Any]], tensors: Sequence[Any]) -> list[Any]:
        """What `call(tensors)` gives. It begins when all tensors are there, as a grouped all-reduce would anyway."""
        import tensorflow as tf

        if self._seconds is None:
            with tf.init_scope():  # the call is traced, and a variable is made once
                self._seconds = tf.Variable(0.0, trainable=False, dtype=tf.float64, name="exchange_s")
                self._begun = tf.Variable(0, trainable=False, dtype=tf.int64, name="exchanges_begun")
                self._ended = tf.Variable(0, trainable=False, dtype=tf.int64, name="exchanges_ended")
        with tf.control_dependencies(list(tensors)), tf.control_dependencies([self._begun.assign_add(1, read_value=False)]):
            began = tf.timestamp()
        with tf.control_dependencies([began]):
            results = call([tf.identity(tensor) for tensor in tensors])
        with tf.control_dependencies(results):
            took = tf.timestamp() - began
        with tf.control_dependencies([self._seconds.assign_add(took, read_value=False), self._ended.assign_add(1, read_value=False)]):
            return [tf.identity(result) for result in results]
