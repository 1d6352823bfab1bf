"""Batch normalisation over the global batch: ranks share their sums in the forward pass, and their gradients in the backward pass.

Keras' own `synchronized=True` speaks to tf.distribute alone, and Horovod's layer is of Keras 2. The layer's variables stay as they are,
so a model that is rebuilt without this takes the weights over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from pipeline.train.horovod import World


def synchronise(model: keras.Model, world: World, share: float) -> None:
    """Let every batch normalisation of a model take mean and variance over all ranks' rows. Collective, in every training step.

    Args:
        model: before its first training step.
        world: this rank's.
        share: rows of this rank's batch / rows of the global batch.
    """
    if world.size == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = partial(global_moments, partial(weighted_sum, world=world, share=share), layer._moments)


def global_moments(over_ranks: Callable[[Any], Any], local_moments: Callable[..., Any], inputs: Any, mask: Any) -> tuple[Any, Any]:
    """Mean and variance (C,) over all ranks, from each rank's own: var = E[var_r + mean_r²] - mean²."""
    mean, variance = local_moments(inputs, mask)
    dtype = mean.dtype
    mean, variance = tf.cast(mean, tf.float32), tf.cast(variance, tf.float32)
    overall_mean, overall_square = tf.unstack(over_ranks(tf.stack([mean, variance + mean**2])))
    overall_variance = tf.maximum(overall_square - overall_mean**2, 0.0)
    return tf.cast(overall_mean, dtype), tf.cast(overall_variance, dtype)


def weighted_sum(values: Any, *, world: World, share: float) -> Any:
    """Sum over ranks of share * values, with the gradient that makes the sum of share * gradient the one of the global batch.

    A rank's loss depends on every rank's values. With L = sum_q share_q L_q, the values v_r of rank r matter by
    dL/dv_r = share_r * sum_q share_q dL_q/ds; the optimizer multiplies by share_r, so what flows back here is the sum over q.
    """

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow publishes no types
    def summed(local: Any) -> tuple[Any, Callable[[Any], Any]]:
        def backward(upstream: Any) -> Any:
            return world.sum_in_graph([upstream * share])[0]

        return world.sum_in_graph([local * share])[0], backward

    return summed(values)
