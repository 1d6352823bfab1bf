"""A sampler that models the metric as a Gaussian process and tries where the most improvement is expected.

Optuna's own needs PyTorch, a second framework of gigabytes. This one asks scikit-learn: a Matérn 5/2 kernel with a length for every
dimension, expected improvement, and trials that are still running taken to give what the model expects of them.

Source: Snoek, Larochelle & Adams 2012, arXiv:1206.2944, sections 2 and 3.1; running trials: Ginsbourger et al. 2010, "kriging believer".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

NUM_CANDIDATES = 2000  # over the whole space
NUM_NEAR = 500  # around the best point so far

Array = NDArray[np.float64]
Space = Mapping[str, BaseDistribution]


class GaussianProcessSampler(optuna.samplers.BaseSampler):
    """For one study of one metric, over a space that is known before.

    Args:
        space: every parameter's distribution.
        startup_trials: finished trials before the first model; until then points are drawn evenly.
        seed: of the draws.
    """

    def __init__(self, space: Space, startup_trials: int, seed: int) -> None:
        self.space, self.startup_trials = dict(space), startup_trials
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        known = [other for other in trials if other.state == TrialState.COMPLETE and self.space.keys() <= other.params.keys()]
        if len(known) < self.startup_trials:
            return draw(self.space, self.rng)
        running = [other for other in trials if other.state == TrialState.RUNNING and self.space.keys() <= other.params.keys()]
        sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        losses = np.asarray([sign * float(other.value or 0.0) for other in known])
        return propose(self.space, [other.params for other in known], losses, [other.params for other in running], self.rng)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return draw({param_name: param_distribution}, self.rng)[param_name]


def propose(
    space: Space, points: Sequence[Mapping[str, Any]], losses: Array, running: Sequence[Mapping[str, Any]], rng: np.random.Generator
) -> dict[str, Any]:
    """The candidate of the largest expected improvement.

    Args:
        space: D-dimensional after encoding.
        points: N finished ones.
        losses: (N,) lower is better.
        running: points without a loss yet.
        rng: draws the candidates.
    """
    known = np.stack([encode(point, space) for point in points])  # (N, D) in [0, 1]
    best = points[int(np.argmin(losses))]
    candidates = [draw(space, rng) for _ in range(NUM_CANDIDATES)] + [step_from(best, space, rng) for _ in range(NUM_NEAR)]
    encoded = np.stack([encode(candidate, space) for candidate in candidates])  # (C, D)
    model = fit(known, losses, rng)
    if running:
        pending = np.stack([encode(point, space) for point in running])
        known, losses = np.concatenate([known, pending]), np.concatenate([losses, model.predict(pending)])
        model = fit(known, losses, rng)
    gains = expected_improvement(model, encoded, float(losses.min()))
    is_new = (np.abs(encoded[:, None, :] - known[None, :, :]).max(axis=2) > 1e-9).all(axis=1)
    return candidates[int(np.argmax(np.where(is_new, gains, -1.0)))]


def fit(points: Array, losses: Array, rng: np.random.Generator) -> GaussianProcessRegressor:
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(points.shape[1], 0.5), (5e-2, 1e1), nu=2.5) + WhiteKernel(1e-3, (1e-6, 1.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=2, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound: the dimension does not matter, or there is little data
        return model.fit(points, losses)


def expected_improvement(model: GaussianProcessRegressor, points: Array, best: float) -> Array:
    """(C,) how far below `best` each point is expected to be, 0 where it is not."""
    mean, std = model.predict(points, return_std=True)
    std = np.maximum(std, 1e-12)
    gain = best - mean
    return np.asarray(gain * norm.cdf(gain / std) + std * norm.pdf(gain / std))


def draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    return {name: at(rng.random(), known) for name, known in space.items()}


def step_from(point: Mapping[str, Any], space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A point near another: each number a little off, each choice another one now and then."""
    moved = {}
    for name, known in space.items():
        if isinstance(known, CategoricalDistribution):
            moved[name] = point[name] if rng.random() < 0.8 else at(rng.random(), known)
        else:
            moved[name] = at(float(np.clip(place(point[name], known) + rng.normal(0, 0.1), 0, 1)), known)
    return moved


def encode(point: Mapping[str, Any], space: Space) -> Array:
    """(D,) each number as its place in [0, 1], each choice as one position of its own."""
    values: list[float] = []
    for name, known in space.items():
        if isinstance(known, CategoricalDistribution):
            values += [float(choice == point[name]) for choice in known.choices]
        else:
            values.append(place(point[name], known))
    return np.asarray(values)


def place(value: float, known: BaseDistribution) -> float:
    """Where a number lies between the ends of its range, 0 to 1."""
    if not isinstance(known, (FloatDistribution, IntDistribution)):
        raise TypeError(f"expected a range, received {known}")
    if known.low == known.high:
        return 0.5
    low, high, at_value = (math.log(number) if known.log else number for number in (known.low, known.high, value))
    return (at_value - low) / (high - low)


def at(share: float, known: BaseDistribution) -> Any:
    """The value at a place from 0 to 1; the inverse of `place` where there is no step."""
    if isinstance(known, CategoricalDistribution):
        return known.choices[min(int(share * len(known.choices)), len(known.choices) - 1)]
    if isinstance(known, FloatDistribution) and known.step is None:
        if known.log:
            low, high = math.log(known.low), math.log(known.high)
            return float(np.clip(math.exp(low + share * (high - low)), known.low, known.high))
        return known.low + share * (known.high - known.low)
    if not isinstance(known, (FloatDistribution, IntDistribution)):
        raise TypeError(f"expected a range or choices, received {known}")
    if known.log:  # whole numbers: each as likely as its stretch of the logarithm
        low, high = math.log(known.low - 0.5), math.log(known.high + 0.5)
        return int(np.clip(round(math.exp(low + share * (high - low))), known.low, known.high))
    step = known.step or 1
    count = math.floor((known.high - known.low) / step + 1e-9) + 1
    value = known.low + min(int(share * count), count - 1) * step
    return int(value) if isinstance(known, IntDistribution) else value
