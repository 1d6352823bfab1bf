"""The recipes of real images and sounds: counted again from the source, and every sample compared with it, by readers of our own."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline import config
from pipeline.console import Console
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.schema import SPLITS, Prepared, prepared
from pipeline.stage import Outcome, Request
from tests.conftest import PROJECT
from tests.prepare.conftest import rows

pytestmark = pytest.mark.spark

DATA = Path(os.environ.get("LONGHAUL_TEST_DATA", PROJECT.parent / "shared" / "data"))
SOURCES = {"mnist": "mnist-idx", "mnist_folder": "mnist", "speech": "speech"}
PLAIN = "augment={copies: 0, operations: []}"


@dataclass(frozen=True)
class Real:
    """A real source, and what prepare made of it."""

    source: Path
    outcome: Outcome

    @property
    def facts(self) -> Prepared:
        return prepared(self.outcome.manifest)

    def samples(self) -> dict[str, tuple[bytes, str]]:
        """By sample id, (packed tensor, label) of every row of every split."""
        found = {}
        for split in SPLITS:
            table = rows(self.outcome, f"data/{split}")
            for name, packed, label in zip(*(table[column].to_pylist() for column in table.column_names[:3]), strict=True):
                found[name] = (packed, self.facts.classes[label])
        return found


@pytest.fixture(scope="module")
def real(spark, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Real]:
    """Prepares a recipe of conf/ once for all tests, without copies; skips where its data is not there."""
    known: dict[str, Real] = {}

    def get(name: str) -> Real:
        source = DATA / SOURCES[name]
        if not source.exists():
            pytest.skip(f"{source} is not here; LONGHAUL_TEST_DATA names the folder of data sets")
        if name not in known:
            recipe = config.load(PROJECT / "conf" / f"{name}.yaml", [f"source.path={source}", PLAIN])
            outcome = job.run(Request(recipe, Run(tmp_path_factory.mktemp(name), name, "manual-0"), Console(None)), spark)
            known[name] = Real(source, outcome)
        return known[name]

    return get


def idx(path: Path, dimensions: int) -> np.ndarray:
    content = gzip.decompress(path.read_bytes())
    counts = np.frombuffer(content, ">u4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(counts)


def test_every_image_of_the_idx_files_is_there_to_the_byte_with_its_label(real):
    found = real("mnist")
    images = idx(found.source / "t10k-images-idx3-ubyte.gz", 3)
    labels = idx(found.source / "t10k-labels-idx1-ubyte.gz", 1)
    assert found.facts.accounting.rows_in == len(images) == 10_000
    samples = found.samples()
    unique = {(image.tobytes(), label) for image, label in zip(images, labels.tolist(), strict=True)}
    assert len(samples) == found.facts.accounting.rows_out == len(unique)
    for name, (packed, label) in samples.items():
        number = int(name.rpartition("/")[2])
        assert packed == images[number].tobytes() and label == str(labels[number])
    assert found.facts.classes == tuple("0123456789")


def test_every_png_of_the_folder_is_there_pixel_for_pixel_in_the_class_of_its_folder(real):
    found = real("mnist_folder")
    files = {path.relative_to(found.source).as_posix(): path for path in found.source.rglob("*.png")}
    samples = found.samples()
    assert len(files) == found.facts.accounting.rows_in == len(samples) == 1000
    assert found.facts.tensor.encoding == "png"
    for name, (packed, label) in samples.items():
        stored = np.asarray(Image.open(io.BytesIO(packed)))
        assert label == name.split("/")[0]
        assert np.array_equal(stored, np.asarray(Image.open(files[name]).convert("L")))
    counts: Counter[str] = sum((Counter(split.label_counts) for split in found.facts.splits.values()), Counter())
    assert counts == Counter(name.split("/")[0] for name in files)


def test_every_sound_is_there_to_the_bit_between_its_silent_ends_with_digit_and_speaker(real):
    found = real("speech")
    files = {path.name: path for path in found.source.glob("*.wav")}
    samples = found.samples()
    assert len(files) == found.facts.accounting.rows_in == len(samples) == 1200
    assert (found.facts.tensor.shape, found.facts.tensor.sample_rate) == ((6400,), 8000)
    for name, (packed, label) in samples.items():
        source, rate = soundfile.read(files[name], dtype="int16", always_2d=True)
        assert (rate, source.shape[1], label) == (8000, 1, name[0])
        loud = np.flatnonzero(np.abs(source[:, 0] / 32768) > 10 ** (-40 / 20))
        sound = source[loud[0] : loud[-1] + 1, 0]
        stored = np.frombuffer(packed, np.int16)
        before = abs(len(sound) - 6400) // 2
        expected = sound[before : before + 6400] if len(sound) >= 6400 else np.pad(sound, (before, 6400 - len(sound) - before))
        assert np.array_equal(stored, expected)
    speakers = Counter(name.split("_")[1] for name in files)
    assert Counter(value for split in SPLITS for value in rows(found.outcome, f"data/{split}")["speaker"].to_pylist()) == speakers
