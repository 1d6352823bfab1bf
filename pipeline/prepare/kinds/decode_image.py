"""One image: bytes -> pixels of a fixed shape. Pure; runs in Spark's Python workers.

| what it is | what becomes of it |
|---|---|
| PNG, JPEG, BMP, GIF, WebP, TIFF by their first bytes | decoded; anything else is refused, and so is what has several frames |
| EXIF orientation | turned upright |
| 1 to 4 bits; palette; alpha; CMYK; YCbCr | converted to 8-bit grey (ITU-R 601-2 luma) or RGB; alpha is left out, not blended |
| 16-bit grey | the upper 8 bits; 32-bit and floating point are refused |
| another size | resized (bilinear, over all pixels that it shrinks) by the recipe's rule |
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, _imaging

from pipeline.prepare.kinds.base import Undecodable
from pipeline.sections.media import ImageOptions

MAGIC = {  # the only formats that Pillow is let near, by their first bytes
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "WEBP": (b"RIFF",),
    "TIFF": (b"II*\0", b"MM\0*"),
}
ENDINGS = {"PNG": ("png",), "JPEG": ("jpg", "jpeg", "jpe"), "BMP": ("bmp",), "GIF": ("gif",), "WEBP": ("webp",), "TIFF": ("tif", "tiff")}
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I;16N")
DEFAULTS = ImageOptions()
JPEG_QUALITY = 95
KEPT_BLOCKS = 4  # of 16 MiB at most

Pixels = NDArray[np.uint8]


def decode(content: bytes, shape: tuple[int, int, int], options: ImageOptions = DEFAULTS, name: str = "") -> Pixels:
    """Pixels (height, width, channels) uint8 of an encoded image: turned as EXIF says, converted, resized.

    Args:
        content: the file.
        shape: that comes out; 1 or 3 channels.
        options: how it is resized, and limits; those of bytes and pixels are checked before a pixel is decoded.
        name: of the file; what it ends in must go with the bytes, if it is an image's ending.

    Raises:
        Undecodable: no bytes, not an image of MAGIC, mislabelled, truncated, over a limit, several frames, or deeper than 16 bits.
    """
    reuse_memory()
    check_bytes(content, options, name)
    try:
        with Image.open(io.BytesIO(content), formats=list(MAGIC)) as image:
            check_header(image, options)
            upright = converted(turned(in_eight_bits(image)), "L" if shape[2] == 1 else "RGB")
            upright.load()
    except Undecodable:
        raise
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error on damaged bytes
        raise Undecodable(f"not a readable image: {type(error).__name__}: {str(error).split('<')[0].strip()}") from error
    return np.asarray(resize(upright, (shape[1], shape[0]), options), dtype=np.uint8).reshape(shape)


@lru_cache(maxsize=1)
def reuse_memory() -> None:
    """Pillow keeps the memory of one image for the next: else the system clears new pages for each, which takes as long as decoding."""
    _imaging.set_blocks_max(KEPT_BLOCKS)


def check_bytes(content: bytes, options: ImageOptions, name: str) -> None:
    if not content:
        raise Undecodable("the file is empty")
    if len(content) > options.max_file_mb << 20:
        raise Undecodable(f"{len(content)} bytes is more than image.max_file_mb: {options.max_file_mb}")
    found = next((kind for kind, marks in MAGIC.items() if content.startswith(marks)), None)
    if found is None or (found == "WEBP" and content[8:12] != b"WEBP"):
        raise Undecodable(f"not a readable image: begins with {content[:8].hex(' ')}, which is none of {', '.join(MAGIC)}")
    ending = name.rpartition(".")[2].lower()
    if options.mislabelled == "quarantine" and ending not in ENDINGS[found] and any(ending in known for known in ENDINGS.values()):
        raise Undecodable(f"mislabelled: the name ends in .{ending}, the content is {found}")


def check_header(image: Image.Image, options: ImageOptions) -> None:
    if image.width * image.height > options.max_pixels:
        raise Undecodable(f"{image.width}x{image.height} pixels is more than {options.max_pixels}")
    if min(image.size) < options.min_side:
        raise Undecodable(f"{image.width}x{image.height} pixels: the shorter side is less than image.min_side: {options.min_side}")
    if image.mode not in MODES:
        raise Undecodable(f"pixel mode {image.mode} is not one of {', '.join(MODES)}")
    if getattr(image, "n_frames", 1) > 1:
        raise Undecodable("the image has several frames")


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Pillow would cut 16-bit values off at 255. What it notes of the turn stays with the image."""
    if not image.mode.startswith("I;16"):
        return image
    shallow = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    shallow.getexif().update(image.getexif())
    return shallow


def turned(image: Image.Image) -> Image.Image:
    """Upright, as EXIF says. Pillow's function would copy every image, also those that are."""
    return ImageOps.exif_transpose(image) if image.getexif().get(ExifTags.Base.Orientation, 1) != 1 else image


def converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def resize(image: Image.Image, size: tuple[int, int], options: ImageOptions) -> Image.Image:
    """(width, height) pixels, as `options.resize` says."""
    if image.size == size:
        return image
    if options.resize == "fit":
        return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=(options.fill,) * len(image.getbands()))
    if options.resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    return image.resize(size, Image.Resampling.BILINEAR)


def encode(pixels: Pixels, store: str) -> bytes:
    """A PNG or JPEG file of pixels (height, width, 1 or 3)."""
    file = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    if store == "jpeg":
        image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(file, "PNG", compress_level=6)
    return file.getvalue()
