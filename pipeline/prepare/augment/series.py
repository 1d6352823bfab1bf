"""Operations on a window's past and its label. Pure; run in Spark's Python workers.

Both are in model units: (history, P) float32 of the number channels that are known up to the forecast, targets first, and
(horizon, targets) float32. What is known of the horizon, categories, and what never changes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.sections.augment_series import Jitter, Magnify, WindowSlice


class Sample(NamedTuple):
    past: NDArray[np.float32]
    label: NDArray[np.float32]


def jitter(sample: Sample, rng: np.random.Generator, options: Jitter) -> Sample:
    """Normal noise on every value of the past; the label is what it was."""
    noise = rng.normal(0.0, options.std, sample.past.shape)
    return Sample((sample.past + noise).astype(np.float32), sample.label)


def magnify(sample: Sample, rng: np.random.Generator, options: Magnify) -> Sample:
    """Every channel times a factor of its own, a target's label times the same: the forecast grows with what it is made from.

    Source: Um et al. 2017, 10.1145/3136755.3136817, scaling.
    """
    factors = np.exp(rng.normal(0.0, options.std, sample.past.shape[1])).astype(np.float32)
    return Sample(sample.past * factors, sample.label * factors[: sample.label.shape[1]])


def window_slice(sample: Sample, rng: np.random.Generator, options: WindowSlice) -> Sample:
    """Only the latest part of the past, at least `share` of it; what was before is held at its first value. The label stays right.

    Source: Le Guennec et al. 2016, window slicing, but without stretching, which would change how fast time goes.
    """
    steps = len(sample.past)
    kept = max(1, round(steps * rng.uniform(options.share, 1.0)))
    past = sample.past.copy()
    past[: steps - kept] = past[steps - kept]
    return Sample(past, sample.label)


OPERATIONS: dict[str, Callable[[Sample, np.random.Generator, Any], Sample]] = {
    "jitter": jitter,
    "magnify": magnify,
    "window_slice": window_slice,
}
