"""Operations on samples (N,) float32 from -1 to 1. Pure; run in Spark's Python workers. The length stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sections.augment_media import BandMask, Gain, Noise, Speed, TimeMask, TimeShift

Samples = NDArray[np.float32]


def time_shift(samples: Samples, rng: np.random.Generator, options: TimeShift) -> Samples:
    limit = int(options.max_share * len(samples))
    by = int(rng.integers(-limit, limit + 1))
    moved = np.zeros_like(samples)
    if by >= 0:
        moved[by:] = samples[: len(samples) - by]
    else:
        moved[:by] = samples[-by:]
    return moved


def gain(samples: Samples, rng: np.random.Generator, options: Gain) -> Samples:
    return within(samples * 10 ** (rng.uniform(-options.db, options.db) / 20))


def noise(samples: Samples, rng: np.random.Generator, options: Noise) -> Samples:
    ratio = 10 ** (rng.uniform(options.min_snr_db, options.max_snr_db) / 10)
    power = float(np.square(samples, dtype=np.float64).mean())
    return within(samples + rng.normal(0.0, np.sqrt(power / ratio), len(samples)))


def speed(samples: Samples, rng: np.random.Generator, options: Speed) -> Samples:
    """Linear between samples; what a slower sound loses is its end, what follows a faster one is zeros."""
    factor = rng.uniform(1 - options.max, 1 + options.max)
    places = np.arange(len(samples)) * factor
    return within(np.interp(places, np.arange(len(samples)), samples, right=0.0))


def time_mask(samples: Samples, rng: np.random.Generator, options: TimeMask) -> Samples:
    begin, end = stretch(len(samples), rng, options.max_share)
    masked = samples.copy()
    masked[begin:end] = 0
    return masked


def band_mask(samples: Samples, rng: np.random.Generator, options: BandMask) -> Samples:
    spectrum = np.fft.rfft(samples)
    begin, end = stretch(len(spectrum), rng, options.max_share)
    spectrum[begin:end] = 0
    return within(np.fft.irfft(spectrum, len(samples)))


def stretch(length: int, rng: np.random.Generator, max_share: float) -> tuple[int, int]:
    """[begin, end) anywhere in `length`, at most that share of it long."""
    size = int(rng.uniform(0, max_share) * length)
    begin = int(rng.integers(0, length - size + 1))
    return begin, begin + size


def within(samples: NDArray[Any]) -> Samples:
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


OPERATIONS: dict[str, Callable[[Samples, np.random.Generator, Any], Samples]] = {
    "time_shift": time_shift,
    "gain": gain,
    "noise": noise,
    "speed": speed,
    "time_mask": time_mask,
    "band_mask": band_mask,
}
