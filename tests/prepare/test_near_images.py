"""Images that look alike: found by their perceptual hashes, dropped by a rule, counted between the splits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import DataError
from pipeline.prepare.near_images import BITS, is_near, perceptual_hash, pieces
from pipeline.schema import prepared
from tests.prepare.conftest import rows
from tests.prepare.test_images import encoded, image_recipe

COLUMNS = {"image": {"kind": "image", "shape": [32, 32, 3]}, "label": {"kind": "category", "role": "label"}}


def scene(seed: int) -> np.ndarray:
    """Large coloured areas, as photographs have them."""
    small = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC))


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return ((perceptual_hash(one) ^ perceptual_hash(other)) & (2**BITS - 1)).bit_count()


def test_a_smaller_darker_or_recompressed_image_has_nearly_the_same_hash_and_another_scene_has_not():
    changes = []
    for seed in range(20):
        first = scene(seed)
        smaller = np.asarray(Image.fromarray(first).resize((40, 40), Image.Resampling.BILINEAR))
        compressed = np.asarray(Image.open(io.BytesIO(encoded(first, "JPEG", quality=40))))
        changes += [apart(first, smaller), apart(first, compressed), apart(first, (first * 0.8).astype(np.uint8))]
        assert apart(first, scene(seed + 100)) > 10
    assert max(changes) <= 6 and sum(change <= 4 for change in changes) >= 55


@given(st.integers(-(2**63), 2**63 - 1), st.sets(st.integers(0, 63), max_size=4))
def test_hashes_that_differ_in_few_bits_have_a_piece_in_common(hashed, flipped):
    other = hashed
    for bit in flipped:
        other ^= 1 << bit if bit < 63 else -(1 << 63)
    assert near_by_pieces(hashed, other, 4)


def near_by_pieces(one: int, other: int, distance: int) -> bool:
    """The pieces as Spark cuts them, in Python."""
    edges = [BITS * number // (distance + 1) for number in range(distance + 2)]
    mask = 2**BITS - 1
    cut = [
        [((value & mask) << begin & mask) >> (BITS - (end - begin)) for begin, end in zip(edges, edges[1:], strict=False)]
        for value in (one, other)
    ]
    return any(left == right for left, right in zip(*cut, strict=True))


@pytest.mark.spark
def test_spark_cuts_a_hash_into_pieces_that_hold_every_bit_once(spark):
    values = [0, -1, 1, -(2**63), 2**63 - 1, 0x0123456789ABCDEF]
    frame = spark.createDataFrame([(value, value ^ 0b1011) for value in values], "hash long, other long")
    found = frame.select(pieces(frame.hash, 4).alias("pieces"), is_near(frame.hash, frame.other, 3).alias("near")).collect()
    widths = [BITS * (number + 1) // 5 - BITS * number // 5 for number in range(5)]
    for value, row in zip(values, found, strict=True):
        joined = 0
        for piece, width in zip(row["pieces"], widths, strict=True):
            joined = (joined << width) | piece["bits"]
        assert joined == value & (2**BITS - 1) and row["near"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 different scenes of two classes; three look like others."""
    for number in range(60):
        path = tmp_path / "raw" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(scene(number)))
    for number in (4, 8, 12):
        (tmp_path / "raw" / "dog" / f"like-{number}.jpg").write_bytes(encoded(scene(number), "JPEG", quality=90))
    return tmp_path / "raw"


@pytest.mark.spark
def test_images_that_look_like_an_earlier_one_are_dropped_and_named(prepare, tmp_path, folder):
    outcome = prepare(image_recipe(tmp_path, folder, columns=COLUMNS, clean={"rules": ["drop_near_duplicates"]}))
    assert prepared(outcome.manifest).accounting.dropped == {"unreadable": 0, "drop_near_duplicates": 3}
    found = dict(zip(*(rows(outcome, "quarantine")[column].to_pylist() for column in ("key", "reason")), strict=True))
    assert found == {f"dog/like-{number}.jpg": f"looks like dog/{number:02d}.png" for number in (4, 8, 12)}


@pytest.mark.spark
def test_the_leak_audit_finds_images_that_look_like_a_train_row(prepare, tmp_path, folder):
    audit = {"max_near_duplicates": 1.0}
    outcome = prepare(image_recipe(tmp_path, folder, columns=COLUMNS, audit=audit))
    split_of = {
        name: split for split in ("train", "validation", "test") for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()
    }
    pairs = [(split_of[f"dog/{number:02d}.png"], split_of[f"dog/like-{number}.jpg"]) for number in (4, 8, 12)]
    expected = sum(("train" in pair) and pair != ("train", "train") for pair in pairs)
    leak = next(leak for leak in prepared(outcome.manifest).audit if leak.check == "near_duplicates")
    assert leak.rows == expected and leak.holds
    if expected:
        with pytest.raises(DataError, match="near_duplicates: "):
            prepare(image_recipe(tmp_path, folder, columns=COLUMNS, audit={"max_near_duplicates": 0.0}), force=True)
