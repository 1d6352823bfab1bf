"""Callbacks that make small trainings last, so that a test can meddle while they run."""

from __future__ import annotations

import os
import time
from typing import Any

import keras


class Unhurried(keras.callbacks.Callback):
    """Waits after every step."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        time.sleep(self.seconds)


class OneIsSlow(keras.callbacks.Callback):
    """One rank waits before every step; the others wait for it."""

    def __init__(self, rank: int, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds if os.environ.get("HOROVOD_RANK") == str(rank) else 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        time.sleep(self.seconds)


class OneGoesWrong(keras.callbacks.Callback):
    """One rank's weights become what is no number after a step, as where memory is damaged."""

    def __init__(self, rank: int, step: int) -> None:
        super().__init__()
        self.is_the_one, self.step, self.done = os.environ.get("HOROVOD_RANK") == str(rank), step, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.done += 1
        if self.is_the_one and self.done == self.step:
            for variable in self.model.trainable_variables:
                variable.assign(variable * float("nan"))
