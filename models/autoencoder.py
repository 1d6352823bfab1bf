"""A dense autoencoder for packed rows and a convolutional one for images: what goes in comes out, through a narrow place."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


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
    dropout: float = 0.0,
    bounded: bool = False,
) -> keras.Model:
    """The input's reconstruction, in the input's own units. A row unlike the train rows is reconstructed badly.

    Args:
        num_features: width F of the packed vector; dense layers.
        image_shape: (height H, width W, channels C), uint8; convolutions. H and W must be multiples of 2**depth.
        pixel_mean: (C,) of the train rows, in pixel units.
        pixel_std: (C,) of the train rows, in pixel units, above 0.
        latent: width Z of the narrow place.
        width: units of the first dense layer; each further one has half.
        depth: layers, or halvings of the image, on each side.
        filters: filters of the first convolution; each further one has twice as many.
        bounded: pixels are given back between 0 and 255, by a sigmoid; what loss: binary_cross_entropy needs.
        dropout: share of the input dropped in training, [0, 1): a denoising autoencoder (Vincent et al. 2008, 10.1145/1390156.1390294).

    Raises:
        ValueError: an image that cannot be halved so often, or neither input.

    Source: Hinton & Salakhutdinov 2006, 10.1126/science.1127647.
    """
    if image_shape is not None and pixel_mean is not None and pixel_std is not None:
        inputs, hidden = pixels(image_shape, pixel_mean, pixel_std, depth)  # (B, H, W, C)
        hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, H, W, C)
        hidden, narrow = shrink(hidden, filters, depth)  # (B, h * w * f) (h, w, f)
        code = layers.Dense(latent, name="latent")(hidden)  # (B, Z)
        return keras.Model(inputs, grow(code, narrow, image_shape, pixel_mean, pixel_std, bounded), name="autoencoder")
    if num_features is None:
        raise ValueError("Expected one of num_features, image_shape. Received none.")
    widths = [max(width // 2**index, 1) for index in range(depth)]
    row = keras.Input((num_features,), dtype="float32", name="features")  # (B, F)
    hidden = layers.Dropout(dropout, name="dropout")(row)  # (B, F)
    for index, units in enumerate(widths):
        hidden = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"down_{index}")(hidden)  # (B, W / 2**i)
    hidden = layers.Dense(latent, name="latent")(hidden)  # (B, Z)
    for index, units in enumerate(reversed(widths)):
        hidden = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"up_{index}")(hidden)  # (B, …)
    outputs = layers.Dense(num_features, dtype="float32", name="outputs")(hidden)  # (B, F)
    return keras.Model(row, outputs, name="autoencoder")


def pixels(
    image_shape: tuple[int, int, int], pixel_mean: Sequence[float], pixel_std: Sequence[float], depth: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The image input, and its normalised pixels."""
    if any(size % 2**depth for size in image_shape[:2]):
        raise ValueError(
            f"depth={depth} halves the image {depth} times. Expected height and width to be multiples of {2**depth}. "
            f"Received: image_shape={image_shape}"
        )
    inputs = keras.Input(image_shape, dtype="uint8", name="image")  # (B, H, W, C) 0 to 255
    return inputs, layers.Normalization(mean=pixel_mean, variance=[s * s for s in pixel_std], name="pixels")(inputs)


def shrink(hidden: keras.KerasTensor, filters: int, depth: int) -> tuple[keras.KerasTensor, tuple[int, int, int]]:
    """(B, h * w * f) of an image halved `depth` times, and (h, w, f)."""
    for index in range(depth):
        convolution = layers.Conv2D(filters * 2**index, 3, 2, padding="same", activation="relu", name=f"down_{index}")
        hidden = convolution(hidden)  # (B, H / 2, W / 2, f)
    narrow = hidden.shape[1:]
    return layers.Flatten(name="flatten")(hidden), narrow


def grow(
    code: keras.KerasTensor,
    narrow: tuple[int, int, int],
    image_shape: tuple[int, int, int],
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    bounded: bool,
) -> keras.KerasTensor:
    """(B, H, W, C) pixels, 0 to 255 but, unless `bounded`, for what the network overshoots, from (B, Z)."""
    height, width, filters = narrow
    hidden = layers.Dense(height * width * filters, activation="relu", name="widen")(code)  # (B, h * w * f)
    hidden = layers.Reshape(narrow, name="image_again")(hidden)  # (B, h, w, f)
    index = 0
    while hidden.shape[1] < image_shape[0]:
        filters = max(filters // 2, 1)
        hidden = layers.Conv2DTranspose(filters, 3, 2, padding="same", activation="relu", name=f"up_{index}")(hidden)  # (B, 2h, 2w, f / 2)
        index += 1
    if bounded:
        shares = layers.Conv2D(image_shape[2], 3, padding="same", activation="sigmoid", dtype="float32", name="shares")(
            hidden
        )  # (B, H, W, C)
        return layers.Rescaling(255.0, dtype="float32", name="outputs")(shares)  # (B, H, W, C) 0 to 255
    hidden = layers.Conv2D(image_shape[2], 3, padding="same", dtype="float32", name="normalised")(hidden)  # (B, H, W, C)
    scale = layers.Normalization(mean=pixel_mean, variance=[s * s for s in pixel_std], invert=True, dtype="float32", name="outputs")
    return scale(hidden)  # (B, H, W, C) in pixel units
