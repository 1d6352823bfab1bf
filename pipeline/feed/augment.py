"""Augmentation while rows are fed, as TF ops on batches: it depends on (seed, epoch, sample), never on the batch or the rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from pipeline.feed.fitting import refuse_what_does_not_fit
from pipeline.feed.noise import normal, uniform
from pipeline.schema import Tensor
from pipeline.sections.feed import FeedAugment

Numbers = Callable[[int], tf.Tensor]  # how many for each sample -> (B, count) uniform in [0, 1)
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Augment = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Batch]


def make(settings: FeedAugment, tensor: Tensor, rows_per_lane: int) -> Augment | None:
    """(tensor, label, weight, ids, epoch) of a batch -> tensor, label, weight; None if nothing is asked for.

    Args:
        settings: the recipe's feed.augment.
        tensor: what rows are.
        rows_per_lane: rows of a batch that stand together on any number of ranks.

    Raises:
        ConfigError: an operation does not go with the rows.
    """
    if not settings.operations:
        return None
    refuse_what_does_not_fit(settings, tensor, rows_per_lane)

    def augment(rows: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, ids: tf.Tensor, epoch: tf.Tensor) -> Batch:
        changed = tf.cast(rows, tf.float32) if rows.dtype not in (tf.int32, tf.int64) else rows
        for stream, name in enumerate(type(settings).model_fields):
            if name in settings.operations and name != "mixup":
                source = (ids, epoch, settings.seed, stream)
                changed = OPERATIONS[name](changed, settings, partial(uniform, *source), partial(normal, *source))
        if settings.mixup is not None:
            share = uniform(ids, epoch, settings.seed, 99, 1)[:, 0]
            changed, label, weight = mix_pairs(changed, label, weight, share, settings.mixup, rows_per_lane)
        return as_before(changed, rows.dtype), label, weight

    return augment


def as_before(rows: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    if rows.dtype == dtype or dtype.is_floating:
        return tf.cast(rows, dtype)
    return tf.saturate_cast(tf.round(rows), dtype)


def flip(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    coins = numbers(2) < 0.5
    axes = {"vertical": (1,), "horizontal": (2,), "both": (1, 2)}[settings.flip or "both"]
    for axis in axes:
        rows = tf.where(coins[:, axis - 1, None, None, None], tf.reverse(rows, [axis]), rows)
    return rows


def rotate(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    angle = (numbers(1)[:, 0] * 2 - 1) * math.radians(settings.rotate_degrees or 0)
    return warp(rows, tf.cos(angle), tf.sin(angle), tf.zeros_like(angle), tf.zeros_like(angle))


def translate(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    shares = (numbers(2) * 2 - 1) * (settings.translate or 0)
    height, width = float(rows.shape[1]), float(rows.shape[2])
    one, zero = tf.ones_like(shares[:, 0]), tf.zeros_like(shares[:, 0])
    return warp(rows, one, zero, shares[:, 0] * height, shares[:, 1] * width)


def zoom(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    factor = 1 + (numbers(1)[:, 0] * 2 - 1) * (settings.zoom or 0)
    zero = tf.zeros_like(factor)
    return warp(rows, 1 / factor, zero, zero, zero)


def warp(rows: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Rotated or scaled around the centre, then moved; bilinear, edges continued."""
    height, width = rows.shape[1], rows.shape[2]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    offset_x = middle_x - cosine * middle_x + sine * middle_y - right
    offset_y = middle_y - sine * middle_x - cosine * middle_y - down
    zero = tf.zeros_like(cosine)
    transforms = tf.stack([cosine, -sine, offset_x, sine, cosine, offset_y, zero, zero], axis=1)
    size = tf.constant([height, width], tf.int32)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=rows, transforms=transforms, output_shape=size, fill_value=0.0, interpolation="BILINEAR", fill_mode="NEAREST"
    )


