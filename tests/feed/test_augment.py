"""On-line augmentation: the same numbers on any number of ranks, others in every epoch, and each operation does what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.errors import ConfigError
from pipeline.feed.augment import beta, make
from pipeline.feed.dataset import TrainingFeed
from pipeline.feed.noise import normal, uniform
from pipeline.feed.plan import Plan, Position
from pipeline.schema import Tensor
from pipeline.sections.feed import Feed, FeedAugment

pytestmark = pytest.mark.tf

IMAGE = Tensor(name="features", dtype="uint8", shape=(8, 6, 3))
SOUND = Tensor(name="features", dtype="int16", shape=(64,))
SPECTRUM = Tensor(name="features", dtype="float32", shape=(20, 12))
TOKENS = Tensor(name="features", dtype="int32", shape=(30,))
SERIES = Tensor(name="features", dtype="float32", shape=(24, 3))
EVERYTHING = {
    "images": (
        IMAGE,
        FeedAugment(flip="both", rotate_degrees=20, translate=0.2, zoom=0.2, contrast=0.3, cutout=0.3, mixup=0.4),
    ),
    "sound": (SOUND, FeedAugment(shift=0.2, noise=0.1)),
    "spectrum": (SPECTRUM, FeedAugment(time_mask=6, frequency_mask=4)),
    "text": (TOKENS, FeedAugment(token_dropout=0.2)),
    "series": (SERIES, FeedAugment(jitter=0.1)),
}
IDS, EPOCH = tf.range(16, dtype=tf.int64), tf.constant(0, tf.int64)


def rows_of(tensor, count=16):
    return np.random.default_rng(1).integers(1, 120, (count, *tensor.shape)).astype(tensor.dtype)


def changed(tensor, settings, rows=None, ids=IDS, epoch=0, rows_per_lane=4):
    rows = rows_of(tensor) if rows is None else rows
    augment = make(settings, tensor, rows_per_lane)
    label, weight = tf.range(len(rows), dtype=tf.int64), tf.ones(len(rows))
    return [part.numpy() for part in augment(tf.constant(rows), label, weight, ids, tf.constant(epoch, tf.int64))]


def split_of(write_split, tensor):
    reader = write_split([40, 24, 33])
    for index, count in enumerate(reader.rows_per_file):
        path = reader.folder / reader.files[index].path
        table = pq.read_table(path)
        values = [value.tobytes() for value in rows_of(tensor, count)]
        pq.write_table(table.set_column(table.column_names.index("features"), "features", pa.array(values, pa.binary())), path)
    return dataclasses.replace(reader, tensor=tensor)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_four_ranks_see_the_numbers_of_one_and_a_resumed_epoch_too(write_split, kind):
    tensor, settings = EVERYTHING[kind]
    reader = split_of(write_split, tensor)
    plan = Plan(reader.rows_per_file, 16, 4, 17)

    def batches(size, start=None):
        feeds = [TrainingFeed(reader, plan, Feed(augment=settings), rank, size, start or Position(1, 0), 2) for rank in range(size)]
        ranks = [[[part.numpy() for part in batch] for batch in feed.epoch(1)] for feed in feeds]
        return [[by_label(rank) for rank in step] for step in zip(*ranks, strict=True)]

    def by_label(batch):
        """Bytes of every row with its label and weight: a set, since mixup appends a rank's second half."""
        return {(row.tobytes(), int(label), float(weight)) for row, label, weight in zip(*batch, strict=True)}

    one = [set.union(*step) for step in batches(1)]
    assert [set.union(*step) for step in batches(4)] == one
    assert [set.union(*step) for step in batches(2, Position(1, 2))] == one[2:]


@pytest.mark.parametrize("kind", EVERYTHING)
def test_every_epoch_and_sample_is_changed_otherwise_and_a_sample_alike_in_any_batch(kind):
    tensor, settings = EVERYTHING[kind]
    settings = settings.model_copy(update={"mixup": None})
    same = np.repeat(rows_of(tensor, 1), 16, axis=0)
    first, second = changed(tensor, settings, same)[0], changed(tensor, settings, same, epoch=1)[0]
    assert first.dtype == tensor.dtype and first.shape == same.shape
    assert len({row.tobytes() for row in first}) > 12  # of 16 samples
    assert sum(np.array_equal(left, right) for left, right in zip(first, second, strict=True)) < 4
    turned = changed(tensor, settings, same, ids=tf.reverse(IDS, [0]))[0]
    assert np.array_equal(turned[::-1], first)


def test_uniform_numbers_are_uniform_and_apart_and_normal_ones_normal():
    ids = tf.range(2000, dtype=tf.int64)
    numbers = uniform(ids, EPOCH, 3, 0, 50).numpy()
    assert 0 <= numbers.min() and numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 50  # chi square, 19 degrees: 50 has a chance of 1e-4, and the numbers are always these
    for other in (
        uniform(ids, EPOCH + 1, 3, 0, 50),
        uniform(ids, EPOCH, 4, 0, 50),
        uniform(ids, EPOCH, 3, 1, 50),
        uniform(ids + 1, EPOCH, 3, 0, 50),
    ):
        assert abs(np.corrcoef(numbers.ravel(), other.numpy().ravel())[0, 1]) < 0.01
    bell = normal(ids, EPOCH, 3, 0, 50).numpy()
    assert (
        abs(bell.mean()) < 0.01
        and bell.std() == pytest.approx(1, abs=0.01)
        and (np.abs(bell) < 1.96).mean() == pytest.approx(0.95, abs=0.003)
    )


