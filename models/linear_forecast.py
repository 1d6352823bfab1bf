"""A linear forecast of a series: what it was last, plus a weighted sum of how it was different before."""

from __future__ import annotations

import keras
from keras import layers, ops


def build(
    sequence_shape: tuple[int, int], history: int, horizon: int, num_outputs: int, *, others: bool = False, l2: float = 0.0
) -> keras.Model:
    """A straight line from every past step to every step ahead. Hard to beat where series drift and there is little data.

    Args:
        sequence_shape: (steps T, channels C), targets first; steps after the history hold what is known of the horizon.
        history: steps that are known.
        horizon: steps to tell.
        num_outputs: horizon times targets, step after step.
        others: also take the channels that are no targets, and what is known of the horizon.
        l2: penalty on squared weights, >= 0.

    Source: NLinear of Zeng et al. 2023, arXiv:2205.13504, section 4.
    """
    targets = num_outputs // horizon
    inputs = keras.Input(sequence_shape, dtype="float32", name="series")  # (B, T, C)
    last = inputs[:, history - 1 : history, :targets]  # (B, 1, targets)
    past = layers.Flatten(name="past")(inputs[:, :history, :targets] - last)  # (B, history * targets)
    if others:
        beside = layers.Flatten(name="others")(inputs[:, :, targets:])  # (B, T * (C - targets))
        past = layers.Concatenate(name="all")([past, beside])
    penalty = keras.regularizers.L2(l2) if l2 else None
    change = layers.Dense(num_outputs, kernel_initializer="zeros", kernel_regularizer=penalty, name="change")(past)  # (B, K)
    level = layers.Flatten(name="level")(ops.repeat(last, horizon, axis=1))  # (B, K) the last value, at every step
    outputs = layers.Add(dtype="float32", name="outputs")([level, change])  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="linear_forecast")
