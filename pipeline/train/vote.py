"""Whether all ranks stop, and after which step: each adds a number to its gradients, and all read its sum after the same step."""

from __future__ import annotations

from typing import Any


class Vote:
    """One number of the fused all-reduce. Costs no message of its own. Loads TensorFlow when it is first used."""

    def __init__(self) -> None:
        self._mine: Any = None
        self._total: Any = None

    def stop(self) -> None:
        """This rank was told to stop. May be called by any thread."""
        self._make()
        self._mine.assign(1.0)

    @property
    def is_cast(self) -> bool:
        """Whether this rank was told to stop."""
        return self._mine is not None and bool(self._mine.numpy())

    @property
    def is_carried(self) -> bool:
        """Whether any rank was told to stop, as far as all ranks know after the last step."""
        return self._total is not None and bool(self._total.numpy())

    def ballot(self, dtype: Any) -> Any:
        """This rank's number, (1,), to be summed over ranks."""
        import tensorflow as tf

        self._make()
        return tf.reshape(tf.cast(self._mine, dtype), (1,))

    def count(self, total: Any) -> Any:
        """The operation that keeps the sum over ranks."""
        import tensorflow as tf

        return self._total.assign(tf.cast(total[0], tf.float32), read_value=False)

    def _make(self) -> None:
        import tensorflow as tf

        if self._mine is None:
            with tf.init_scope(), tf.device("CPU:0"):  # the call may be traced, and variables are made once
                self._mine = tf.Variable(0.0, trainable=False, dtype=tf.float32, name="stop_vote")
                self._total = tf.Variable(0.0, trainable=False, dtype=tf.float32, name="stop_votes")
