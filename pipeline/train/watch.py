"""Callbacks that a recipe may ask for, and two that always look: nobody's loss is no number, everybody's weights are the same.

A callback with `state()` and `restore(state)` (JSON) is kept in checkpoints; a user's own may have them too.
"""

from __future__ import annotations

import csv
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import ConfigError, DataError, InfrastructureError
from pipeline.sections.objective import Plateau, UserCallback
from pipeline.train.horovod import World
from pipeline.train.objective import inner

Logs = dict[str, Any]


class Callback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
    """Base of the callbacks below."""


class StopOnNan(Callback):
    """Ends this rank, and so all, as soon as it sees a loss that is no number.

    Its sum of gradients has reached every rank by then, so there is nothing to go on with but the last checkpoint.
    """

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise DataError(
                f"The loss was {loss} by step {batch + 1} of the epoch. All ranks stop; the last checkpoint is from before. "
                "Lower train.optimizer.learning_rate, set train.optimizer.clip_norm, or look for extreme values in the prepared columns."
            )


class TimeLimit(Callback):
    """No epoch begins after `limit_s` of training, over all attempts; rank 0's clock counts."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.limit_s, self.clock = limit_s, clock
        self.before_s = 0.0
        self.began_at = clock()

    @property
    def spent_s(self) -> float:
        return self.before_s + self.clock() - self.began_at

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.spent_s >= self.limit_s:
            self.model.stop_training = True

    def state(self) -> dict[str, Any]:
        return {"spent_s": self.spent_s}

    def restore(self, state: dict[str, Any]) -> None:
        self.before_s, self.began_at = state["spent_s"], self.clock()


class Plateaus(keras.callbacks.ReduceLROnPlateau):  # type: ignore[misc]  # Keras publishes no types
    """Keras' own, with a state that survives."""

    FIELDS = ("wait", "best", "cooldown_counter")

    def __init__(self, settings: Plateau) -> None:
        self.direction = best_is(settings.metric)
        super().__init__(
            settings.metric, settings.factor, settings.patience, mode=self.direction, min_lr=settings.min_learning_rate, min_delta=0.0
        )

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.FIELDS}

    def restore(self, state: dict[str, Any]) -> None:
        for name in self.FIELDS:
            setattr(self, name, state[name])


def best_is(metric: str) -> str:
    """`max` of a metric that is better when higher, else `min`."""
    name = metric.removeprefix("val_")
    return "max" if name in ("accuracy", "auc", "precision", "recall", "macro_f1", "r2") else "min"


class SameWeights(Callback):
    """After every epoch: all ranks hold the same bits, and they are numbers. Collective."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        refuse_unusable(self.model, epoch)
        mine = np.frombuffer(weight_digest(self.model), np.int64)
        differs = not np.array_equal(mine, self.world.from_rank_0(mine))
        (num_differing,) = self.world.sum([np.asarray([differs], np.float32)])
        if num_differing[0]:
            whose = f"this one, rank {self.world.rank}, among them" if differs else "not this one"
            raise InfrastructureError(
                f"After epoch {epoch + 1} the weights of {int(num_differing[0])} of {self.world.size} ranks are not rank 0's ({whose}). "
                "Expected the same bits: every update is made of the same sums. A model or callback that draws random numbers or changes "
                "weights by itself does this; `pipeline verify RECIPE` shows where."
            )


def refuse_unusable(model: keras.Model, epoch: int) -> None:
    """Raises DataError for weights that are no numbers. The loss need not show them: ReLU makes 0 of NaN on some processors."""
    unusable = [weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()]
    if unusable:
        raise DataError(
            f"Epoch {epoch + 1} ended with weights that are no numbers: {', '.join(unusable[:8])}. All ranks stop; the last checkpoint is "
            "from before. Lower train.optimizer.learning_rate, set train.optimizer.clip_norm, or use precision: float16 or float32."
        )


def weight_digest(model: keras.Model) -> bytes:
    """SHA-256 over all weights, in their order: 32 bytes."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.digest()


class MovingAverage(Callback):
    """The optimizer's moving average of the weights is what is validated, kept as best, and the result; training goes on with the raw ones.

    Keras would put the average into the model at the end of every `fit`, and every epoch is one. Two places in the callbacks' order:
    this one before all that look at the model, `resume` after them and before the checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raw: list[Any] = []
        self.resume = LambdaAtEpochEnd(self.give_back)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        model.optimizer.finalize_variable_values = lambda variables: None

    def take_average(self) -> None:
        optimizer = inner(self.model.optimizer)
        self.raw = [variable.numpy() for variable in optimizer._trainable_variables]  # of all, frozen ones too
        if not int(optimizer._iterations):
            return  # no step yet: there is no average either
        for variable, average in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True):
            variable.assign(average)

    def give_back(self) -> None:
        for variable, value in zip(inner(self.model.optimizer)._trainable_variables, self.raw, strict=True):
            variable.assign(value)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.take_average()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Before early stopping puts its best weights back, which are averages too."""
        self.take_average()


class LambdaAtEpochEnd(Callback):
    """Calls a function at the end of every epoch."""

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self.call = call

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.call()


class CsvHistory(Callback):
    """history.csv: a line for each epoch of the history, those before a resume included. Rank 0 only, after the history has grown."""

    def __init__(self, path: Path, history: list[Logs]) -> None:
        super().__init__()
        self.path, self.history = path, history

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.write()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.write()

    def write(self) -> None:
        lines = [{"epoch": line["epoch"], **line["metrics"], "seconds": line["seconds"]} for line in self.history]
        with self.path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(lines[0]) if lines else ["epoch"], restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows(lines)


class TensorBoardScalars(Callback):
    """Event files with every epoch's metrics, by TensorFlow's own writer: the TensorBoard package is only needed to look at them."""

    def __init__(self, folder: Path, history: list[Logs]) -> None:
        super().__init__()
        self.folder, self.history = folder, history

    def on_train_end(self, logs: Logs | None = None) -> None:
        """At the end, from the whole history: a resumed training has it all in one file."""
        writer = tf.summary.create_file_writer(str(self.folder))
        metadata = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
        with writer.as_default():
            for line in self.history:
                for name, value in line["metrics"].items():
                    tf.summary.write(f"epoch/{name}", tf.constant(value, tf.float32), step=line["epoch"], metadata=metadata)
        writer.close()


def make_custom(settings: UserCallback, find: Callable[[str], Any]) -> keras.callbacks.Callback:
    """A user's callback.

    Args:
        settings: what the recipe says.
        find: gives the module of a name.

    Raises:
        ConfigError: there is no such class, it is no Keras callback, or it refuses the arguments.
    """
    module_name, _, class_name = settings.name.partition(":")
    kind = getattr(find(module_name), class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, keras.callbacks.Callback)):
        raise ConfigError(
            f"train.callbacks.custom: {settings.name} is no Keras callback. Expected a class that extends keras.callbacks.Callback."
        )
    try:
        return kind(**settings.arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"train.callbacks.custom: {settings.name} does not take {settings.arguments}: {error}") from error
