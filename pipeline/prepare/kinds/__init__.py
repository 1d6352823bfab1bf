"""What a content column holds: a recipe's one feature that is no table column but a whole image, sound or text.

Its staged value (binary or string) becomes the one packed tensor. All that prepare has to know of a kind stands in one class here:
how a raw value is decoded, what is counted of it, how its tensor is fitted, how rows are packed, which augmentation it takes.

    image   images.Images      pixels, uint8
    audio   sounds.Sounds      samples of one channel, int16 or float32
    text    texts.Texts        token ids, int32; or the text itself
"""

from __future__ import annotations

from pipeline.prepare.kinds.base import ContentFit, Decoded, Kind, Undecodable
from pipeline.prepare.kinds.images import Images
from pipeline.prepare.kinds.sounds import Sounds
from pipeline.prepare.kinds.texts import Texts

__all__ = ["KINDS", "ContentFit", "Decoded", "Kind", "Undecodable"]

KINDS: dict[str, Kind] = {
    "image": Images(),
    "audio": Sounds(),
    "text": Texts(),
}  # by the `kind` of a recipe's column; sections/data.py CONTENT_KINDS has the same names
