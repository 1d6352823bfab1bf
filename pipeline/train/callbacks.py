"""Keras callbacks that keep ranks together: exact metrics, one decision, checkpoints, news for the launcher.

Their order matters and is made in rank.py: Progress first, which counts; ExactMetrics before all that look at logs; the recipe's own; then
News, RankZeroDecides, and Checkpoints last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.feed.plan import Position
from pipeline.train import checkpoint as checkpoints
from pipeline.train.checkpoint import Checkpoint
from pipeline.train.feed_watch import FeedWatch
from pipeline.train.horovod import World
from pipeline.train.objective import optimizer_variables
from pipeline.train.watch import best_is

Arrays = list[NDArray[Any]]
Logs = dict[str, Any]


class OneTraining(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras publishes no types
    """A callback list over several `fit` calls that are one training: it begins and ends once.

    Every epoch is a `fit` of its own, because Keras would let an epoch's last execution run into the next epoch's batches when
    `steps_per_execution` does not divide the steps.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model, **params: Any) -> None:
        super().__init__(list(callbacks), add_history=True, model=model, **params)
        self._has_begun = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if not self._has_begun:
            self._has_begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Keras calls this after every `fit`; `finish` is the real end."""

    def finish(self) -> None:
        super().on_train_end(None)


def metric_variables(model: keras.Model) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def sum_metrics(model: keras.Model, world: World) -> dict[str, float]:
    """The metrics over the rows of all ranks: their states are summed, then each is computed. Collective.

    Averaging results instead would be wrong for uneven shares and for AUC, precision or recall.
    """
    variables = metric_variables(model)
    for variable, total in zip(variables, world.sum([variable.numpy() for variable in variables]), strict=True):
        variable.assign(total)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


class Callback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Base of the callbacks below."""


