"""Operations on pixels (height, width, channels) uint8. Pure; run in Spark's Python workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.sections.augment_media import (
    Blur,
    Brightness,
    Contrast,
    Crop,
    Cutout,
    Flip,
    PixelNoise,
    Rotate,
    Shear,
    Translate,
    Zoom,
)

Pixels = NDArray[np.uint8]


def rotate(pixels: Pixels, rng: np.random.Generator, options: Rotate) -> Pixels:
    return transform(pixels, degrees=rng.uniform(-options.degrees, options.degrees))


def translate(pixels: Pixels, rng: np.random.Generator, options: Translate) -> Pixels:
    limit = options.pixels
    return transform(pixels, shift=(rng.uniform(-limit, limit), rng.uniform(-limit, limit)))


def transform(pixels: Pixels, *, degrees: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Pixels:
    """Rotate around the centre, then move by (right, down) pixels; bilinear, black outside."""
    height, width, _ = pixels.shape
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    centre_x, centre_y = width / 2, height / 2
    # Pillow asks for the inverse: where each output pixel comes from.
    from_x = centre_x - cos * (centre_x + shift[0]) - sin * (centre_y + shift[1])
    from_y = centre_y + sin * (centre_x + shift[0]) - cos * (centre_y + shift[1])
    # Rounded, or cos(90 degrees) = 6e-17 moves an edge pixel just outside, where it is black.
    matrix = tuple(round(float(value), 9) for value in (cos, sin, from_x, -sin, cos, from_y))
    return as_pixels(
        as_image(pixels).transform((width, height), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR), pixels
    )


def flip_horizontal(pixels: Pixels, rng: np.random.Generator, options: Flip) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1]) if rng.random() < options.share else pixels


def flip_vertical(pixels: Pixels, rng: np.random.Generator, options: Flip) -> Pixels:
    return np.ascontiguousarray(pixels[::-1]) if rng.random() < options.share else pixels


def zoom(pixels: Pixels, rng: np.random.Generator, options: Zoom) -> Pixels:
    limit = np.log1p(options.max)
    factor = float(np.exp(rng.uniform(-limit, limit)))
    return warp(pixels, ((1 / factor, 0.0), (0.0, 1 / factor)))


def shear(pixels: Pixels, rng: np.random.Generator, options: Shear) -> Pixels:
    slope = float(np.tan(np.deg2rad(rng.uniform(-options.degrees, options.degrees))))
    return warp(pixels, ((1.0, slope), (0.0, 1.0)))


def crop(pixels: Pixels, rng: np.random.Generator, options: Crop) -> Pixels:
    share = rng.uniform(options.min_share, 1.0)
    height, width, _ = pixels.shape
    left, top = rng.uniform(0, width * (1 - share)), rng.uniform(0, height * (1 - share))
    part = as_image(pixels).resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + width * share, top + height * share))
    return as_pixels(part, pixels)


def brightness(pixels: Pixels, rng: np.random.Generator, options: Brightness) -> Pixels:
    return rounded(pixels * rng.uniform(1 - options.max, 1 + options.max))


def contrast(pixels: Pixels, rng: np.random.Generator, options: Contrast) -> Pixels:
    grey = pixels.mean()
    return rounded(grey + (pixels - grey) * rng.uniform(1 - options.max, 1 + options.max))


def pixel_noise(pixels: Pixels, rng: np.random.Generator, options: PixelNoise) -> Pixels:
    return rounded(pixels + rng.normal(0.0, options.std, pixels.shape))


def blur(pixels: Pixels, rng: np.random.Generator, options: Blur) -> Pixels:
    return as_pixels(as_image(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0, options.radius))), pixels)


def cutout(pixels: Pixels, rng: np.random.Generator, options: Cutout) -> Pixels:
    height, width, _ = pixels.shape
    side = max(1, round(options.share * min(height, width)))
    top, left = int(rng.integers(0, height)) - side // 2, int(rng.integers(0, width)) - side // 2
    cut = pixels.copy()
    cut[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = options.fill
    return cut


def warp(pixels: Pixels, inverse: tuple[tuple[float, float], tuple[float, float]]) -> Pixels:
    """Around the centre, bilinear, black outside.

    Args:
        pixels: (height, width, channels).
        inverse: which way from the centre, (right, down), an output pixel's value comes from, by its own way.
    """
    (a, b), (d, e) = inverse
    height, width, _ = pixels.shape
    x, y = width / 2, height / 2
    matrix = tuple(round(value, 9) for value in (a, b, x - a * x - b * y, d, e, y - d * x - e * y))
    return as_pixels(
        as_image(pixels).transform((width, height), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR), pixels
    )


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def as_pixels(image: Image.Image, like: Pixels) -> Pixels:
    return np.asarray(image, dtype=np.uint8).reshape(like.shape)


def rounded(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


OPERATIONS: dict[str, Callable[[Pixels, np.random.Generator, Any], Pixels]] = {
    "rotate": rotate,
    "translate": translate,
    "flip_horizontal": flip_horizontal,
    "flip_vertical": flip_vertical,
    "zoom": zoom,
    "shear": shear,
    "crop": crop,
    "brightness": brightness,
    "contrast": contrast,
    "pixel_noise": pixel_noise,
    "blur": blur,
    "cutout": cutout,
}
