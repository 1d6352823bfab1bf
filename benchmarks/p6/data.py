"""The input of P6, P6A and P6T, seeded: photographs as JPEG files, sounds as WAV files, reviews as lines; in ten folders.

images   640 x 480 pixels, about 70 KB each
audio    three seconds of 44.1 kHz stereo, 16 bits, 529 KB each
text     a line of 20 to 200 words, some with tags, entities, odd white space and accents that are not composed; 2,000 lines a file
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from benchmarks import machine

SEED, CLASSES, VERSION = 20_261, 10, 2
WIDTH, HEIGHT = 640, 480
RATE, SECONDS = 44_100, 3
FILE_LINES = 2000
WORDS = 30_000  # different ones, by a law of Zipf
SYLLABLES = ("ba", "co", "di", "fe", "gu", "la", "mé", "ni", "or", "pa", "que", "ri", "sta", "to", "un", "ver", "wi", "xo", "yu", "zé")
Say = Callable[[str], None]


def maker(kind: str) -> Callable[[Path, int, Say], Path]:
    return partial(make, kind)


def make(kind: str, folder: Path, rows: int, say: Say) -> Path:
    """The folder with `rows` samples; made where it is missing."""
    wanted = folder / f"{kind}-{rows}"
    note, record = wanted / "_made.json", {"seed": SEED, "rows": rows, "version": VERSION, "numpy": np.__version__}
    if note.exists() and json.loads(note.read_text()) == record:
        return wanted
    say(f"making {rows:,} samples of {kind}")
    draft = folder / f".{kind}-{rows}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    for number in range(CLASSES):
        (draft / f"class-{number}").mkdir(parents=True)
    with Pool(machine.cores()) as pool:
        pool.map(partial(write, kind, draft, rows), range(-(-rows // (FILE_LINES if kind == "text" else 1))), chunksize=4)
    (draft / "_made.json").write_text(json.dumps(record))
    shutil.rmtree(wanted, ignore_errors=True)
    draft.rename(wanted)
    return wanted


def write(kind: str, folder: Path, rows: int, number: int) -> None:
    """File `number`."""
    place = folder / f"class-{number % CLASSES}"
    if kind == "text":
        lines = range(number * FILE_LINES, min(rows, (number + 1) * FILE_LINES))
        (place / f"{number:06d}.txt").write_text("".join(f"{line(one)}\n" for one in lines), encoding="utf-8")
    elif kind == "images":
        (place / f"{number:06d}.jpg").write_bytes(image(number))
    else:
        (place / f"{number:06d}.wav").write_bytes(sound(number))


def image(number: int) -> bytes:
    """Large areas with some grain, as photographs have."""
    rng = np.random.default_rng([SEED, number])
    areas = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(areas, np.int16) + grain(), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()


@lru_cache(maxsize=1)
def grain() -> np.ndarray:
    """(height, width, 3) int16, of every image."""
    return np.rint(np.random.default_rng(SEED).normal(0, 6, (HEIGHT, WIDTH, 3))).astype(np.int16)


def sound(number: int) -> bytes:
    rng = np.random.default_rng([SEED, number])
    time = np.arange(RATE) / RATE
    second = sum(rng.uniform(0.05, 0.2) * np.sin(2 * np.pi * rng.integers(100, 6000) * time) for _ in range(4))
    tones = np.tile(second + rng.normal(0, 0.005, RATE), SECONDS)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tones, 0.8 * tones], axis=1), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def line(number: int) -> str:
    """Words of which few are frequent; what a scraped page has besides."""
    rng = np.random.default_rng([SEED, number])
    words = [word(int(rank)) for rank in np.minimum(rng.zipf(1.3, rng.integers(20, 201)), WORDS)]
    words[0] = words[0].capitalize()
    if number % 4 == 0:
        words.insert(len(words) // 2, "<br /> &amp;")
    if number % 10 == 0:
        words.insert(1, "cafe\u0301\t ")
    return f"{' '.join(words)} {number}."


def word(rank: int) -> str:
    """The word of a rank: its number in syllables."""
    found = SYLLABLES[rank % len(SYLLABLES)]
    while rank := rank // len(SYLLABLES):
        found += SYLLABLES[rank % len(SYLLABLES)]
    return found


def facts(folder: Path, rows: int) -> dict[str, float]:
    files = [path for path in folder.rglob("*.*") if not path.name.startswith("_")]
    return {"files": len(files), "file_bytes": sum(path.stat().st_size for path in files)}
