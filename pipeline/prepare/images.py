"""One image: bytes -> pixels of a fixed shape, and augmented copies. Pure; runs in Spark's Python workers."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.sections.data import AugmentOperation

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MAX_PIXELS = 64_000_000  # larger is refused from the header alone, before any pixel is decoded

Pixels = NDArray[np.uint8]


class Undecodable(ValueError):
    """Why an image cannot be used; the text goes to quarantine."""


def decode(content: bytes, shape: tuple[int, int, int]) -> Pixels:
    """Pixels (height, width, channels) uint8 of an encoded image: turned as EXIF says, converted, resized (bilinear).

    Raises:
        Undecodable: no bytes, not an image of FORMATS, truncated, over MAX_PIXELS, several frames, or deeper than 8 bits.
    """
    if not content:
        raise Undecodable("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_header(image)
            upright = ImageOps.exif_transpose(image).convert("L" if shape[2] == 1 else "RGB")
    except Undecodable:
        raise
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error on damaged bytes
        raise Undecodable(f"not a readable image: {type(error).__name__}: {str(error).split('<')[0].strip()}") from error
    if upright.size != (shape[1], shape[0]):
        upright = upright.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(upright, dtype=np.uint8).reshape(shape)


def check_header(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Undecodable(f"{image.width}x{image.height} pixels is more than {MAX_PIXELS}")
    if image.mode not in MODES:
        raise Undecodable(f"pixel mode {image.mode} is not one of {', '.join(MODES)}")
    if getattr(image, "n_frames", 1) > 1:
        raise Undecodable("the image has several frames")


def augment(pixels: Pixels, operations: Sequence[AugmentOperation], *, seed: int, sample_id: str, copy: int) -> Pixels:
    """One augmented copy: every operation in order, each with its own numbers.

    The numbers depend on (seed, sample, copy, operation) alone, so a retried task writes the same bytes.

    Args:
        pixels: (height, width, channels) uint8.
        copy: 1 for the first copy.
    """
    for index, operation in enumerate(operations):
        draw = generator(seed, sample_id, copy, index)
        if operation.rotate is not None:
            degrees = draw.uniform(-operation.rotate.degrees, operation.rotate.degrees)
            pixels = transform(pixels, degrees=degrees)
        elif operation.translate is not None:
            limit = operation.translate.pixels
            pixels = transform(pixels, shift=(draw.uniform(-limit, limit), draw.uniform(-limit, limit)))
    return pixels


def generator(seed: int, sample_id: str, copy: int, operation: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}/{sample_id}/{copy}/{operation}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint64))


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