def test_flips_mirror_whole_images_half_of_the_time():
    rows = rows_of(IMAGE, 400)
    flipped = changed(IMAGE, FeedAugment(flip="horizontal"), rows, tf.range(400, dtype=tf.int64))[0]
    is_mirrored = [np.array_equal(after, before[:, ::-1]) for before, after in zip(rows, flipped, strict=True)]
    is_same = [np.array_equal(after, before) for before, after in zip(rows, flipped, strict=True)]
    assert sum(is_mirrored) + sum(is_same) == 400 and 150 < sum(is_mirrored) < 250


def test_an_image_turned_by_nothing_stays_and_moves_go_as_far_as_they_may():
    rows = np.zeros((16, 21, 21, 1), np.uint8)
    rows[:, 10, 10] = 255
    tensor = Tensor(name="x", dtype="uint8", shape=(21, 21, 1))
    still = changed(tensor, FeedAugment(rotate_degrees=30, zoom=0.2), rows)[0]
    assert (still[:, 10, 10] > 150).all()  # the centre stays the centre
    moved = changed(tensor, FeedAugment(translate=0.2), rows)[0]
    places = np.array([np.unravel_index(image.argmax(), image.shape)[:2] for image in moved[..., 0]])
    assert np.abs(places - 10).max() <= 5 and len(np.unique(places, axis=0)) > 8


def test_cutout_and_masks_clear_what_they_say_and_nothing_else():
    holes = changed(IMAGE, FeedAugment(cutout=0.5))[0] == 0
    assert (holes.sum(axis=(1, 2, 3)) == 3 * 3 * 3).all()  # a square of half the shorter side, three channels
    rows = rows_of(SPECTRUM)
    masked = changed(SPECTRUM, FeedAugment(time_mask=6), rows)[0]
    frames = (masked == 0).all(axis=2)
    assert frames.sum(axis=1).max() <= 6 and frames.sum() > 0 and np.array_equal(masked[~frames], rows[~frames])


def test_dropped_tokens_are_about_their_share_and_never_padding():
    rows = rows_of(TOKENS, 400)
    rows[:, 20:] = 0
    dropped = changed(TOKENS, FeedAugment(token_dropout=0.25, dropped_token=3), rows, tf.range(400, dtype=tf.int64))[0]
    assert (dropped[:, 20:] == 0).all()
    assert (dropped[:, :20] != rows[:, :20]).mean() == pytest.approx(0.25, abs=0.02)
    assert set(dropped[dropped != rows].tolist()) == {3}


def test_noise_is_a_share_of_a_sounds_own_loudness_and_shifts_keep_every_value():
    quiet = np.random.default_rng(0).normal(0, 1000, (16, 4000)).astype(np.int16)
    tensor = Tensor(name="x", dtype="int16", shape=(4000,))
    added = changed(tensor, FeedAugment(noise=0.1), quiet)[0].astype(float) - quiet
    assert added.std() == pytest.approx(100, rel=0.05)
    assert np.array_equal(np.sort(changed(tensor, FeedAugment(shift=0.3), quiet)[0], axis=1), np.sort(quiet, axis=1))


def test_mixup_gives_every_mixture_both_labels_with_weights_that_add_up():
    rows = rows_of(IMAGE).astype(np.float32)
    tensor = Tensor(name="x", dtype="float32", shape=IMAGE.shape)
    mixed, label, weight = changed(tensor, FeedAugment(mixup=0.4), rows)
    assert mixed.shape[0] == label.shape[0] == 32 and np.array_equal(mixed[:16], mixed[16:])
    assert weight.sum() == pytest.approx(32)
    partner = np.arange(16).reshape(4, 4)[:, [1, 2, 3, 0]].ravel()  # within lanes of 4
    assert np.array_equal(label[:16], np.arange(16)) and np.array_equal(label[16:], partner)
    share = weight[:16] / 2
    wide = share[:, None, None, None]
    np.testing.assert_allclose(mixed[:16], rows * wide + rows[partner] * (1 - wide), rtol=1e-4, atol=1e-3)


def test_mixing_shares_follow_the_beta_distribution():
    shares = beta(uniform(tf.range(20_000, dtype=tf.int64), EPOCH, 0, 0, 1)[:, 0], 0.4).numpy()
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(0.25 / 1.8, abs=0.003)  # of Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize(
    ("settings", "tensor"),
    [
        (FeedAugment(flip="both"), SERIES),
        (FeedAugment(shift=0.1), IMAGE),
        (FeedAugment(frequency_mask=3), SOUND),
        (FeedAugment(token_dropout=0.1), SERIES),
        (FeedAugment(jitter=0.1), TOKENS),
        (FeedAugment(mixup=0.2), TOKENS),
    ],
)
def test_what_does_not_go_with_the_rows_is_refused_by_its_key(settings, tensor):
    with pytest.raises(ConfigError, match=rf"feed.augment.{settings.operations[0]} needs .* Received {tensor.dtype}"):
        make(settings, tensor, 4)


def test_mixup_needs_two_rows_in_a_lane():
    with pytest.raises(ConfigError, match="feed.augment.mixup needs two rows or more of a batch in each lane"):
        make(FeedAugment(mixup=0.2), IMAGE, 1)
