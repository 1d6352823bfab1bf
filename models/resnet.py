"""A residual convolutional network for images of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers

from models import Activation


def build(
    image_shape: tuple[int, int, int],
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    num_outputs: int,
    *,
    filters: int = 16,
    stages: int = 3,
    blocks: int = 2,
    norm: Literal["batch", "group"] = "batch",
    dropout: float = 0.0,
    activation: Activation = "relu",
) -> keras.Model:
    """Stages of residual blocks with normalisation and activation before each convolution; every stage after the first halves the image.

    Args:
        image_shape: (height H, width W, channels C), uint8 pixels from 0 to 255.
        pixel_mean: (C,) of the train rows, in pixel units; the first layer subtracts it.
        pixel_std: (C,) of the train rows, in pixel units, above 0; the first layer divides by it.
        num_outputs: number K of outputs: a logit for each class, or the numbers of a regression.
        filters: filters F of the first stage; stage i has F * 2**i.
        stages: number of stages; H and W must be at least 2**(stages - 1).
        blocks: residual blocks of a stage.
        norm: "batch" normalises over the global batch (ranks share their sums), "group" within each row.
        dropout: share of the pooled features dropped in training, [0, 1).
        activation: of the hidden units.

    Raises:
        ValueError: the image is too small for the stages.

    Source: He et al. 2016, arXiv:1603.05027, figure 4(e).
    """
    if min(image_shape[:2]) < 2 ** (stages - 1):
        raise ValueError(
            f"stages={stages} halves the image {stages - 1} times. Expected height and width >= {2 ** (stages - 1)}. "
            f"Received: image_shape={image_shape}"
        )
    kinds = (norm, activation)
    inputs = keras.Input(image_shape, dtype="uint8", name="image")  # (B, H, W, C) 0 to 255
    hidden = layers.Normalization(mean=pixel_mean, variance=[s * s for s in pixel_std], name="pixels")(inputs)  # (B, H, W, C)
    hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name="stem")(hidden)  # (B, H, W, F)
    for stage in range(stages):
        for index in range(blocks):
            strides = 2 if stage and index == 0 else 1
            hidden = block(hidden, filters * 2**stage, strides, kinds, name=f"stage_{stage}_{index}")  # (B, H / 2**i, W / 2**i, F * 2**i)
    hidden = normalised(hidden, kinds, name="last")  # (B, h, w, f)
    hidden = layers.GlobalAveragePooling2D(name="pool")(hidden)  # (B, f)
    hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, f)
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="resnet")


def block(stream: keras.KerasTensor, filters: int, strides: int, kinds: tuple[str, str], *, name: str) -> keras.KerasTensor:
    first = normalised(stream, kinds, name=f"{name}_a")  # (B, H, W, F)
    hidden = convolution(filters, 3, strides, name=f"{name}_a")(first)  # (B, H/s, W/s, f)
    hidden = normalised(hidden, kinds, name=f"{name}_b")  # (B, H/s, W/s, f)
    hidden = convolution(filters, 3, 1, name=f"{name}_b")(hidden)  # (B, H/s, W/s, f)
    if strides != 1 or stream.shape[-1] != filters:
        stream = convolution(filters, 1, strides, name=f"{name}_shortcut")(first)  # (B, H/s, W/s, f)
    return layers.Add(name=f"{name}_add")([stream, hidden])  # (B, H/s, W/s, f)


def convolution(filters: int, size: int, strides: int, *, name: str) -> layers.Layer:
    return layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv")


def normalised(images: keras.KerasTensor, kinds: tuple[str, str], *, name: str) -> keras.KerasTensor:
    """`kinds`: of normalisation and of activation."""
    norm, activation = kinds
    if norm == "batch":
        images = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(images)  # (B, H, W, F)
    else:
        groups = max(size for size in (1, 2, 4, 8) if images.shape[-1] % size == 0)
        images = layers.GroupNormalization(groups, name=f"{name}_norm")(images)  # (B, H, W, F)
    return layers.Activation(activation, name=f"{name}_act")(images)  # (B, H, W, F)
