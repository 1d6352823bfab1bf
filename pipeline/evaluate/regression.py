"""What a regressor's predictions are worth on a whole split, with intervals, in the label's raw unit. Pure: arrays in, records out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.evaluate.intervals import Floats, median_interval, percentile_interval, resampled_means
from pipeline.scaling import unscale
from pipeline.schema import Baseline, ErrorRange, Evaluated, NumberScaler, Prepared

NUM_RANGES = 10
NO_SPREAD = 1e-12  # a variance of this share of the mean square is rounding


def measure(true: Floats, predicted: Floats, *, mean: float, confidence: float = 0.95, seed: int = 0) -> Evaluated:
    """Every metric of a regressor on one split.

    Args:
        true: (N,) labels in their raw unit, finite, N >= 1.
        predicted: (N,) in the same unit, finite.
        mean: of the train rows' labels, what the baseline always answers.
        confidence: of the intervals, in (0.5, 1): percentile bootstraps of rows.
        seed: of the bootstraps; the same seed gives the same intervals.
    """
    terms = error_terms(true, predicted)
    values, resampled = metrics_of(*(term.mean() for term in terms)), metrics_of(*resampled_means(terms, seed))
    intervals = {name: percentile_interval(float(values[name]), resampled[name], confidence) for name in values}
    always = np.full_like(true, mean)
    constant = {name: float(value) for name, value in metrics_of(*(term.mean() for term in error_terms(true, always))).items()}
    return Evaluated(
        task="regression",
        rows=len(true),
        confidence=confidence,
        metrics={**intervals, "median_absolute_error": median_interval(terms[0], confidence, seed)},
        baseline=Baseline(answer=mean, metrics={**constant, "median_absolute_error": float(np.median(np.abs(always - true)))}),
        ranges=error_ranges(true, predicted),
    )


def error_terms(true: Floats, predicted: Floats) -> list[Floats]:
    """What the metrics are means of, (N,) each: |error|, error², c, c², where c is the distance of a label from the median label.

    The variance of the labels is mean(c²) - mean(c)². It loses no digits, because the median is within a standard deviation of the mean.
    """
    errors, centred = predicted - true, true - np.median(true)
    return [np.abs(errors), np.square(errors), centred, np.square(centred)]


def metrics_of(absolute: Any, squared: Any, centred: Any, centred_squared: Any) -> dict[str, Any]:
    """Metrics from the means of `error_terms`: numbers, or (R,) arrays of R resamples.

    r2 is 1 - mean squared error / variance of the labels. Labels that are all equal have none; as scikit-learn's, it is then 1 without
    error and 0 with any.
    """
    variance = centred_squared - np.square(centred)
    varies = variance > NO_SPREAD * centred_squared
    ratio = np.divide(squared, variance, out=np.where(squared > 0, 1.0, 0.0), where=varies)
    return {"mae": absolute, "rmse": np.sqrt(squared), "r2": 1 - ratio}


def error_ranges(true: Floats, predicted: Floats) -> tuple[ErrorRange, ...]:
    """Errors by tenths of the rows, from the lowest labels to the highest; equal labels are never parted, so there may be fewer."""
    starts = np.unique(np.quantile(true, np.arange(NUM_RANGES) / NUM_RANGES))
    index = np.searchsorted(starts, true, side="right") - 1
    errors = predicted - true
    return tuple(
        ErrorRange(
            low=float(true[inside].min()),
            high=float(true[inside].max()),
            support=int(inside.sum()),
            mae=float(np.abs(errors[inside]).mean()),
            bias=float(errors[inside].mean()),
        )
        for number in np.unique(index)
        for inside in [index == number]
    )


def to_raw_unit(values: Floats, facts: Prepared) -> NDArray[np.float64]:
    """Scaled labels, or a model's predictions of them, in the label's raw unit. Finite where `values` are."""
    return unscale(values.astype(np.float64), target(facts))


def train_mean(facts: Prepared) -> float:
    """Mean label of the train rows, in the raw unit."""
    found = facts.statistics.get(facts.label)
    return target(facts).fill if found is None or found.mean is None else found.mean


def target(facts: Prepared) -> NumberScaler:
    if facts.target is None:
        raise DataError(f"The prepared data does not say how the label {facts.label} was scaled. Run `pipeline prepare RECIPE --force`.")
    return facts.target
