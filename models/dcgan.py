"""A generator and a critic of images that learn from each other, of convolutions with batch normalisation."""

from __future__ import annotations

import keras
from keras import layers


def build(
    image_shape: tuple[int, int, int], *, latent: int = 32, filters: int = 32, depth: int = 2, norm: bool = True, dropout: float = 0.0
) -> keras.Model:
    """Two models in one: get_layer("generator") makes images of noise, get_layer("critic") judges images.

    Training gives each its own optimizer; the two share nothing.

    Args:
        image_shape: (height H, width W, channels C); H and W must be multiples of 2**depth.
        latent: width Z of the noise.
        filters: filters F of the layer next to the image; each further one has twice as many.
        depth: doublings of the image in the generator, halvings in the critic.
        norm: batch normalisation in the generator and in all but the critic's first layer.
        dropout: share of the critic's features dropped in training, [0, 1).

    Raises:
        ValueError: an image that cannot be halved so often.

    Source: Radford et al. 2016, arXiv:1511.06434, section 3.
    """
    if any(size % 2**depth for size in image_shape[:2]):
        raise ValueError(
            f"depth={depth} halves the image {depth} times. Expected height and width to be multiples of {2**depth}. "
            f"Received: image_shape={image_shape}"
        )
    noise = keras.Input((latent,), dtype="float32", name="noise")  # (B, Z) standard normal
    image = keras.Input(image_shape, dtype="float32", name="image")  # (B, H, W, C) 0 to 255
    generated = generator(image_shape, latent, filters, depth, norm)(noise)  # (B, H, W, C) 0 to 255
    verdict = critic(image_shape, filters, depth, norm, dropout)(image)  # (B, 1) above 0: real
    return keras.Model({"noise": noise, "image": image}, {"generated": generated, "verdict": verdict}, name="dcgan")


def generator(image_shape: tuple[int, int, int], latent: int, filters: int, depth: int, norm: bool) -> keras.Model:
    height, width, channels = image_shape[0] // 2**depth, image_shape[1] // 2**depth, filters * 2**depth
    noise = keras.Input((latent,), dtype="float32", name="noise")  # (B, Z)
    hidden = layers.Dense(height * width * channels, use_bias=not norm, name="widen")(noise)  # (B, h * w * f)
    hidden = layers.Reshape((height, width, channels), name="image")(hidden)  # (B, h, w, f)
    hidden = rectified(hidden, norm, name="widened")  # (B, h, w, f)
    for index in range(depth):
        channels //= 2
        hidden = layers.Conv2DTranspose(channels, 4, 2, padding="same", use_bias=not norm, name=f"up_{index}")(hidden)  # (B, 2h, 2w, f / 2)
        hidden = rectified(hidden, norm, name=f"up_{index}")  # (B, 2h, 2w, f / 2)
    hidden = layers.Conv2D(image_shape[2], 3, padding="same", activation="tanh", dtype="float32", name="tanh")(
        hidden
    )  # (B, H, W, C) -1 to 1
    outputs = layers.Rescaling(127.5, 127.5, dtype="float32", name="pixels")(hidden)  # (B, H, W, C) 0 to 255
    return keras.Model(noise, outputs, name="generator")


def rectified(images: keras.KerasTensor, norm: bool, *, name: str) -> keras.KerasTensor:
    if norm:
        images = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(images)  # (B, h, w, f)
    return layers.Activation("relu", name=f"{name}_relu")(images)  # (B, h, w, f)


def critic(image_shape: tuple[int, int, int], filters: int, depth: int, norm: bool, dropout: float) -> keras.Model:
    image = keras.Input(image_shape, dtype="float32", name="image")  # (B, H, W, C) 0 to 255
    hidden = layers.Rescaling(1 / 127.5, -1.0, name="scaled")(image)  # (B, H, W, C) -1 to 1
    for index in range(depth):
        hidden = layers.Conv2D(filters * 2**index, 4, 2, padding="same", name=f"down_{index}")(hidden)  # (B, H / 2, W / 2, F * 2**i)
        if norm and index:
            hidden = layers.BatchNormalization(momentum=0.9, name=f"down_{index}_norm")(hidden)  # (B, h, w, f)
        hidden = layers.LeakyReLU(0.2, name=f"down_{index}_relu")(hidden)  # (B, h, w, f)
    hidden = layers.Flatten(name="flatten")(hidden)  # (B, h * w * f)
    hidden = layers.Dropout(dropout, name="dropout")(hidden)  # (B, h * w * f)
    verdict = layers.Dense(1, dtype="float32", name="verdict")(hidden)  # (B, 1)
    return keras.Model(image, verdict, name="critic")
