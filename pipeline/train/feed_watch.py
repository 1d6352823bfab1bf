"""Measures how long steps wait for the feed, on every rank."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

from pipeline.feed.stall import share
from pipeline.feed.stall_clock import StallClock
from pipeline.train.horovod import World


class FeedWatch(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Of the time of an epoch's steps, the share that they waited for rows: `stalled` while it runs, `worst` when it is over.

    Place it before whoever reads it. Validation is not counted.
    """

    def __init__(self, world: World, clock: StallClock) -> None:
        super().__init__()
        self.world, self.clock = world, clock
        self.began_at = self.ended_at = self.waited_before = 0.0
        self.worst = 0.0  # rank's share of the last epoch

    @property
    def stalled(self) -> float:
        """This rank's share so far, 0 to 1."""
        return share(self.clock.seconds - self.waited_before, self.ended_at - self.began_at)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.began_at = self.ended_at = time.monotonic()
        self.waited_before = self.clock.seconds

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.ended_at = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Collective: every rank's share, each in its place, added up."""
        shares = np.zeros(self.world.size, np.float64)
        shares[self.world.rank] = self.stalled
        self.worst = round(float(self.world.sum([shares])[0].max()), 4)