class Progress(Callback):
    """Counts the steps of the whole training that are done: Keras counts within a `fit`, optimizers only the updates that they made."""

    def __init__(self, num_steps: int, resumed: Checkpoint | None) -> None:
        super().__init__()
        self.num_steps, self.resumed = num_steps, resumed
        self.begun_at = self.done = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        first = self.resumed.step if self.resumed is not None and self.resumed.epoch == epoch else 0
        self.begun_at = self.done = epoch * self.num_steps + first

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """`batch` is the last of an execution, and may lie beyond the epoch's end."""
        end = (self.begun_at // self.num_steps + 1) * self.num_steps
        self.done = min(self.begun_at + batch + 1, end)


class ExactMetrics(Callback):
    """Replaces the epoch's logs by exact ones and evaluates the validation split, each rank its share, heard by `listeners`."""

    def __init__(self, world: World, validation: tf.data.Dataset, listeners: Sequence[keras.callbacks.Callback] = ()) -> None:
        super().__init__()
        self.world, self.validation, self.listeners = world, validation, list(listeners)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs.update(sum_metrics(self.model, self.world))
        self.model.evaluate(self.validation, verbose=0, return_dict=True, callbacks=self.listeners)
        logs.update({f"val_{name}": value for name, value in sum_metrics(self.model, self.world).items()})
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if unusable := {name: value for name, value in logs.items() if not math.isfinite(value)}:
            raise DataError(
                f"Epoch {epoch + 1} ended with {unusable}. All ranks stop; the last checkpoint is from before. "
                "Lower train.optimizer.learning_rate, or look for extreme values in the prepared columns."
            )


class RankZeroDecides(Callback):
    """Whether to stop, and the learning rate, are rank 0's; the others follow, whatever their own callbacks found."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        mine = np.asarray([float(self.model.stop_training), float(optimizer.learning_rate)], np.float64)
        stop, learning_rate = self.world.from_rank_0(mine).tolist()
        self.model.stop_training = bool(stop)
        if learning_rate != mine[1]:
            optimizer.learning_rate = learning_rate


class Checkpoints(Callback):
    """Saves at the end of every epoch, and every `every_steps` steps within one; restores what a saved one holds."""

    def __init__(
        self,
        world: World,
        folder: Path,
        progress: Progress,
        every_steps: int | None,
        stopping: keras.callbacks.EarlyStopping | None,
        others: Sequence[keras.callbacks.Callback],
        history: list[Logs],
    ) -> None:
        """`others`: callbacks that may have a state of their own, see watch.py."""
        super().__init__()
        self.world, self.folder, self.progress, self.every_steps = world, folder, progress, every_steps
        self.num_steps, self.stopping, self.history = progress.num_steps, stopping, history
        self.others = {f"{index} {type(other).__name__}": other for index, other in enumerate(others) if hasattr(other, "state")}
        self.saved_at = 0
        self.keep = checkpoints.KEPT
        self.resumed: Checkpoint | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """After every other callback has reset itself."""
        if self.resumed is None:
            return
        self.saved_at = self.resumed.epoch * self.num_steps + self.resumed.step
        if self.stopping is not None:
            for name, value in self.resumed.callbacks["early_stopping"].items():
                setattr(self.stopping, name, value)
            self.stopping.best_weights = self.resumed.arrays["best"] or None
        for name, other in self.others.items():
            if name in (states := self.resumed.callbacks.get("others", {})):
                other.restore(states[name])

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """`fit` has just reset the metrics; within a resumed epoch rank 0 takes up their sums again."""
        if self.resumed is None or self.resumed.epoch != epoch or not self.resumed.step or self.world.rank:
            return
        for variable, value in zip(metric_variables(self.model), self.resumed.arrays["metrics"], strict=True):
            variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        done = self.progress.done
        is_due = self.every_steps is not None and done // self.every_steps > self.saved_at // self.every_steps
        if is_due and done % self.num_steps:
            self.save(Position(*divmod(done, self.num_steps)))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.save(Position(epoch + 1, 0))

    def save(self, position: Position) -> None:
        """Collective, for the running epoch's metrics; rank 0 writes."""
        metrics = self.world.sum([variable.numpy() for variable in metric_variables(self.model)]) if position.step else []
        self.saved_at = position.epoch * self.num_steps + position.step
        if self.world.rank:
            return
        stopping = self.stopping
        best = [] if stopping is None or stopping.best_weights is None else list(stopping.best_weights)
        state = {} if stopping is None else {name: getattr(stopping, name) for name in ("wait", "stopped_epoch", "best", "best_epoch")}
        arrays = {
            "model": [variable.numpy() for variable in self.model.variables],
            "optimizer": [variable.numpy() for variable in optimizer_variables(self.model)],
            "metrics": metrics,
            "best": best,
        }
        others = {name: other.state() for name, other in self.others.items()}
        callbacks = {"early_stopping": state, "stop_training": self.model.stop_training, "others": others}
        found = Checkpoint(position.epoch, position.step, arrays, callbacks, self.history)
        checkpoints.save(self.folder, found, self.saved_at, keep=self.keep, best_step=self.best_step())

    def best_step(self) -> int | None:
        """Where the best epoch so far ended, by the metric of early stopping, else by the loss of the validation rows."""
        metric = "val_loss" if self.stopping is None else self.stopping.monitor
        best = checkpoints.best_epoch(self.history, metric, is_higher_better=best_is(metric) == "max")
        return None if best is None else best * self.num_steps


class News(Callback):
    """Tells the launcher how far training is, and keeps the history."""

    INTERVAL_S = 0.5

    def __init__(self, tell: Callable[[Logs], None], feed: FeedWatch, history: list[Logs], progress: Progress) -> None:
        super().__init__()
        self.feed = feed
        self.tell, self.history, self.progress = tell, history, progress
        self.told_at = self.began_at = 0.0
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch, self.began_at = epoch, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if time.monotonic() - self.told_at > self.INTERVAL_S:
            self.told_at = time.monotonic()
            loss = float((logs or {}).get("loss", math.nan))
            self.tell({"done": self.progress.done, "epoch": self.epoch + 1, "loss": loss, "stalled": self.feed.stalled})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        seconds = round(time.monotonic() - self.began_at, 3)
        line = {"epoch": epoch + 1, "steps": self.progress.num_steps, "metrics": dict(logs or {}), "seconds": seconds}
        line["stalled"] = self.feed.worst
        self.history.append(line)
        self.tell({"done": self.progress.done, **line})
