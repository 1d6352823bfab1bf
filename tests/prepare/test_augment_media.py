"""Augmented images and sounds: each operation changes what it says and nothing else, and is the same each time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.prepare.augment import OPERATIONS, augment, generator
from pipeline.prepare.augment.image import warp
from pipeline.sections.augment import OPERATIONS_OF, Augment, AugmentOperation
from pipeline.sections.augment_media import BandMask, Cutout, Noise, TimeMask, TimeShift

IMAGE = {
    "rotate": {"degrees": 20},
    "translate": {"pixels": 3},
    "flip_horizontal": {"share": 1.0},
    "flip_vertical": {"share": 1.0},
    "zoom": {"max": 0.5},
    "shear": {"degrees": 20},
    "crop": {"min_share": 0.5},
    "brightness": {"max": 0.5},
    "contrast": {"max": 0.5},
    "pixel_noise": {"std": 10},
    "blur": {"radius": 2},
    "cutout": {"share": 0.5},
}
AUDIO = {
    "time_shift": {"max_share": 0.3},
    "gain": {"db": 12},
    "noise": {"min_snr_db": 0, "max_snr_db": 20},
    "speed": {"max": 0.3},
    "time_mask": {"max_share": 0.5},
    "band_mask": {"max_share": 0.5},
}
PIXELS = np.random.default_rng(0).integers(40, 200, (12, 16, 3), np.uint8)
TONE = (0.5 * np.sin(2 * math.pi * 440 * np.arange(4000) / 8000)).astype(np.float32)


def test_every_operation_that_a_recipe_may_name_is_tried_here():
    assert {*IMAGE, "mixup"} == set(OPERATIONS_OF["image"]) == {*OPERATIONS["image"], "mixup"}  # mixup: test_mixup.py
    assert {*AUDIO, "mixup"} == set(OPERATIONS_OF["audio"]) == {*OPERATIONS["audio"], "mixup"}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("image", name) for name in IMAGE), *(("audio", name) for name in AUDIO)], ids=lambda value: value
)
def test_an_operation_makes_the_same_copy_each_time_others_for_others_and_leaves_its_input_alone(kind, name):
    values, arguments = (PIXELS, IMAGE[name]) if kind == "image" else (TONE, AUDIO[name])
    operation, before = AugmentOperation.model_validate({name: arguments}), values.copy()
    copies = [augment(values, kind, [operation], seed=1, sample_id=sample, copy=copy) for sample, copy in ("a1", "a1", "a2", "b1")]
    assert np.array_equal(values, before)
    assert {(copy.shape, copy.dtype) for copy in copies} == {(values.shape, values.dtype)}
    assert copies[0].tobytes() == copies[1].tobytes() != values.tobytes()
    if not name.startswith("flip"):
        assert len({copy.tobytes() for copy in copies}) == 3


def test_what_is_drawn_for_an_operation_depends_on_its_place_alone():
    rotate = AugmentOperation.model_validate({"rotate": {"degrees": 20}})
    noise = AugmentOperation.model_validate({"pixel_noise": {"std": 9}})
    alone = augment(PIXELS, "image", [rotate], seed=0, sample_id="a", copy=1)
    first_of_two = augment(alone, "image", [noise], seed=0, sample_id="a", copy=1)
    assert np.array_equal(augment(PIXELS, "image", [rotate], seed=0, sample_id="a", copy=1), alone)
    assert not np.array_equal(augment(PIXELS, "image", [rotate, noise], seed=0, sample_id="a", copy=1), first_of_two)


def test_flips_mirror_and_twice_is_nothing():
    rng = np.random.default_rng(0)
    for name, expected in (("flip_horizontal", PIXELS[:, ::-1]), ("flip_vertical", PIXELS[::-1])):
        operation = AugmentOperation.model_validate({name: {"share": 1.0}})
        flipped = OPERATIONS["image"][name](PIXELS, rng, operation.arguments)
        assert np.array_equal(flipped, expected)
        assert np.array_equal(OPERATIONS["image"][name](flipped, rng, operation.arguments), PIXELS)


def test_a_warp_by_half_makes_a_square_twice_as_large_around_the_centre():
    pixels = np.zeros((20, 20, 1), np.uint8)
    pixels[8:12, 8:12] = 200
    grown = warp(pixels, ((0.5, 0.0), (0.0, 0.5)))
    assert (grown[7:13, 7:13] == 200).all() and grown[:5].max() == 0 and grown.sum() == pytest.approx(4 * pixels.sum(), rel=0.05)


@given(st.integers(0, 200))
def test_a_cutout_changes_a_square_at_most_and_nothing_else(seed):
    cut = OPERATIONS["image"]["cutout"](PIXELS, np.random.default_rng(seed), Cutout(share=0.5))
    changed = (cut != PIXELS).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert 0 < changed.sum() <= 36 and (cut[changed] == 0).all()
    assert changed.sum() == len(rows) * len(columns)


@given(st.integers(0, 200))
def test_a_shift_moves_samples_and_brings_zeros_in(seed):
    ramp = np.arange(1, 101, dtype=np.float32) / 200
    moved = OPERATIONS["audio"]["time_shift"](ramp, np.random.default_rng(seed), TimeShift(max_share=0.2))
    kept = moved[moved != 0]
    assert len(kept) >= 80 and np.isin(kept, ramp).all() and (np.diff(kept) > 0).all()


@given(st.floats(-5, 40), st.integers(0, 100))
def test_noise_has_the_ratio_that_is_asked_for(ratio, seed):
    quiet = TONE * np.float32(0.01)  # so that nothing is cut off
    noisy = OPERATIONS["audio"]["noise"](quiet, np.random.default_rng(seed), Noise(min_snr_db=ratio, max_snr_db=ratio))
    measured = 10 * math.log10(np.square(quiet, dtype=float).mean() / np.square((noisy - quiet), dtype=float).mean())
    assert measured == pytest.approx(ratio, abs=0.5)


@given(st.integers(0, 100))
def test_masks_take_a_part_out_and_leave_the_rest(seed):
    rng = np.random.default_rng(seed)
    masked = OPERATIONS["audio"]["time_mask"](TONE + 0.01, rng, TimeMask(max_share=0.3))
    assert (masked == 0).sum() <= 0.3 * len(TONE) and np.array_equal(masked[masked != 0], (TONE + np.float32(0.01))[masked != 0])
    white = rng.normal(0, 0.05, 4000).astype(np.float32)
    before = np.abs(np.fft.rfft(white))
    after = np.abs(np.fft.rfft(OPERATIONS["audio"]["band_mask"](white, rng, BandMask(max_share=0.3))))
    is_gone = after < 1e-3
    assert is_gone.mean() <= 0.31 and np.allclose(before[~is_gone], after[~is_gone], atol=1e-3)


def test_a_seed_gives_numbers_of_its_own_for_each_sample_copy_and_operation():
    drawn = [generator(seed, sample, copy, place).random() for seed in (0, 1) for sample in "ab" for copy in (1, 2) for place in (0, 1)]
    assert len(set(drawn)) == 16


@given(st.lists(st.integers(1, 500), min_size=2, max_size=8), st.integers(1, 30))
def test_balanced_classes_come_within_half_of_the_largest_unless_copies_run_out(counts, most):
    copies = Augment.model_validate({"balance": {"max_copies": most}}).copies_of(counts)
    for count, number in zip(counts, copies, strict=True):
        assert 0 <= number <= most
        total = count * (1 + number)
        assert number == most or abs(total - max(counts)) <= count / 2 + 1e-9


@pytest.mark.parametrize(
    "section",
    [
        {"copies": 2},
        {"operations": [{"rotate": {"degrees": 3}}]},
        {"copies": 2, "balance": {"max_copies": 3}},
        {"copies": 4, "operations": [{"rotate": {"degrees": 3}}], "balance": {"max_copies": 3}},
        {"copies": 1, "operations": [{"noise": {"min_snr_db": 9, "max_snr_db": 3}}]},
        {"copies": 1, "operations": [{"crop": {"min_share": 1.5}}]},
    ],
)
def test_what_would_do_nothing_or_cannot_be_is_refused(section):
    with pytest.raises(ValidationError):
        Augment.model_validate(section)
