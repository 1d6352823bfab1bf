"""A classifier's page: by class, who is taken for whom, calibration, and what it is most confidently wrong about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate import figures
from pipeline.evaluate.classification import calibration
from pipeline.evaluate.pictures import data_uri
from pipeline.evaluate.report import Evidence, render_page
from pipeline.evaluate.rows import read_tensors
from pipeline.schema import ClassMetrics, Evaluated

MAX_MISTAKES = 24
MAX_CLASSES = 50  # in the table; of more, the ones with the lowest F1
MAX_PAIRS = 6


@dataclass(frozen=True)
class Mistake:
    """A row that the model is wrong about. `image`: a data URI, of image recipes."""

    sample_id: str
    true: str
    predicted: str
    probability: float
    image: str | None


def render(evidence: Evidence, result: Evaluated, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> str:
    """The page.

    Args:
        evidence: what was read.
        result: what was measured.
        labels: (N,) true class indices.
        probabilities: (N, K).
    """
    classes, calibrated = evidence.facts.classes, calibration(labels, probabilities, result.confidence)
    return render_page(
        "report_classification.html.j2",
        evidence,
        result,
        num_right=sum(row[index] for index, row in enumerate(result.confusion)),
        calibration=calibrated,
        classes=weakest(result.per_class),
        pairs=confused_pairs(result.confusion, classes),
        mistakes=find_mistakes(evidence, labels, probabilities),
        chance_loss=math.log(len(classes)),
        confusion=figures.confusion(result.confusion, classes),
        reliability=figures.reliability(calibrated),
    )


def find_mistakes(evidence: Evidence, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[Mistake]:
    """The most confidently wrong rows, the surest first."""
    facts, predicted, sure = evidence.facts, probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:MAX_MISTAKES].tolist()
    is_image = facts.tensor.dtype == "uint8" and len(facts.tensor.shape) == 3
    images = [data_uri(pixels) for pixels in read_tensors(evidence.data, "test", chosen)] if is_image else [None] * len(chosen)
    return [
        Mistake(evidence.names[row].as_py(), facts.classes[labels[row]], facts.classes[predicted[row]], float(sure[row]), image)
        for row, image in zip(chosen, images, strict=True)
    ]


def weakest(per_class: Sequence[ClassMetrics]) -> Sequence[ClassMetrics]:
    return per_class if len(per_class) <= MAX_CLASSES else sorted(per_class, key=lambda metrics: metrics.f1)[:MAX_CLASSES]


def confused_pairs(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """(true, predicted, rows) of the most frequent mistakes."""
    pairs = [(classes[i], classes[j], rows) for i, row in enumerate(confusion) for j, rows in enumerate(row) if rows and i != j]
    return sorted(pairs, key=lambda pair: -pair[2])[:MAX_PAIRS]
