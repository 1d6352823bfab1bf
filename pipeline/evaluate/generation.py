"""What a generator's images are worth beside a split's real ones, with intervals. Pure: arrays in, records out.

Images are compared by features: their principal components, fitted on train images and scaled so that the total variance of the train
images is 1. No network's opinion is in them, so figures can be computed by anybody, and say little about what a person would see first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from pipeline.evaluate.intervals import Floats, percentile_interval, resampled_medians, wilson_interval
from pipeline.schema import Baseline, Evaluated, Interval

COMPONENTS = 64
NEIGHBOURS = 5  # of coverage, as in its source
GROUPS = 20  # left out in turn, for the intervals of distances between sets
BLOCK_CELLS = 1 << 24  # distances held at once
TRAIN_IMAGES = "as many train images"

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Images (N, H, W, C) -> (N, K) features."""

    mean: Floats  # (F,)
    components: Floats  # (F, K)

    def __call__(self, images: NDArray[Any]) -> Features:
        flat = images.reshape(len(images), -1).astype(np.float64)
        return np.asarray((flat - self.mean) @ self.components)


@dataclass(frozen=True)
class Neighbours:
    """Of each image, the nearest train image."""

    index: NDArray[np.int64]
    distance: Floats


def fit_projection(images: NDArray[Any], seed: int = 0) -> Projection:
    """Of train images (N, H, W, C), at least two of them different."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    found = PCA(min(COMPONENTS, *flat.shape), svd_solver="full" if flat.shape[1] <= 1024 else "randomized", random_state=seed).fit(flat)
    total = float(flat.var(axis=0).sum()) or 1.0
    return Projection(found.mean_, found.components_.T / math.sqrt(total))


def measure(
    real: Features,
    made: Features,
    train: Features,
    copies: Features,
    nearest: Neighbours,
    nearest_real: Neighbours,
    *,
    confidence: float = 0.95,
) -> Evaluated:
    """Every metric of a generator.

    Args:
        real: (N, K) of the test images.
        made: (N, K) of as many generated ones.
        train: (T, K) of train images, which `nearest` are among.
        copies: (N, K) of as many train images: what a generator that repeats them would make.
        nearest: of the generated images.
        nearest_real: of the test images.
        confidence: of the intervals.
    """
    copied = nearest_train(copies, train)
    values = {
        "frechet_distance": frechet_distance(real, copies),
        "kernel_distance": kernel_distance(real, copies),
        "coverage": float(is_covered(real, copies).mean()),
        "novelty": novelty(copied.distance, nearest_real.distance),
    }
    covered = is_covered(real, made)
    return Evaluated(
        task="gan",
        rows=len(real),
        confidence=confidence,
        metrics={
            "frechet_distance": jackknife(frechet_distance, real, made, confidence, least=0.0),
            "kernel_distance": jackknife(kernel_distance, real, made, confidence),
            "coverage": wilson_interval(int(covered.sum()), len(covered), confidence),
            "novelty": novelty_interval(nearest.distance, nearest_real.distance, confidence),
        },
        baseline=Baseline(answer=TRAIN_IMAGES, metrics=values),
    )


def frechet_distance(real: Features, made: Features) -> float:
    """Squared distance of the two normal distributions with the sets' means and covariances: 0 for the same, about 1 for one grey image.

    |m - n|² + tr(A + B - 2 (A B)^½). Source: Heusel et al. 2017, arXiv:1706.08500, equation 6, there of a network's features.
    """
    first, second = covariance(real), covariance(made)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()  # of A^½ B A^½, which has the eigenvalues of A B
    distance = np.square(real.mean(axis=0) - made.mean(axis=0)).sum() + np.trace(first) + np.trace(second) - 2 * cross
    return float(max(distance, 0.0))


def covariance(rows: Features) -> Floats:
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred.T @ centred / max(len(rows) - 1, 1))


def kernel_distance(real: Features, made: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y + 1)³, unbiased: around 0 for two sets of one distribution, below it by chance.

    Source: Bińkowski et al. 2018, arXiv:1801.01401, section 4, there of a network's features.
    """

    def between(left: Features, right: Features, *, is_same: bool) -> float:
        total = sum(float(((block @ right.T + 1) ** 3).sum()) for block in blocks(left, len(right)))
        if not is_same:
            return total / (len(left) * len(right))
        own = float(((np.square(left).sum(axis=1) + 1) ** 3).sum())
        return (total - own) / (len(left) * (len(left) - 1))

    return between(real, real, is_same=True) + between(made, made, is_same=True) - 2 * between(real, made, is_same=False)


def is_covered(real: Features, made: Features) -> NDArray[np.bool_]:
    """(N,) whether a generated image is nearer to a real one than its NEIGHBOURS-th real neighbour is: what is not covered is not made.

    Source: Naeem et al. 2020, arXiv:2002.09797, equation 4.
    """
    near = min(NEIGHBOURS, len(real) - 1)
    found = []
    for block in blocks(real, len(real) + len(made)):
        radius = np.partition(squared_distances(block, real), near, axis=1)[:, near]  # the nearest is itself
        found.append(squared_distances(block, made).min(axis=1) <= radius)
    return np.concatenate(found)


def nearest_train(images: Features, train: Features) -> Neighbours:
    index, distance = [], []
    for block in blocks(images, len(train)):
        squared = squared_distances(block, train)
        index.append(squared.argmin(axis=1))
        distance.append(np.sqrt(squared.min(axis=1)))
    return Neighbours(np.concatenate(index), np.concatenate(distance))


def squared_distances(left: Features, right: Features) -> Floats:
    """(L, R); what is nearer than rounding is 0."""
    sizes = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)[None, :]
    found = sizes - 2 * left @ right.T
    return np.where(found > 1e-12 * sizes, found, 0.0)


def blocks(rows: Features, width: int) -> Iterator[Features]:
    size = max(1, BLOCK_CELLS // max(width, 1))
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def novelty(made: Floats, real: Floats) -> float:
    """How far generated images are from their nearest train image, as a share of how far unseen real ones are: medians. 0 for copies."""
    return float(np.median(made)) / max(float(np.median(real)), 1e-12)


def novelty_interval(made: Floats, real: Floats, confidence: float, seed: int = 0) -> Interval:
    """Percentile bootstrap of both sets."""
    drawn = resampled_medians(made, seed) / np.maximum(resampled_medians(real, seed + 1), 1e-12)
    return percentile_interval(novelty(made, real), drawn, confidence)


def jackknife(
    distance: Callable[[Features, Features], float],
    real: Features,
    made: Features,
    confidence: float,
    *,
    least: float = -math.inf,
    seed: int = 0,
) -> Interval:
    """A distance of two sets, and how far the luck of both could move it: a GROUPS-th of each is left out in turn.

    A bootstrap would not do: rows that are there twice make sets look narrower than they are.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, sections 11.5 and 11.6.
    """
    value, groups = distance(real, made), min(GROUPS, len(real) // 2)
    if groups < 2:
        return Interval(value=value, low=least if least > -math.inf else value, high=value)
    generator = np.random.default_rng(seed)
    turns = [generator.permutation(len(rows)) % groups for rows in (real, made)]
    without = np.asarray([distance(real[turns[0] != group], made[turns[1] != group]) for group in range(groups)])
    error = math.sqrt((groups - 1) / groups * float(np.square(without - without.mean()).sum()))
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    return Interval(value=value, low=max(least, value - half), high=value + half)
