"""A generator's page: its images beside real ones, and those that are most like a train image beside that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluate.generation import COMPONENTS, NEIGHBOURS, Neighbours
from pipeline.evaluate.pictures import data_uri
from pipeline.evaluate.report import Evidence, render_page
from pipeline.evaluate.rows import read_tensors
from pipeline.schema import Evaluated
from pipeline.svg import STYLE, TRAIN, VALIDATION, as_svg

SHOWN = 48
CLOSEST = 12
BINS = 40


@dataclass(frozen=True)
class Pair:
    """A generated image and the nearest train image; `share` of the distance that an unseen real image usually has."""

    generated: str
    real: str
    share: float


def render(evidence: Evidence, result: Evaluated, images: NDArray[Any], nearest: Neighbours, nearest_real: Neighbours) -> str:
    """The page.

    Args:
        evidence: what was read.
        result: what was measured.
        images: (N, H, W, C) uint8, generated.
        nearest: of them, by place in the train split.
        nearest_real: of the test images.
    """
    num_test, usual = evidence.facts.splits["test"].rows, float(np.median(nearest_real.distance)) or 1.0
    chosen = np.random.default_rng(0).permutation(num_test)[:SHOWN].tolist()
    closest = np.argsort(nearest.distance, kind="stable")[:CLOSEST]
    originals = read_tensors(evidence.data, "train", nearest.index[closest].tolist())
    return render_page(
        "report_gan.html.j2",
        evidence,
        result,
        methods={"coverage": "Wilson", **dict.fromkeys(("frechet_distance", "kernel_distance"), "jackknife of groups of images")},
        components=min(COMPONENTS, *np.prod(evidence.facts.tensor.shape, keepdims=True).tolist()),
        neighbours=NEIGHBOURS,
        real=[data_uri(image) for image in read_tensors(evidence.data, "test", chosen)],
        generated=[data_uri(image) for image in images[:SHOWN]],
        closest=[
            Pair(data_uri(images[row]), data_uri(original), float(nearest.distance[row]) / usual)
            for row, original in zip(closest.tolist(), originals, strict=True)
        ],
        distances=draw_distances(nearest.distance / usual, nearest_real.distance / usual),
    )


def draw_distances(made: NDArray[Any], real: NDArray[Any]) -> Markup:
    """Distances to the nearest train image; where a generator copies, its bars stand at 0."""
    edges = np.linspace(0, max(float(np.quantile(np.concatenate([made, real]), 0.995)), 1e-6), BINS + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.subplots()
        for values, color, label in ((real, TRAIN, "test images"), (made, VALIDATION, "generated images")):
            axes.hist(np.minimum(values, edges[-1]), edges.tolist(), color=color, alpha=0.6, label=label, edgecolor="white", linewidth=0.4)
        axes.set(xlabel="distance to the nearest train image / median of the test images", ylabel="images", xlim=(0, edges[-1]))
        axes.legend()
        return as_svg(figure, "Distance to the nearest train image")
