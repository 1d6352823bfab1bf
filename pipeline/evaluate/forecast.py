"""What forecasts are worth on a whole split, over all steps of the horizon and step by step, beside forecasts that need no model.

Pure: arrays in, records out. Values are (N, horizon, targets), in the targets' raw units; metrics are over all of their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.intervals import median_interval, percentile_interval, resampled_means
from pipeline.evaluate.regression import error_ranges, metrics_of
from pipeline.scaling import unscale
from pipeline.schema import Baseline, Evaluated, Interval, StepError, WindowFacts

Values = NDArray[np.float64]

LAST, SEASON = "the last value", "the value of a season before"


@dataclass(frozen=True)
class Forecasts:
    """N windows: `true` and `predicted` (N, horizon, targets), and what each naive forecast says."""

    true: Values
    predicted: Values
    naive: Mapping[str, Values]

    @property
    def best_naive(self) -> str:
        """The one with the smallest mean absolute error, so that a model is held against the hardest."""
        return min(self.naive, key=lambda name: float(np.abs(self.naive[name] - self.true).mean()))


def naive_forecasts(history: Values, windows: WindowFacts) -> dict[str, Values]:
    """Forecasts that anybody can make: nothing changes; and, of a recipe with a season, it is as it was one season before.

    Args:
        history: (N, history, targets) raw values.
        windows: horizon, gap and season.
    """
    ahead = windows.gap + np.arange(windows.horizon)
    found = {LAST: np.repeat(history[:, -1:], windows.horizon, axis=1)}
    if windows.season is not None:
        found[SEASON] = history[:, windows.history - windows.season + ahead % windows.season]
    return found


def to_raw_units(values: NDArray[Any], shift: NDArray[Any] | None, windows: WindowFacts) -> Values:
    """(N, steps, targets) in model units -> raw units.

    Args:
        values: as the label or the first channels of the tensor are.
        shift: (N, targets, 2) offset and deviation that were taken off by the window's own history; None if none were.
        windows: the targets' scalers.
    """
    wide = values.astype(np.float64)
    if shift is not None:
        wide = wide * shift[:, None, :, 1] + shift[:, None, :, 0]
    return np.stack([unscale(wide[:, :, place], target) for place, target in enumerate(windows.targets)], axis=2)


def measure(forecasts: Forecasts, *, confidence: float = 0.95, seed: int = 0) -> Evaluated:
    """Every metric of a forecaster on one split. Intervals are percentile bootstraps of windows.

    `skill` is 1 - mae / mae of the best naive forecast: 0 for no better, 1 without error, below 0 for worse.

    Args:
        forecasts: of at least one window, finite.
        confidence: of the intervals, in (0.5, 1).
        seed: of the bootstraps; the same seed gives the same intervals.
    """
    naive = forecasts.naive[forecasts.best_naive]
    terms, naive_terms = window_terms(forecasts.true, forecasts.predicted), window_terms(forecasts.true, naive)
    drawn = resampled_means([*terms, naive_terms[0]], seed)
    values, resampled = metrics_of(*(term.mean() for term in terms)), metrics_of(*drawn[: len(terms)])
    intervals = {name: percentile_interval(float(values[name]), resampled[name], confidence) for name in values}
    value = float(skill_of(terms[0].mean(keepdims=True), naive_terms[0].mean(keepdims=True))[0])
    skill = percentile_interval(value, skill_of(drawn[0], drawn[-1]), confidence)
    baseline = {name: float(value) for name, value in metrics_of(*(term.mean() for term in naive_terms)).items()}
    return Evaluated(
        task="regression",
        rows=len(forecasts.true),
        confidence=confidence,
        metrics={**intervals, "median_absolute_error": median_error(forecasts, confidence, seed), "skill": skill},
        baseline=Baseline(
            answer=forecasts.best_naive,
            metrics={**baseline, "median_absolute_error": float(np.median(np.abs(naive - forecasts.true))), "skill": 0.0},
        ),
        ranges=error_ranges(forecasts.true.ravel(), forecasts.predicted.ravel()),
        naive={name: float(np.abs(values - forecasts.true).mean()) for name, values in forecasts.naive.items()},
        steps=step_errors(forecasts),
    )


def window_terms(true: Values, predicted: Values) -> list[Values]:
    """What the metrics are means of, one number for each window: as `regression.error_terms`, averaged over steps and targets."""
    errors, centred = predicted - true, true - np.median(true, axis=(0, 1))
    return [values.mean(axis=(1, 2)) for values in (np.abs(errors), np.square(errors), centred, np.square(centred))]


def skill_of(error: NDArray[Any], naive: NDArray[Any]) -> Values:
    """A naive forecast without any error leaves nothing to gain: 0 if the model has none either, else minus infinity cut at -1e9."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(1 - np.divide(error, naive), nan=0.0, neginf=-1e9))


def median_error(forecasts: Forecasts, confidence: float, seed: int) -> Interval:
    """The median over all numbers; its interval is as wide as for one number a window, since a window's errors go together."""
    errors, windows = np.abs(forecasts.predicted - forecasts.true).ravel(), len(forecasts.true)
    spread = np.quantile(errors, (np.arange(windows) + 0.5) / windows)
    found, value = median_interval(spread, confidence, seed), float(np.median(errors))
    return Interval(value=value, low=min(value, found.low), high=max(value, found.high))


def step_errors(forecasts: Forecasts) -> tuple[StepError, ...]:
    """Of every step of the horizon and every target, the first step first."""
    errors, naive = forecasts.predicted - forecasts.true, forecasts.naive[forecasts.best_naive] - forecasts.true
    _, horizon, targets = errors.shape
    return tuple(
        StepError(
            step=step + 1,
            target=target,
            mae=float(np.abs(errors[:, step, target]).mean()),
            rmse=float(np.sqrt(np.square(errors[:, step, target]).mean())),
            bias=float(errors[:, step, target].mean()),
            naive_mae=float(np.abs(naive[:, step, target]).mean()),
        )
        for step in range(horizon)
        for target in range(targets)
    )
