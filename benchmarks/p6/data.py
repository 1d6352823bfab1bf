"""P6's input: seeded JPEG photographs of 320 x 240 pixels, or WAV sounds of a second in stereo at 44.1 kHz, in ten folders."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

SEED, CLASSES, VERSION = 20_261, 10, 1


def maker(kind: str) -> Callable[[Path, int, Callable[[str], None]], Path]:
    return partial(make, kind)


def make(kind: str, folder: Path, rows: int, say: Callable[[str], None]) -> Path:
    """The folder with `rows` files; made where it is missing."""
    wanted = folder / f"{kind}-{rows}"
    note, record = wanted / "_made.json", {"seed": SEED, "rows": rows, "version": VERSION, "numpy": np.__version__}
    if note.exists() and json.loads(note.read_text()) == record:
        return wanted
    say(f"making {rows:,} files of {kind}")
    draft = folder / f".{kind}-{rows}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    for number in range(rows):
        path = draft / f"class-{number % CLASSES}" / f"{number:06d}.{'jpg' if kind == 'images' else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(number) if kind == "images" else sound(number))
    (draft / "_made.json").write_text(json.dumps(record))
    shutil.rmtree(wanted, ignore_errors=True)
    draft.rename(wanted)
    return wanted


def image(number: int) -> bytes:
    """Large areas with some grain, as photographs have."""
    rng = np.random.default_rng([SEED, number])
    areas = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    grainy = np.clip(np.asarray(areas) + rng.normal(0, 6, (240, 320, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grainy).save(file, "JPEG", quality=88)
    return file.getvalue()


def sound(number: int) -> bytes:
    rng = np.random.default_rng([SEED, number])
    time = np.arange(44_100) / 44_100
    tones = sum(rng.uniform(0.05, 0.2) * np.sin(2 * np.pi * rng.uniform(100, 6000) * time) for _ in range(4))
    file = io.BytesIO()
    soundfile.write(
        file, np.stack([tones, 0.8 * tones], axis=1) + rng.normal(0, 0.005, (44_100, 2)), 44_100, format="WAV", subtype="PCM_16"
    )
    return file.getvalue()


def facts(folder: Path, rows: int) -> dict[str, float]:
    files = [path for path in folder.rglob("*.*") if not path.name.startswith("_")]
    return {"files": len(files), "file_bytes": sum(path.stat().st_size for path in files)}
