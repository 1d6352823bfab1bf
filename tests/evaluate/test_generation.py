"""Distances between sets of images: known ones, chance, copies, and a generator that makes one image only."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluate import generation as g

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(size=(400, 4)) / 2  # of total variance 1, as features are
REAL = RNG.normal(size=(150, 4)) / 2


def measured(made: np.ndarray) -> dict[str, float]:
    result = g.measure(REAL, made, TRAIN, TRAIN[:150], g.nearest_train(made, TRAIN), g.nearest_train(REAL, TRAIN))
    for interval in result.metrics.values():
        assert interval.low <= interval.value <= interval.high
    return {name: interval.value for name, interval in result.metrics.items()}


def test_the_frechet_distance_of_normal_distributions_is_the_formula():
    first, second = np.diag([4.0, 1.0]), np.asarray([[2.0, 1.0], [1.0, 2.0]])
    left = exactly(first, mean=[0.0, 0.0])
    right = exactly(second, mean=[3.0, 0.0])
    from scipy.linalg import sqrtm

    expected = 9 + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert g.frechet_distance(left, right) == pytest.approx(expected, rel=1e-6)
    assert g.frechet_distance(left, left) == pytest.approx(0, abs=1e-9)


def exactly(covariance: np.ndarray, mean: list[float], count: int = 500) -> np.ndarray:
    """Rows whose sample mean and covariance are these."""
    rows = RNG.normal(size=(count, len(mean)))
    rows = (rows - rows.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(g.covariance(rows))).T
    return rows @ np.linalg.cholesky(covariance).T + mean


def test_the_kernel_distance_is_the_unbiased_sum_over_pairs():
    left, right = REAL[:7], TRAIN[:5]
    kernel = lambda x, y: (x @ y + 1) ** 3  # noqa: E731
    own = [
        sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j) / (len(rows) * (len(rows) - 1))
        for rows in (left, right)
    ]
    across = sum(kernel(a, b) for a in left for b in right) / (len(left) * len(right))
    assert g.kernel_distance(left, right) == pytest.approx(own[0] + own[1] - 2 * across)


def test_real_images_in_the_place_of_generated_ones_are_as_good_as_the_baseline():
    unseen = np.random.default_rng(5).normal(size=(150, 4)) / 2
    found = measured(unseen)
    assert found["frechet_distance"] < 0.1 and abs(found["kernel_distance"]) < 0.1
    assert found["coverage"] > 0.85 and found["novelty"] == pytest.approx(1, abs=0.25)


def test_copies_of_train_images_have_no_novelty_and_all_else():
    result = g.measure(REAL, TRAIN[150:300], TRAIN, TRAIN[:150], g.nearest_train(TRAIN[150:300], TRAIN), g.nearest_train(REAL, TRAIN))
    assert result.metrics["novelty"].value == result.baseline.metrics["novelty"] == 0
    assert result.metrics["coverage"].value > 0.85 and result.metrics["frechet_distance"].value < 0.1


def test_one_image_again_and_again_covers_little_and_is_as_far_as_the_variance():
    found = measured(np.tile(TRAIN.mean(axis=0), (150, 1)))
    assert found["coverage"] < 0.2 and found["frechet_distance"] == pytest.approx(1, abs=0.15)


def test_a_jackknife_interval_is_as_wide_as_new_samples_differ():
    generator = np.random.default_rng(3)
    pairs = [(generator.normal(size=(120, 4)) / 2, generator.normal(size=(120, 4)) / 2 + 0.2) for _ in range(60)]
    values = [g.kernel_distance(*pair) for pair in pairs]
    intervals = [g.jackknife(g.kernel_distance, *pair, 0.95) for pair in pairs[:20]]
    widths = [interval.high - interval.low for interval in intervals]
    assert np.mean(widths) / (2 * 1.96 * np.std(values)) == pytest.approx(1, abs=0.35)


def test_neighbours_are_found_block_by_block_as_at_once(monkeypatch):
    at_once = g.nearest_train(REAL, TRAIN)
    monkeypatch.setattr(g, "BLOCK_CELLS", 7 * len(TRAIN))
    by_blocks = g.nearest_train(REAL, TRAIN)
    np.testing.assert_array_equal(at_once.index, by_blocks.index)
    np.testing.assert_allclose(at_once.distance, np.linalg.norm(REAL - TRAIN[at_once.index], axis=1))
    assert (g.is_covered(REAL, TRAIN[:150]) == g.is_covered(REAL, TRAIN[:150])).all()


def test_features_of_train_images_have_total_variance_one_and_keep_distances_of_small_images():
    images = RNG.integers(0, 255, (90, 4, 4, 1)).astype(np.uint8)
    project = g.fit_projection(images)
    features = project(images)
    assert features.shape == (90, 16) and features.var(axis=0).sum() == pytest.approx(1)
    flat = images.reshape(90, -1).astype(float)
    ratio = np.linalg.norm(features[0] - features[1:], axis=1) / np.linalg.norm(flat[0] - flat[1:], axis=1)
    np.testing.assert_allclose(ratio, ratio[0])
