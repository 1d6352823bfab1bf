"""What an autoencoder's reconstructions are worth on a whole split, with intervals. Pure: arrays in, records out.

Errors are in scaled units: pixels divided by the standard deviation of their channel, columns as prepared. So 1 is about as far as a row
is from the mean of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.detection import Flags, auc_interval, average_precision_interval
from pipeline.evaluate.intervals import Floats, mean_interval
from pipeline.schema import Baseline, Evaluated, FeatureError, Interval, LabelError, Threshold

MEAN_ROW = "the mean validation row"


@dataclass(frozen=True)
class Errors:
    """Of N rows: each row's mean over its numbers, and each number's mean over the rows."""

    squared: Floats  # (N,)
    absolute: Floats  # (N,)
    squared_by_number: Floats  # (F,)
    absolute_by_number: Floats  # (F,)


@dataclass
class Running:
    """Errors of rows that come batch after batch."""

    squared: list[Floats] = field(default_factory=list)
    absolute: list[Floats] = field(default_factory=list)
    squared_by_number: Any = 0.0
    absolute_by_number: Any = 0.0

    def add(self, errors: Floats) -> None:
        """Args: errors: (B, F) scaled."""
        size, square = np.abs(errors), np.square(errors)
        self.squared.append(square.mean(axis=1))
        self.absolute.append(size.mean(axis=1))
        self.squared_by_number = self.squared_by_number + square.sum(axis=0)
        self.absolute_by_number = self.absolute_by_number + size.sum(axis=0)

    def errors(self) -> Errors:
        squared, absolute = np.concatenate(self.squared), np.concatenate(self.absolute)
        return Errors(squared, absolute, self.squared_by_number / len(squared), self.absolute_by_number / len(squared))


def scaled(rows: Floats, scale: tuple[float, ...] | None) -> Floats:
    """(B, F) float64: pixels in standard deviations of their channel, columns as they are."""
    wide = rows.astype(np.float64) / (1.0 if scale is None else np.asarray(scale))
    return wide.reshape(len(rows), -1)


def measure(
    errors: Errors,
    of_mean: Errors,
    validation: Floats,
    is_anomaly: Flags | None,
    *,
    quantile: float,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluated:
    """Every metric of an autoencoder on one split.

    Args:
        errors: of the test rows.
        of_mean: of the same rows, were each given back as the mean validation row.
        validation: (V,) squared errors of the validation rows.
        is_anomaly: (N,) which test rows are known anomalies; None where none are known, or where all or none of the test rows are.
        quantile: of `validation`, above which a row is called an anomaly.
        confidence: of the intervals.
        seed: of the bootstraps.
    """
    return Evaluated(
        task="autoencoder",
        rows=len(errors.squared),
        confidence=confidence,
        metrics=intervals_of(errors, is_anomaly, confidence, seed),
        baseline=Baseline(
            answer=MEAN_ROW, metrics={name: found.value for name, found in intervals_of(of_mean, is_anomaly, confidence, seed).items()}
        ),
        threshold=threshold_of(errors.squared, validation, quantile, is_anomaly),
    )


def intervals_of(errors: Errors, is_anomaly: Flags | None, confidence: float, seed: int) -> dict[str, Interval]:
    found = {"mse": mean_interval(errors.squared, confidence, seed), "mae": mean_interval(errors.absolute, confidence, seed)}
    if is_anomaly is not None:
        found["auc"] = auc_interval(errors.squared, is_anomaly, confidence)
        found["average_precision"] = average_precision_interval(errors.squared, is_anomaly, confidence, seed)
    return found


def threshold_of(squared: Floats, validation: Floats, quantile: float, is_anomaly: Flags | None) -> Threshold:
    """Where validation errors are cut, and what that does to the test rows."""
    threshold = float(np.quantile(validation, quantile, method="higher"))
    flagged = squared > threshold
    known = None if is_anomaly is None else int(is_anomaly.sum())
    hits = None if is_anomaly is None else int((flagged & is_anomaly).sum())
    return Threshold(
        value=threshold, quantile=quantile, validation_rows=len(validation), flagged=int(flagged.sum()), known=known, hits=hits
    )


def errors_by_label(squared: Floats, labels: NDArray[np.integer[Any]], classes: Sequence[str]) -> tuple[LabelError, ...]:
    """Of each label that test rows have, the largest mean error first."""
    found = [
        LabelError(label=classes[index], support=int(inside.sum()), mse=float(squared[inside].mean()))
        for index in np.unique(labels)
        for inside in [labels == index]
    ]
    return tuple(sorted(found, key=lambda item: -item.mse))


def errors_by_feature(errors: Errors, of_mean: Errors, features: Sequence[str]) -> tuple[FeatureError, ...]:
    """Of each position of a packed vector, in its order."""
    columns = (errors.squared_by_number, errors.absolute_by_number, of_mean.squared_by_number)
    return tuple(
        FeatureError(feature=name, mse=float(squared), mae=float(absolute), baseline_mse=float(constant))
        for name, squared, absolute, constant in zip(features, *columns, strict=True)
    )
