"""An autoencoder's page: how errors are spread, where anomalies begin, and what is given back best and worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluate.pictures import data_uri
from pipeline.evaluate.report import Evidence, render_page
from pipeline.evaluate.rows import read_tensors
from pipeline.schema import Evaluated
from pipeline.svg import MUTED, STYLE, TRAIN, VALIDATION, as_svg

if TYPE_CHECKING:
    from pipeline.evaluate.unlabelled_inference import Reconstructed

SHOWN = 12  # best and worst rows
MAX_FEATURES = 60
BINS = 40
FAR = 0.995  # of the errors; those beyond are in the last bar

GiveBack = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Example:
    """A test row and what came back. `images`: data URIs of both, of image recipes."""

    sample_id: str
    error: float
    label: str | None
    images: tuple[str, str] | None


def render(evidence: Evidence, result: Evaluated, found: Reconstructed, is_anomaly: NDArray[np.bool_] | None, give_back: GiveBack) -> str:
    """The page.

    Args:
        evidence: what was read.
        result: what was measured.
        found: the test split as it was given back.
        is_anomaly: (N,) or None.
        give_back: the model, of few rows.
    """
    order = np.argsort(found.errors.squared, kind="stable").tolist()
    features = sorted(result.features, key=lambda item: -item.mse)
    return render_page(
        "report_autoencoder.html.j2",
        evidence,
        result,
        methods={"auc": "DeLong"},
        is_image=is_image(evidence),
        errors=draw_errors(found.errors.squared, is_anomaly, result),
        best=examples(evidence, found, order[:SHOWN], give_back),
        worst=examples(evidence, found, order[: -SHOWN - 1 : -1], give_back),
        features=features[:MAX_FEATURES],
        num_features=len(features),
    )


def is_image(evidence: Evidence) -> bool:
    return evidence.facts.tensor.dtype == "uint8" and len(evidence.facts.tensor.shape) == 3


def examples(evidence: Evidence, found: Reconstructed, chosen: Sequence[int], give_back: GiveBack) -> list[Example]:
    classes = evidence.facts.classes
    pictures: Sequence[tuple[str, str] | None] = [None] * len(chosen)
    if is_image(evidence):
        images = read_tensors(evidence.data, "test", chosen)
        pictures = [(data_uri(before), data_uri(after)) for before, after in zip(images, give_back(images), strict=True)]
    return [
        Example(evidence.names[row].as_py(), float(found.errors.squared[row]), classes[found.labels[row]] if classes else None, pair)
        for row, pair in zip(chosen, pictures, strict=True)
    ]


def draw_errors(squared: NDArray[Any], is_anomaly: NDArray[np.bool_] | None, result: Evaluated) -> Markup:
    """How many test rows have which error; known anomalies beside the others."""
    threshold = result.threshold.value if result.threshold else 0.0
    limit = max(float(np.quantile(squared, FAR)), 1.1 * threshold) or 1.0
    edges = np.linspace(0, limit, BINS + 1)
    groups = [(squared, VALIDATION, "test rows")]
    if is_anomaly is not None:
        groups = [(squared[~is_anomaly], TRAIN, "other test rows"), (squared[is_anomaly], VALIDATION, "known anomalies")]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for values, color, label in groups:
            axes.hist(np.minimum(values, limit), edges.tolist(), color=color, alpha=0.6, label=label, edgecolor="white", linewidth=0.4)
        axes.axvline(threshold, color=MUTED, linestyle=":", linewidth=1.2, label="threshold")
        axes.set(xlabel="mean squared error of a row", ylabel="rows", xlim=(0, limit))
        axes.legend()
        return as_svg(figure, "Reconstruction error")