def contrast(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    factor = 1 + (numbers(1)[:, :, None, None] * 2 - 1) * (settings.contrast or 0)
    mean = tf.reduce_mean(rows, axis=[1, 2, 3], keepdims=True)
    return (rows - mean) * factor + mean


def cutout(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    side = max(1.0, round((settings.cutout or 0) * min(rows.shape[1], rows.shape[2])))
    corners = numbers(2)
    inside = [is_inside(corners[:, axis], rows.shape[axis + 1], side) for axis in range(2)]
    hole = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(hole, 0.0, rows)


def is_inside(where: tf.Tensor, length: int, side: float) -> tf.Tensor:
    """(B, length) whether a place is in [begin, begin + side), begin uniform over what fits."""
    begin = tf.floor(where * (length - side + 1))[:, None]
    places = tf.range(length, dtype=tf.float32)[None, :]
    return (places >= begin) & (places < begin + side)


def shift(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    length = rows.shape[1]
    by = tf.cast(tf.round((numbers(1) * 2 - 1) * (settings.shift or 0) * length), tf.int32)
    return tf.gather(rows, (tf.range(length)[None, :] - by) % length, axis=1, batch_dims=1)


def noise(rows: tf.Tensor, settings: FeedAugment, _: Numbers, normals: Numbers) -> tf.Tensor:
    loudness = tf.sqrt(tf.reduce_mean(tf.square(rows), axis=list(range(1, len(rows.shape))), keepdims=True))
    return rows + loudness * (settings.noise or 0) * like(rows, normals)


def time_mask(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    return mask_axis(rows, numbers(2), settings.time_mask or 0, axis=1)


def frequency_mask(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    return mask_axis(rows, numbers(2), settings.frequency_mask or 0, axis=2)


def mask_axis(rows: tf.Tensor, numbers: tf.Tensor, widest: int, axis: int) -> tf.Tensor:
    length = rows.shape[axis]
    width = tf.floor(numbers[:, 0] * (min(widest, length) + 1))[:, None]
    begin = tf.floor(numbers[:, 1:2] * (length - width + 1))
    places = tf.range(length, dtype=tf.float32)[None, :]
    hole = (places >= begin) & (places < begin + width)
    shape = [-1 if dimension == 0 else length if dimension == axis else 1 for dimension in range(len(rows.shape))]
    return tf.where(tf.reshape(hole, shape), tf.zeros((), rows.dtype), rows)


def token_dropout(rows: tf.Tensor, settings: FeedAugment, numbers: Numbers, _: Numbers) -> tf.Tensor:
    dropped = tf.reshape(numbers(math.prod(rows.shape[1:])), tf.shape(rows)) < (settings.token_dropout or 0)
    return tf.where(dropped & (rows != 0), tf.constant(settings.dropped_token, rows.dtype), rows)


def jitter(rows: tf.Tensor, settings: FeedAugment, _: Numbers, normals: Numbers) -> tf.Tensor:
    return rows + (settings.jitter or 0) * like(rows, normals)


def like(rows: tf.Tensor, numbers: Numbers) -> tf.Tensor:
    return tf.reshape(numbers(math.prod(rows.shape[1:])), tf.shape(rows))


OPERATIONS: dict[str, Callable[[tf.Tensor, FeedAugment, Numbers, Numbers], tf.Tensor]] = {
    "flip": flip,
    "rotate_degrees": rotate,
    "translate": translate,
    "zoom": zoom,
    "contrast": contrast,
    "cutout": cutout,
    "shift": shift,
    "noise": noise,
    "time_mask": time_mask,
    "frequency_mask": frequency_mask,
    "token_dropout": token_dropout,
    "jitter": jitter,
}


def mix_pairs(rows: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, numbers: tf.Tensor, alpha: float, rows_per_lane: int) -> Batch:
    """Every row mixed with the next one of its lane: (2B, …), each mixture once with either label, weighed by its share of it.

    A class index cannot be mixed, but the loss can: this is mixup's loss exactly, for every loss and also for numbers. Lanes are the
    same on any number of ranks, so partners are too. Weights are doubled, since a batch's mean is over twice the rows.
    """
    order = tf.reshape(tf.roll(tf.reshape(tf.range(tf.shape(rows)[0]), [-1, rows_per_lane]), -1, axis=1), [-1])
    share = beta(numbers, alpha)
    wide = tf.reshape(share, [-1] + [1] * (len(rows.shape) - 1))
    mixed = rows * wide + tf.gather(rows, order) * (1 - wide)
    mean_weight = weight * share + tf.gather(weight, order) * (1 - share)
    weights = tf.concat([mean_weight * share * 2, mean_weight * (1 - share) * 2], 0)
    return tf.concat([mixed, mixed], 0), tf.concat([label, tf.gather(label, order)], 0), weights


def beta(numbers: tf.Tensor, alpha: float) -> tf.Tensor:
    """Beta(alpha, alpha) from uniform numbers, by a table of its inverse distribution."""
    from scipy.stats import beta as distribution

    table = tf.constant(distribution.ppf(np.linspace(0, 1, 4097), alpha, alpha), tf.float32)
    place = numbers * 4096.0
    below = tf.cast(tf.floor(place), tf.int32)
    low, high = tf.gather(table, below), tf.gather(table, below + 1)
    return low + (high - low) * (place - tf.floor(place))
