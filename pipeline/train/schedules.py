"""The learning rate at every update, computed in TensorFlow's graph from the optimizer's own count: it resumes with the optimizer."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from pipeline.sections.objective import Optimizer


def peak(settings: Optimizer, global_batch: int) -> float:
    """The learning rate that the schedule's factors multiply: as written, or scaled to the rows that one update sees.

    Source of the linear rule: Goyal et al. 2017, arXiv:1706.02677, section 2.1; of the square root: Krizhevsky 2014, arXiv:1404.5997.
    """
    ratio = global_batch * settings.accumulate / (settings.base_batch or 1)
    factor = {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[settings.scaling]
    return settings.learning_rate * factor


def make_learning_rate(settings: Optimizer, global_batch: int, num_steps: int, epochs: int) -> float | Planned:
    """A number where nothing changes it but callbacks, else a schedule.

    Args:
        settings: of the recipe.
        global_batch: rows of one step.
        num_steps: steps of an epoch.
        epochs: that the recipe asks for; early stopping does not shorten the schedule.
    """
    top, schedule = peak(settings, global_batch), settings.schedule
    if schedule.name == "constant" and not schedule.warmup_steps:
        return top
    updates_per_epoch = num_steps / settings.accumulate
    return Planned(
        top, schedule.name, round(epochs * updates_per_epoch), schedule.warmup_steps,
        end=schedule.end, factor=schedule.factor, every=schedule.every_epochs * updates_per_epoch, rise=schedule.rise,
    )  # fmt: skip


@keras.saving.register_keras_serializable("longhaul")  # an optimizer is made again from its config
class Planned(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras publishes no types
    """`LearningRate` of the recipe as Keras wants it. `total` and `every` count updates."""

    def __init__(self, top: float, name: str, total: int, warmup: int, *, end: float, factor: float, every: float, rise: float) -> None:
        self.top, self.name, self.total, self.warmup = top, name, max(total, 1), warmup
        self.end, self.factor, self.every, self.rise = end, factor, every, rise

    def __call__(self, step: Any) -> Any:
        """The learning rate of update `step`, counted from 0."""
        step = tf.cast(step, tf.float32)
        warm = tf.minimum(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.top * warm * self.shape(step)

    def shape(self, step: Any) -> Any:
        """Factor in [0, 1] at a float32 step."""
        if self.name == "step":
            return self.factor ** tf.floor((step + 0.5) / self.every)  # half a step keeps a rounded division on its side
        if self.name == "cosine":
            return self.between(1.0, self.end, (step - self.warmup) / max(self.total - 1 - self.warmup, 1))
        if self.name == "one_cycle":
            turn = max(self.rise * (self.total - 1), 1.0)
            up = self.between(1 / 25, 1.0, step / turn)  # a 25th of the peak at first, as in the paper's code
            down = self.between(1.0, self.end, (step - turn) / max(self.total - 1 - turn, 1.0))
            return tf.where(step < turn, up, down)
        return tf.ones_like(step)

    @staticmethod
    def between(begin: float, end: float, progress: Any) -> Any:
        """Half a cosine from begin to end while progress goes from 0 to 1."""
        share = (1 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0))) / 2
        return end + (begin - end) * share

    def get_config(self) -> dict[str, Any]:
        return {
            "top": self.top, "name": self.name, "total": self.total, "warmup": self.warmup,
            "end": self.end, "factor": self.factor, "every": self.every, "rise": self.rise,
        }  # fmt: skip
