"""A model that gives back what it gets: training without a label, `task: autoencoder`.

It wraps what a builder made and leaves its layers alone, so the saved file is the builder's model and needs Keras alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

CLIPPED = 1e-6  # shares of 0 and 1 have no logarithm
WHITE = 255.0


class Reconstructing(keras.Model):  # type: ignore[misc]  # Keras publishes no types
    """Trains a built model to give its input back; a variational one also to keep its code close to a normal distribution.

    Batches are (rows, rows to give back, weight): where the former were augmented, the latter are as they were.
    """

    def __init__(self, parts: keras.Model, *, scale: Sequence[float] | None, loss: str = "mse", beta: float = 1.0) -> None:
        """Of a model that gives back its input.

        Args:
            parts: input (B, …); output its reconstruction, or {"reconstruction": (B, …), "distribution": (B, 2Z)}.
            scale: by channel, what an error is divided by: the standard deviation of pixels. None for rows that are scaled already.
            loss: `mse` or `mae` of scaled errors, or `binary_cross_entropy` of pixels as shares of 255.
            beta: weight of the divergence. Source: Higgins et al. 2017, beta-VAE, ICLR.
        """
        super().__init__(name=parts.name)
        self.parts, self.scale, self.beta, self.each = parts, scale, beta, LOSSES[loss]
        self.is_variational = isinstance(parts.output, dict)
        self.loss_mean, self.error_mean = keras.metrics.Mean("loss"), keras.metrics.Mean("mae")
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_mean, self.error_mean]

    def call(self, rows: Any, training: bool = False) -> Any:
        outputs = self.parts(rows, training=training)
        return outputs["reconstruction"] if self.is_variational else outputs

    def train_step(self, data: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = self.loss_of(data, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.parts.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, [variable.value for variable in variables]), variables)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> Any:
        self.loss_of(data, training=False)
        return self.get_metrics_result()

    def loss_of(self, data: Any, *, training: bool) -> Any:
        """The mean over the batch, and the penalties of the weights.

        Of a plain autoencoder a row's loss is the mean over its numbers. Of a variational one it is the negative evidence lower bound,
        up to a constant: the sum over its numbers (half of it for squares, a normal distribution's) plus beta times the divergence.
        """
        rows, target, weight = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self.parts(rows, training=training)
        again = tf.cast(outputs["reconstruction"] if self.is_variational else outputs, tf.float32)
        true = tf.cast(target, tf.float32)
        errors = (true - again) / (1.0 if self.scale is None else tf.constant(self.scale, tf.float32))
        losses = flat(self.each(errors, true, again))  # (B, F)
        if self.is_variational:
            halved = 0.5 if self.each is squared else 1.0
            row_losses = halved * tf.reduce_sum(losses, axis=-1) + self.beta * divergence(outputs["distribution"])
        else:
            row_losses = tf.reduce_mean(losses, axis=-1)
        loss = tf.reduce_mean(row_losses if weight is None else row_losses * tf.cast(weight, row_losses.dtype))
        self.loss_mean.update_state(loss, tf.shape(errors)[0])
        self.error_mean.update_state(tf.reduce_mean(tf.abs(errors)), tf.shape(errors)[0])
        return loss + sum(self.parts.losses) if self.parts.losses else loss


def flat(values: Any) -> Any:
    return tf.reshape(values, [tf.shape(values)[0], -1])


def squared(errors: Any, true: Any, again: Any) -> Any:
    return errors**2


def absolute(errors: Any, true: Any, again: Any) -> Any:
    return tf.abs(errors)


def cross_entropy(errors: Any, true: Any, again: Any) -> Any:
    """Of pixels as shares of white, in nats."""
    share, told = true / WHITE, tf.clip_by_value(again / WHITE, CLIPPED, 1 - CLIPPED)
    return -share * tf.math.log(told) - (1 - share) * tf.math.log(1 - told)


# (scaled errors, pixels or columns, their reconstruction), (B, …) each -> (B, …)
LOSSES: dict[str, Callable[[Any, Any, Any], Any]] = {"mse": squared, "mae": absolute, "binary_cross_entropy": cross_entropy}


def divergence(distribution: Any) -> Any:
    """(B,) Kullback-Leibler divergence of N(mean, exp(log variance)) from N(0, 1), of (B, 2Z). Kingma & Welling 2014, appendix B."""
    mean, log_variance = tf.split(tf.cast(distribution, tf.float32), 2, axis=-1)
    return tf.reduce_sum(tf.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1) / 2
