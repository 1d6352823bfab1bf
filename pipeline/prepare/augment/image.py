"""Operations on pixels (height, width, channels) uint8. Pure; run in Spark's Python workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.sections.augment import Rotate, Translate

Pixels = NDArray[np.uint8]


def rotate(pixels: Pixels, rng: np.random.Generator, options: Rotate) -> Pixels:
    return transform(pixels, degrees=rng.uniform(-options.degrees, options.degrees))


def translate(pixels: Pixels, rng: np.random.Generator, options: Translate) -> Pixels:
    limit = options.pixels
    return transform(pixels, shift=(rng.uniform(-limit, limit), rng.uniform(-limit, limit)))


def transform(pixels: Pixels, *, degrees: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Pixels:
    """Rotate around the centre, then move by (right, down) pixels; bilinear, black outside."""
    height, width, channels = pixels.shape
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    centre_x, centre_y = width / 2, height / 2
    # Pillow asks for the inverse: where each output pixel comes from.
    from_x = centre_x - cos * (centre_x + shift[0]) - sin * (centre_y + shift[1])
    from_y = centre_y + sin * (centre_x + shift[0]) - cos * (centre_y + shift[1])
    # Rounded, or cos(90 degrees) = 6e-17 moves an edge pixel just outside, where it is black.
    matrix = tuple(round(float(value), 9) for value in (cos, sin, from_x, -sin, cos, from_y))
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    moved = image.transform((width, height), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR)
    return np.asarray(moved, dtype=np.uint8).reshape(pixels.shape)


OPERATIONS: dict[str, Callable[[Pixels, np.random.Generator, Any], Pixels]] = {"rotate": rotate, "translate": translate}
