"""Random numbers that follow from a sample and an epoch alone: the same on any rank, in any batch, after any interruption. TF ops.

A counter-based generator: the numbers are SplitMix64 (Steele et al. 2014, 10.1145/2714064.2660195) of (seed, epoch, stream, sample, index).
TensorFlow's own stateless operations take one seed for a whole batch, so a sample's numbers would depend on its neighbours.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def uniform(ids: tf.Tensor, epoch: tf.Tensor, seed: int, stream: int, count: int) -> tf.Tensor:
    """(B, count) float32 in [0, 1).

    Args:
        ids: (B,) int64, the samples.
        epoch: int64.
        seed: of the augmentation.
        stream: one number for each use, so that uses do not share numbers.
        count: numbers for each sample.
    """
    sample = mix(word(ids) + mix(word(epoch) + mix(word(stream) + mix(word(seed)))))
    numbers = mix(sample[:, None] + word(tf.range(count, dtype=tf.int64))[None, :])
    return tf.cast(tf.bitwise.right_shift(numbers, word(40)), tf.float32) * (1.0 / (1 << 24))


def normal(ids: tf.Tensor, epoch: tf.Tensor, seed: int, stream: int, count: int) -> tf.Tensor:
    """(B, count) float32, standard normal, by Box and Muller's transform."""
    numbers = uniform(ids, epoch, seed, stream, 2 * count)
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - numbers[:, :count]))
    return radius * tf.cos(2.0 * np.pi * numbers[:, count:])


def mix(state: tf.Tensor) -> tf.Tensor:
    """SplitMix64's step and finaliser; uint64 arithmetic wraps."""
    state = state + constant(GOLDEN)
    state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(30))) * constant(FIRST)
    state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(27))) * constant(SECOND)
    return tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(31)))


def word(number: tf.Tensor | int) -> tf.Tensor:
    return tf.bitcast(tf.cast(number, tf.int64), tf.uint64)


def constant(number: int) -> tf.Tensor:
    return tf.constant(np.uint64(number))
