"""How each rank spends its time, epoch by epoch, side by side in the history."""

from __future__ import annotations

import resource
import time
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pipeline.schema import RankPace
from pipeline.train.callbacks import Progress
from pipeline.train.feed_watch import FeedWatch
from pipeline.train.horovod import World


class Pace(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Puts a `RankPace` of every rank into the history's newest line. Place it right after News, which writes that line."""

    def __init__(self, world: World, progress: Progress, feed: FeedWatch, rows_per_step: int, history: list[dict[str, Any]]) -> None:
        """`rows_per_step`: of this rank."""
        super().__init__()
        self.world, self.progress, self.feed, self.rows_per_step, self.history = world, progress, feed, rows_per_step, history
        self.began_at = self.stepped_at = self.cpu_before = self.exchanged_before = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.began_at = self.stepped_at = time.monotonic()
        self.cpu_before, self.exchanged_before = time.process_time(), self.world.stopwatch.seconds

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.stepped_at = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Collective."""
        self.history[-1]["ranks"] = [pace.model_dump() for pace in side_by_side(self.mine(), self.world)]

    def mine(self) -> RankPace:
        steps_s = self.stepped_at - self.began_at
        return RankPace(
            rows=(self.progress.done - self.progress.begun_at) * self.rows_per_step,
            steps_s=steps_s,
            validation_s=time.monotonic() - self.stepped_at,
            exchange_s=self.world.stopwatch.seconds - self.exchanged_before,
            feed_s=self.feed.stalled * steps_s,
            cpu_s=time.process_time() - self.cpu_before,
            memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )


def side_by_side(mine: RankPace, world: World) -> list[RankPace]:
    """(size,) every rank's, rank 0's first. Collective: each rank fills its row of a table of zeros, and the tables are added up."""
    names = list(RankPace.model_fields)
    table: NDArray[np.float64] = np.zeros((world.size, len(names)), np.float64)
    table[world.rank] = [getattr(mine, name) for name in names]
    (table,) = world.sum([table])
    return [RankPace(rows=int(row[0]), **dict(zip(names[1:], np.round(row[1:], 3).tolist(), strict=True))) for row in table]
