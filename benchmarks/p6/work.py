"""What P6, P6A and P6T ask of every side: decode, bring to one shape, one augmented copy, write Parquet. Nothing of the pipeline is used.

A peer is started as `python -m benchmarks.p6.sides.<name> DATA OUT CORES KIND`. It leaves in OUT Parquet files with `key` (a file's path
below DATA, or a line's file and number, with #1 for the copy) and `tensor` (packed bytes); of texts also `vocabulary.json`, the id of each
word. Our own side leaves a run folder; `check.py` reads both.
"""

from __future__ import annotations

import html
import io
import re
import unicodedata
from math import gcd
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from PIL import Image
from scipy.signal import resample_poly

SHAPE = (64, 64, 3)
DEGREES, SHIFT = 15.0, 4.0
RATE, SECONDS = 16_000, 1.0
SNR_DB = (10.0, 30.0)
TAG, WORD = re.compile(r"<[^>]*>"), re.compile(r"\w+|[^\w\s]+")
VOCABULARY, MIN_COUNT, MAX_TOKENS, DROPPED = 8000, 2, 128, 0.1
PADDING_ID, UNKNOWN_ID = 0, 1


def decode(content: bytes, kind: str) -> np.ndarray:
    """(64, 64, 3) uint8, or (16000,) int16."""
    if kind == "images":
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB").resize((SHAPE[1], SHAPE[0]), Image.Resampling.BILINEAR))
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    mono = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    common = gcd(rate, RATE)
    heard = resample_poly(mono, RATE // common, rate // common)[: round(RATE * SECONDS)]
    heard = np.pad(np.clip(heard, -1, 1), (0, round(RATE * SECONDS) - len(heard)))
    return np.clip(np.rint(heard * 32768), -32768, 32767).astype(np.int16)


def augment(values: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Turned, moved and perhaps mirrored; or shifted, louder or softer, noisy."""
    if kind == "images":
        image = Image.fromarray(values).rotate(rng.uniform(-DEGREES, DEGREES), Image.Resampling.BILINEAR)
        move = (1, 0, rng.uniform(-SHIFT, SHIFT), 0, 1, rng.uniform(-SHIFT, SHIFT))
        moved = np.asarray(image.transform(image.size, Image.Transform.AFFINE, move, Image.Resampling.BILINEAR))
        return np.ascontiguousarray(moved[:, ::-1]) if rng.random() < 0.5 else moved
    samples = np.roll(values.astype(np.float32) / 32768, int(rng.integers(-1600, 1601))) * 10 ** (rng.uniform(-6, 6) / 20)
    power = float(np.square(samples, dtype=np.float64).mean())
    noisy = samples + rng.normal(0, np.sqrt(power / 10 ** (rng.uniform(*SNR_DB) / 10)), len(samples))
    return np.clip(np.rint(np.clip(noisy, -1, 1) * 32768), -32768, 32767).astype(np.int16)


def clean(line: str) -> str:
    return " ".join(unicodedata.normalize("NFC", html.unescape(TAG.sub(" ", line))).split())


def without_words(text: str, rng: np.random.Generator) -> str:
    words = text.split(" ")
    return " ".join(word for word, number in zip(words, rng.random(len(words)).tolist(), strict=True) if number >= DROPPED)


def ids_of(text: str, vocabulary: dict[str, int]) -> np.ndarray:
    """(128,) int32: an id for each word and run of punctuation, 0 behind them."""
    ids = np.full(MAX_TOKENS, PADDING_ID, np.int32)
    found = [vocabulary.get(word, UNKNOWN_ID) for word in WORD.findall(text.lower())[:MAX_TOKENS]]
    ids[: len(found)] = found
    return ids


def is_train(number: int) -> bool:
    """Of peers: which lines the vocabulary is learnt from, 80 % of them."""
    return number % 10 < 8


def write(keys: list[str], tensors: list[bytes], path: Path) -> None:
    table = pa.table({"key": keys, "tensor": pa.array(tensors, pa.binary())})
    pq.write_table(table, path, compression="snappy", use_dictionary=False, write_statistics=["key"])
