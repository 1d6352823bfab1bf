"""One image: bytes -> pixels of a fixed shape. Pure; runs in Spark's Python workers."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.prepare.kinds.base import Undecodable

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MAX_PIXELS = 64_000_000  # larger is refused from the header alone, before any pixel is decoded

Pixels = NDArray[np.uint8]


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
