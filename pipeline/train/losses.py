"""Losses of the recipe: a number for each row from its label and the model's linear outputs; Keras weighs and averages them.

The mean is over the rows of the batch, not over the sum of the weights, so that the sum of the ranks' shares is the mean over all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from pipeline.errors import ConfigError
from pipeline.schema import Prepared
from pipeline.sections.objective import LOSSES, Loss

Rows = Callable[[Any, Any], Any]  # labels (B, …), outputs (B, K) -> (B,)


def make_loss(settings: Loss | None, facts: Prepared) -> keras.losses.Loss:
    """The loss of a recipe with a label; the task's own if it names none.

    Raises:
        ConfigError: a class weight of a label that is not among the prepared data's.
    """
    settings = settings or Loss.model_validate(LOSSES[facts.task][0])
    if facts.task == "classification":
        weights = class_weights(settings, facts)
        gamma = settings.gamma if settings.name == "focal" else 0.0
        return RowLoss(partial(cross_entropy, weights=weights, smoothing=settings.label_smoothing, gamma=gamma), settings.name)
    kinds: dict[str, Callable[[Any], Any]] = {
        "mse": lambda errors: errors**2,
        "mae": tf.abs,
        "huber": partial(huber, delta=settings.delta),
        "log_cosh": lambda errors: tf.abs(errors) + tf.math.softplus(-2 * tf.abs(errors)) - math.log(2),
        "quantile": partial(pinball, quantile=settings.quantile),
    }
    return RowLoss(partial(of_errors, each=kinds[settings.name]), settings.name)


class RowLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras publishes no types
    """A function of rows as a Keras loss; labels keep their type, since a class index beyond 2^24 is no float32."""

    def __init__(self, rows: Rows, name: str) -> None:
        super().__init__(name=name, reduction="sum_over_batch_size")
        self.rows = rows

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.rows(y_true, y_pred)


def cross_entropy(labels: Any, logits: Any, *, weights: Sequence[float] | None, smoothing: float, gamma: float) -> Any:
    """-w[y] sum_k q_k (1 - p_k)^gamma ln p_k, with q = (1 - smoothing) one_hot(y) + smoothing / K.

    Args:
        labels: (B,) or (B, 1) class indices.
        logits: (B, K).
        weights: (K,) of each class, or None.
        smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
        gamma: 0 is plain cross-entropy; above, what is already right counts less. Lin et al. 2017, arXiv:1708.02002, equation 4.

    Returns:
        (B,) >= 0.
    """
    num_classes = logits.shape[-1]
    classes = tf.reshape(tf.cast(labels, tf.int32), [-1])  # (B,)
    targets = tf.one_hot(
        classes, num_classes, 1 - smoothing + smoothing / num_classes, smoothing / num_classes, dtype=logits.dtype
    )  # (B, K)
    logs = tf.nn.log_softmax(logits)  # (B, K)
    if gamma:
        logs = logs * (1 - tf.exp(logs) + 1e-7) ** gamma  # the gradient of a power at 0 is not finite
    losses = -tf.reduce_sum(targets * logs, axis=-1)  # (B,)
    return losses if weights is None else losses * tf.gather(tf.constant(weights, logits.dtype), classes)


def of_errors(labels: Any, outputs: Any, *, each: Callable[[Any], Any]) -> Any:
    """Mean over a row's numbers of `each` of its errors (true - predicted). Labels (B,) or (B, K), outputs (B, K)."""
    errors = tf.reshape(tf.cast(labels, outputs.dtype), tf.shape(outputs)) - outputs  # (B, K)
    return tf.reduce_mean(tf.reshape(each(errors), [tf.shape(outputs)[0], -1]), axis=-1)  # (B,)


def huber(errors: Any, *, delta: float) -> Any:
    """Squares up to delta, straight beyond. Source: Huber 1964, 10.1214/aoms/1177703732."""
    size = tf.abs(errors)
    return tf.where(size <= delta, size**2 / 2, delta * size - delta**2 / 2)


def pinball(errors: Any, *, quantile: float) -> Any:
    """Its minimiser is the quantile of the label. Source: Koenker & Bassett 1978, 10.2307/1913643."""
    return tf.maximum(quantile * errors, (quantile - 1) * errors)


def class_weights(settings: Loss, facts: Prepared) -> list[float] | None:
    """(K,) by class index; `balanced` makes every class weigh the same in sum, with mean weight 1 over the train rows."""
    if settings.class_weights is None:
        return None
    if settings.class_weights == "balanced":
        counts = facts.splits["train"].label_counts
        rows = [counts.get(label, 0) for label in facts.classes]
        present = sum(1 for count in rows if count)
        return [sum(rows) / (present * count) if count else 1.0 for count in rows]
    if unknown := sorted(set(settings.class_weights) - set(facts.classes)):
        raise ConfigError(
            f"train.loss.class_weights: {unknown} are no labels of the prepared data. Expected of {list(facts.classes)[:20]}. "
            "Correct the names; labels with special characters go in quotes."
        )
    return [settings.class_weights.get(label, 1.0) for label in facts.classes]
