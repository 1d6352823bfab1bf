"""What a classifier's probabilities are worth on a whole split, with intervals. Pure: arrays in, records out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from pipeline.evaluate.intervals import RESAMPLES, Floats, chunks, mean_interval, percentile_interval, wilson_interval
from pipeline.manifest import Record
from pipeline.schema import Baseline, ClassMetrics, Evaluated, Interval

Integers = NDArray[np.integer[Any]]

NUM_BINS = 15  # of the reliability diagram; Guo et al. 2017, arXiv:1706.04599, use the same


class Bin(Record):
    """Rows whose highest probability is in (low, high]; at least one."""

    low: float
    high: float
    count: int
    confidence: float  # mean highest probability
    accuracy: Interval  # Wilson's


class Calibration(Record):
    """`error` is the expected calibration error: |accuracy - confidence| of the bins, weighted by their rows."""

    error: float
    bins: tuple[Bin, ...]  # the ones with rows


def measure(
    labels: Integers, probabilities: Floats, classes: Sequence[str], *, majority: int, confidence: float = 0.95, seed: int = 0
) -> Evaluated:
    """Every metric of a classifier on one split.

    Args:
        labels: (N,) class indices, N >= 1.
        probabilities: (N, K) in [0, 1], rows adding up to 1. Of equal highest ones, the first class is the prediction.
        classes: (K,) label value of each index.
        majority: index of the most frequent class among the train rows.
        confidence: of the intervals, in (0.5, 1): Wilson's for accuracy, a percentile bootstrap of rows for the others.
        seed: of the bootstrap; the same seed gives the same intervals.
    """
    predicted, rows = probabilities.argmax(axis=1), len(labels)
    confusion = confusion_matrix(labels, predicted, labels=np.arange(len(classes)))
    return Evaluated(
        task="classification",
        rows=rows,
        confidence=confidence,
        metrics={
            "accuracy": wilson_interval(int(np.trace(confusion)), rows, confidence),
            "macro_f1": macro_f1_interval(confusion, confidence, seed),
            "log_loss": mean_interval(log_losses(labels, probabilities), confidence, seed),
        },
        baseline=Baseline(answer=classes[majority], metrics={"accuracy": float(np.mean(labels == majority))}),
        per_class=per_class_metrics(labels, predicted, classes),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
    )


def softmax(logits: Floats) -> NDArray[np.float64]:
    """(N, K) -> (N, K), in float64 and without overflow."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def majority_class(label_counts: Mapping[str, int], classes: Sequence[str]) -> int:
    """Index of the most frequent class; of equal ones, the first in `classes`."""
    return max(range(len(classes)), key=lambda index: (label_counts.get(classes[index], 0), -index))


def macro_f1_interval(confusion: Integers, confidence: float, seed: int) -> Interval:
    """Macro F1 and its bootstrap interval.

    Resampling rows is resampling the confusion matrix from a multinomial of its cells: the same distribution, without the rows.

    Args:
        confusion: (K, K) rows of each [true][predicted] class.
        confidence: of the interval.
        seed: of the bootstrap.
    """
    rows, generator = int(confusion.sum()), np.random.default_rng(seed)
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    drawn = [
        macro_f1(cells, true, predicted, len(confusion))
        for num in chunks(RESAMPLES, 4 * len(counts) + 4 * len(confusion))
        for cells in [generator.multinomial(rows, counts / rows, size=num)]
    ]
    value = macro_f1(counts[np.newaxis], true, predicted, len(confusion))[0]
    return percentile_interval(float(value), np.concatenate(drawn), confidence)


def macro_f1(cells: Integers, true: Integers, predicted: Integers, num_classes: int) -> Floats:
    """F1 = 2·hits / (support + predictions), averaged over the classes that occur in either.

    Args:
        cells: (R, C) counts of C cells of a confusion matrix, in R versions.
        true: (C,) true class of each cell.
        predicted: (C,) predicted class of each cell.
        num_classes: number of classes K.

    Returns:
        (R,) in [0, 1].
    """
    is_hit = true == predicted
    hits = sums_by(cells[:, is_hit], true[is_hit], num_classes)  # (R, K)
    occurrences = sums_by(cells, true, num_classes) + sums_by(cells, predicted, num_classes)  # (R, K)
    f1 = np.divide(2 * hits, occurrences, out=np.zeros(hits.shape), where=occurrences > 0)
    return np.asarray(f1.sum(axis=1) / (occurrences > 0).sum(axis=1))


def sums_by(cells: Integers, group: Integers, num_groups: int) -> Integers:
    """(R, C) -> (R, num_groups): the sum of the columns of each group."""
    result = np.zeros((num_groups, len(cells)), dtype=np.int64)
    np.add.at(result, group, cells.T)
    return result.T


def log_losses(labels: Integers, probabilities: Floats) -> Floats:
    """-ln of each row's probability of its true class, (N,) nats; probabilities are clipped at their type's epsilon, as scikit-learn's."""
    epsilon = np.finfo(probabilities.dtype).eps
    return np.asarray(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], epsilon, 1.0)), dtype=np.float64)


def per_class_metrics(labels: Integers, predicted: Integers, classes: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Each class against the rest; a share of nothing (a class never predicted, or without test rows) is 0."""
    values = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(classes)), zero_division=0.0)
    return tuple(
        ClassMetrics(label=label, support=int(support), precision=float(precision), recall=float(recall), f1=float(f1))
        for label, precision, recall, f1, support in zip(classes, *values, strict=True)
    )


def calibration(labels: Integers, probabilities: Floats, interval: float = 0.95, num_bins: int = NUM_BINS) -> Calibration:
    """Is the model right as often as it is sure? Bins of equal width over the highest probability.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.
    """
    sure, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, num_bins - 1)
    bins = tuple(
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            count=int(inside.sum()),
            confidence=float(sure[inside].mean()),
            accuracy=wilson_interval(int(is_right[inside].sum()), int(inside.sum()), interval),
        )
        for i in np.unique(index)
        for inside in [index == i]
    )
    return Calibration(error=sum(item.count * abs(item.accuracy.value - item.confidence) for item in bins) / len(labels), bins=bins)
