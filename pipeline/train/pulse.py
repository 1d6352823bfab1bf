"""Keras callbacks that tell the heartbeat what a rank is doing, and that stop all ranks after the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from pipeline.errors import Interrupted
from pipeline.feed.plan import Position
from pipeline.progress import NOW, during
from pipeline.train.callbacks import Checkpoints, Progress
from pipeline.train.heartbeat import StopRequest
from pipeline.train.horovod import World

Logs = dict[str, Any]


class Pulse(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Keeps `progress.NOW`. Place it right after Progress, before everything that works."""

    INTERVAL_S = 0.5  # between two readings of the stopwatch

    def __init__(self, world: World, progress: Progress, mark: Callable[[str], None]) -> None:
        super().__init__()
        self.world, self.progress, self.mark = world, progress, mark
        self.has_stepped = False
        self.began_at = self.read_at = 0.0
        self.steps_before, self.wait_before = 0, 0.0  # when the stretch of steps began that is timed

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        NOW.epoch, NOW.step = epoch + 1, self.progress.begun_at
        NOW.phase = "compute" if self.has_stepped else "start"  # the first execution is traced
        self._begin_stretch()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        NOW.step = self.progress.done
        NOW.moves += 1
        if not self.has_stepped:
            self.has_stepped, NOW.phase = True, "compute"
            self.mark("first step")
            self._begin_stretch()
        elif time.monotonic() - self.read_at > self.INTERVAL_S:
            self._end_stretch()
            self._begin_stretch()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._end_stretch()
        NOW.phase = "evaluate"

    def _begin_stretch(self) -> None:
        self.began_at = self.read_at = time.monotonic()
        self.steps_before, self.wait_before = self.progress.done, self.world.stopwatch.seconds

    def _end_stretch(self) -> None:
        if not self.has_stepped:
            return
        waited = self.world.stopwatch.seconds - self.wait_before
        NOW.wait_s += waited
        NOW.own_s += max(0.0, time.monotonic() - self.began_at - waited)
        NOW.timed_steps += self.progress.done - self.steps_before


class Alive(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Of an evaluation: every batch is a sign of progress."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        NOW.moves += 1


class StopsTogether(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Ends training with a checkpoint once any rank was told to stop. Place it last."""

    def __init__(self, world: World, stop: StopRequest, progress: Progress, saver: Checkpoints) -> None:
        super().__init__()
        self.world, self.request, self.progress, self.saver = world, stop, progress, saver

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.request.then(self.world.vote.stop)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After the same step on every rank: what all read came with the step's gradients."""
        is_carried = self.world.vote.is_carried if self.world.size > 1 else self.request.asked
        if is_carried and self.progress.done % self.progress.num_steps:
            self.saver.save(Position(*divmod(self.progress.done, self.progress.num_steps)))
            self._end()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Collective. The epoch's end has just been saved."""
        mine = np.asarray([float(self.request.asked)], np.float64)
        if self.world.sum([mine])[0][0] and not self.model.stop_training:
            self._end()

    def _end(self) -> None:
        epoch, step = divmod(self.progress.done, self.progress.num_steps)
        raise Interrupted(f"Told to stop; a checkpoint was saved at epoch {epoch + 1}, step {step}.")


def saving(saver: Checkpoints) -> None:
    """Have a saver tell when it works."""
    save = saver.save

    def told(position: Position) -> None:
        with during("checkpoint"):
            save(position)

    saver.save = told  # type: ignore[method-assign]  # of this one saver
