"""A variational autoencoder for packed rows and images: the narrow place holds a distribution, from which new rows can be drawn."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from models.autoencoder import grow, pixels, shrink


def build(
    num_features: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    pixel_mean: Sequence[float] | None = None,
    pixel_std: Sequence[float] | None = None,
    *,
    latent: int = 8,
    width: int = 64,
    depth: int = 2,
    filters: int = 16,
    bounded: bool = False,
) -> keras.Model:
    """Two outputs: the reconstruction in the input's own units, and (B, 2Z) mean and log variance of the code.

    In training the code is drawn from its distribution, otherwise it is the mean. The loss is the reconstruction's plus
    the divergence of the code's distribution from a standard normal one; training adds them.

    Args:
        num_features: width F of the packed vector; dense layers.
        image_shape: (height H, width W, channels C), uint8; convolutions. H and W must be multiples of 2**depth.
        pixel_mean: (C,) of the train rows, in pixel units.
        pixel_std: (C,) of the train rows, in pixel units, above 0.
        latent: width Z of the code.
        width: units of each dense layer.
        depth: layers, or halvings of the image, on each side.
        filters: filters of the first convolution; each further one has twice as many.
        bounded: pixels are given back between 0 and 255, by a sigmoid; what loss: binary_cross_entropy needs.

    Raises:
        ValueError: an image that cannot be halved so often, or neither input.

    Source: Kingma & Welling 2014, arXiv:1312.6114, appendix C.
    """
    if image_shape is not None and pixel_mean is not None and pixel_std is not None:
        inputs, hidden = pixels(image_shape, pixel_mean, pixel_std, depth)  # (B, H, W, C)
        hidden, narrow = shrink(hidden, filters, depth)  # (B, h * w * f) (h, w, f)
        distribution, code = draw(hidden, latent)  # (B, 2Z) (B, Z)
        outputs = grow(code, narrow, image_shape, pixel_mean, pixel_std, bounded)  # (B, H, W, C)
        return keras.Model(inputs, {"reconstruction": outputs, "distribution": distribution}, name="vae")
    if num_features is None:
        raise ValueError("Expected one of num_features, image_shape. Received none.")
    row = hidden = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    for index in range(depth):
        hidden = layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"down_{index}")(hidden)  # (B, W)
    distribution, hidden = draw(hidden, latent)  # (B, 2Z) (B, Z)
    for index in range(depth):
        hidden = layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"up_{index}")(hidden)  # (B, W)
    outputs = layers.Dense(num_features, dtype="float32", name="outputs")(hidden)  # (B, F)
    return keras.Model(row, {"reconstruction": outputs, "distribution": distribution}, name="vae")


def draw(hidden: keras.KerasTensor, latent: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """(B, 2Z) mean and log variance; (B, Z) a code: mean + deviation * noise, where Keras' noise layer is silent outside of training."""
    distribution = layers.Dense(2 * latent, kernel_initializer="zeros", dtype="float32", name="distribution")(hidden)  # (B, 2Z)
    mean, log_variance = distribution[:, :latent], distribution[:, latent:]  # (B, Z) (B, Z)
    noise = layers.GaussianNoise(1.0, dtype="float32", name="noise")(ops.zeros_like(mean))  # (B, Z)
    return distribution, mean + ops.exp(log_variance / 2) * noise
