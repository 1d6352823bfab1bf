"""Images and sounds of the report: some train samples and their copies side by side, as they were written; sounds as spectrograms."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipeline.config import Recipe
from pipeline.prepare.augment.mixing import PARTNER
from pipeline.prepare.kinds import decode_image
from pipeline.prepare.kinds.sounds import as_floats
from pipeline.schema import SAMPLE_ID, Prepared, Tensor

MAX_SAMPLES, MAX_COPIES = 8, 5
IMAGE_PIXELS = 96  # the longer side of a picture; small ones grow to it by whole steps
FLOOR_DB = -80.0  # black in a spectrogram
FRAMES, BANDS = 160, 64  # at most, of a picture of a sound


@dataclass(frozen=True)
class Example:
    """A train sample, and then its copies, each (name, picture as a data URI)."""

    pictures: tuple[tuple[str, str], ...]


def media_examples(recipe: Recipe, facts: Prepared, files: Path) -> list[Example]:
    """The first samples of the first train file; [] of a recipe without images or sounds.

    Args:
        recipe: as it was run.
        facts: of the manifest.
        files: of the attempt.
    """
    kind = recipe.columns[recipe.content].kind if recipe.content else ""
    paths = sorted((files / "data" / "train").glob("*.parquet"))
    if kind not in ("image", "audio") or not paths:
        return []
    table = next(pq.ParquetFile(paths[0]).iter_batches(batch_size=MAX_SAMPLES * 64, columns=[SAMPLE_ID, facts.tensor.name]))
    found: dict[str, list[tuple[str, str]]] = {}
    for name, packed in zip(*(column.to_pylist() for column in table.columns), strict=True):
        source = name.rpartition("#")[0] if facts.accounting.augmented and is_copy(name, found) else name
        if source not in found and len(found) == MAX_SAMPLES:
            break
        if len(found.setdefault(source, [])) <= MAX_COPIES and not (source != name and name.endswith(PARTNER)):  # a mixture is shown once
            found[source].append((name, data_uri(picture(packed, facts.tensor))))
    return [Example(tuple(pictures)) for pictures in found.values()]


def is_copy(name: str, found: dict[str, list[tuple[str, str]]]) -> bool:
    """A sample's own name may hold a # too; its copies follow it."""
    return name.rpartition("#")[0] in found


def picture(packed: bytes, tensor: Tensor) -> Image.Image:
    if tensor.sample_rate is not None:
        return Image.fromarray(spectrogram(as_floats(packed, tensor.dtype)))
    if tensor.encoding is not None:
        shape = tensor.shape
        pixels = decode_image.decode(packed, (shape[0], shape[1], shape[2]))
    else:
        pixels = np.frombuffer(packed, np.uint8).reshape(tensor.shape)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    times = IMAGE_PIXELS // max(image.size)
    if times > 1:
        return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((IMAGE_PIXELS, IMAGE_PIXELS))
    return image


def spectrogram(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(bands, frames) grey: time to the right, low frequencies below, white is full scale, black FLOOR_DB and less."""
    from scipy.signal import stft  # of sounds alone

    window = 2 * BANDS
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    hop = max(window // 2, -(-len(samples) // FRAMES))
    _, _, found = stft(samples, nperseg=window, noverlap=max(0, window - hop), boundary=None, padded=False)
    level = 20 * np.log10(np.maximum(np.abs(found[:BANDS]) * 2, 1e-9))
    return np.asarray(np.rint(np.clip(1 - level / FLOOR_DB, 0, 1) * 255), np.uint8)[::-1]


def data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
