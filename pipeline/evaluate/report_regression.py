"""A regressor's page: predicted against true, how errors are spread, how they change with the true value, and the worst rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate import figures
from pipeline.evaluate.regression import target
from pipeline.evaluate.report import Evidence, render_page
from pipeline.schema import Evaluated, Prepared

MAX_WORST = 24


@dataclass(frozen=True)
class Miss:
    """A row far from its prediction, in the label's raw unit."""

    sample_id: str
    true: float
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted - self.true


def render(evidence: Evidence, result: Evaluated, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> str:
    """The page.

    Args:
        evidence: what was read.
        result: what was measured.
        true: (N,) labels in their raw unit.
        predicted: (N,) in the same unit.
    """
    return render_page(
        "report_regression.html.j2",
        evidence,
        result,
        bias=float(np.mean(predicted - true)),
        worst=find_worst(evidence, true, predicted),
        num_at_ends=num_at_ends(evidence.facts, true),
        predicted_against_true=figures.predicted_against_true(true, predicted, evidence.facts.label),
        residuals=figures.residuals(predicted - true, evidence.facts.label),
        errors_by_range=figures.errors_by_range(result.ranges, evidence.facts.label),
    )


def num_at_ends(facts: Prepared, true: NDArray[np.float64]) -> int:
    """Rows whose label quantile scaling cannot tell from the lowest or highest of the train rows."""
    knots = target(facts).knots
    return int(((true <= knots[0]) | (true >= knots[-1])).sum()) if knots else 0


def find_worst(evidence: Evidence, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> list[Miss]:
    """The rows with the largest errors, the largest first; of equal ones the first in the split."""
    errors = np.abs(predicted - true)
    order = np.argsort(-errors, kind="stable")[:MAX_WORST]
    return [Miss(evidence.names[row].as_py(), float(true[row]), float(predicted[row])) for row in order.tolist() if errors[row]]
