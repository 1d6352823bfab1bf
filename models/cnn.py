"""A small convolutional network for images of one size."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from models import Activation


def build(
    image_shape: tuple[int, int, int],
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    num_outputs: int,
    *,
    filters: int = 32,
    depth: int = 2,
    dropout: float = 0.25,
    activation: Activation = "relu",
) -> keras.Model:
    """Convolution blocks that halve the image and double the filters, then one hidden layer.

    No batch normalisation: its statistics would be those of one rank's rows, and N ranks would not equal one.

    Args:
        image_shape: (height H, width W, channels C), uint8 pixels from 0 to 255.
        pixel_mean: (C,) of the train rows, in pixel units; the first layer subtracts it.
        pixel_std: (C,) of the train rows, in pixel units, above 0; the first layer divides by it.
        num_outputs: number K of outputs: a logit for each class, or 1 for regression.
        filters: filters F of the first block; block i has F * 2**i.
        depth: number of blocks; H and W must be at least 2**depth.
        dropout: share of the hidden units dropped in training, [0, 1).
        activation: of the hidden units.

    Raises:
        ValueError: the image is too small for `depth` halvings.

    Source: the VGG pattern of Simonyan & Zisserman 2015, arXiv:1409.1556, section 2, at small scale.
    """
    if min(image_shape[:2]) < 2**depth:
        raise ValueError(
            f"depth={depth} halves the image {depth} times. Expected height and width >= {2**depth}. Received: image_shape={image_shape}"
        )
    inputs = keras.Input(image_shape, dtype="uint8", name="image")  # (B, H, W, C) 0 to 255
    hidden = layers.Normalization(mean=pixel_mean, variance=[s * s for s in pixel_std], name="pixels")(inputs)  # (B, H, W, C)
    for index in range(depth):
        hidden = block(hidden, filters * 2**index, activation, name=f"block_{index}")  # (B, H/2, W/2, F * 2**i)
    hidden = layers.Flatten(name="flatten")(hidden)  # (B, …)
    hidden = layers.Dense(filters * 4, activation=activation, name="hidden")(hidden)  # (B, 4F)
    hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, 4F)
    outputs = layers.Dense(num_outputs, dtype="float32", name="outputs")(hidden)  # (B, K) float32 even in mixed precision
    return keras.Model(inputs, outputs, name="cnn")


def block(images: keras.KerasTensor, filters: int, activation: str, *, name: str) -> keras.KerasTensor:
    hidden = layers.Conv2D(filters, 3, padding="same", activation=activation, name=f"{name}_a")(images)  # (B, H, W, F)
    hidden = layers.Conv2D(filters, 3, padding="same", activation=activation, name=f"{name}_b")(hidden)  # (B, H, W, F)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(hidden)  # (B, H/2, W/2, F)
