"""One file of 200 MB and ten thousand small ones pass through `pipeline prepare` in bounded memory: of all its processes together."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image

from benchmarks.measure import measure
from pipeline.manifest import read_manifest
from pipeline.schema import Accounting, prepared

SMALL, LARGE_BYTES = 10_000, 200_000_000
MAX_MIB = 2048
RATE = 8000
LABEL = {"label": {"kind": "category", "role": "label"}}


def images(raw: Path) -> dict:
    for number in range(SMALL):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)
        Image.fromarray(pixels).save(raw / "ab"[number % 2] / f"{number}.png")
    Image.new("RGB", (8_200, 8_200), (10, 200, 30)).save(raw / "a" / "large.bmp")
    column = {"kind": "image", "shape": [8, 8, 1], "image": {"max_pixels": 80_000_000}}
    return {"source": {"format": "images"}, "columns": {"content": column, **LABEL}, "model": {"name": "cnn"}}


def sounds(raw: Path) -> dict:
    for number in range(SMALL):
        soundfile.write(raw / "ab"[number % 2] / f"{number}.wav", np.random.default_rng(number).uniform(-0.5, 0.5, 800), RATE)
    block = np.sin(np.arange(1_000_000) / 20) / 2
    with soundfile.SoundFile(raw / "a" / "large.wav", "w", 48_000, 1, "PCM_32") as file:
        for _ in range(50):
            file.write(block)
    column = {"kind": "audio", "audio": {"sample_rate": RATE, "seconds": 0.1}}
    return {"source": {"format": "audio"}, "columns": {"content": column, **LABEL}, "model": {"name": "crnn"}}


def small_texts(raw: Path) -> None:
    for number in range(SMALL):
        (raw / "ab"[number % 2] / f"{number}.txt").write_text(f"a short text, number {number} of many\n")


def lines(raw: Path) -> dict:
    small_texts(raw)
    with (raw / "a" / "large.txt").open("w") as file:
        for number in range(LARGE_BYTES // 800 + 1):
            file.write(f"line {number} " + f"word{number % 997} " * 100 + "\n")
    return text_sections("line")


def documents(raw: Path) -> dict:
    small_texts(raw)
    (raw / "a" / "large.txt").write_bytes(b"one very long document " * (LARGE_BYTES // 23 + 1))
    return text_sections("file")


def text_sections(document: str) -> dict:
    column = {"kind": "text", "text": {"tokens": {"method": "words", "max_tokens": 16}}}
    return {"source": {"format": "text", "document": document}, "columns": {"content": column, **LABEL}, "model": {"name": "transformer"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "unreadable"), [(images, 0), (sounds, 0), (lines, 0), (documents, 1)], ids=["images", "sounds", "lines", "documents"]
)
def test_one_file_of_200_mb_and_ten_thousand_small_ones_pass_in_bounded_memory(tmp_path, write: Callable[[Path], dict], unreadable: int):
    raw, logs = tmp_path / "raw", tmp_path / "logs"
    for folder in (raw / "a", raw / "b", logs):
        folder.mkdir(parents=True)
    sections = write(raw)
    assert max(path.stat().st_size for path in raw.rglob("large.*")) >= LARGE_BYTES
    sections["source"]["path"] = str(raw)
    recipe = tmp_path / "large.yaml"
    recipe.write_text(yaml.safe_dump({"name": "large", **sections, "register": {"name": "large"}}, sort_keys=False))
    command = [Path(sys.executable).parent / "pipeline", "prepare", recipe, "--root", tmp_path / "runs", "--json"]
    figures = measure(command, logs, 540, {})
    said = json.loads((logs / "stdout").read_text().strip().splitlines()[-1])
    manifest = read_manifest(Path(said["folder"]) / "manifest.json")
    assert manifest is not None
    found: Accounting = prepared(manifest).accounting
    assert found.dropped["unreadable"] == unreadable and found.rows_out >= SMALL + 1 - unreadable
    assert figures["peak_pss_mib"] <= MAX_MIB, figures
