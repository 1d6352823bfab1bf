"""One self-contained HTML page for whoever decides whether a model ships. No script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from PIL import Image

from pipeline import stage
from pipeline.attempt import Found
from pipeline.config import Limit, Recipe
from pipeline.evaluate import figures
from pipeline.evaluate.metrics import RESAMPLES, Calibration
from pipeline.evaluate.rows import read_tensors
from pipeline.manifest import Manifest
from pipeline.schema import ClassMetrics, Evaluated, Trained, prepared

TEMPLATE = Path(__file__).with_name("report.html.j2")
MAX_MISTAKES = 24
MAX_CLASSES = 50  # in the table; of more, the ones with the lowest F1
MAX_PAIRS = 6
THUMBNAIL_PIXELS = 160


@dataclass(frozen=True)
class Evidence:
    """What a page is made of. The manifests are those that the evaluation read."""

    recipe: Recipe
    prepare: Manifest
    train: Manifest
    result: Evaluated
    calibration: Calibration


@dataclass(frozen=True)
class Mistake:
    """A row that the model is wrong about. `image`: a data URI, of image recipes."""

    sample_id: str
    true: str
    predicted: str
    probability: float
    image: str | None


@dataclass(frozen=True)
class Bound:
    """One fixed bound of the gate, beside what was measured."""

    metric: str
    text: str
    value: float
    is_kept: bool


def render(evidence: Evidence, mistakes: Sequence[Mistake]) -> str:
    """The page. The same evidence gives the same bytes, so that an evaluation done again has the same digest."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, minute=minute, count=lambda number: f"{number:,}")
    data, trained, result = prepared(evidence.prepare), Trained.model_validate(evidence.train.facts), evidence.result
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        recipe=evidence.recipe,
        recipe_yaml=yaml.safe_dump(evidence.recipe.resolved(), sort_keys=False, allow_unicode=True),
        manifests=[evidence.prepare, evidence.train],
        software=stage.software(),
        data=data,
        trained=trained,
        result=result,
        num_right=sum(row[index] for index, row in enumerate(result.confusion)),
        bounds=fixed_bounds(evidence.recipe, result),
        versus_champion=evidence.recipe.register_.gate.versus_champion,
        calibration=evidence.calibration,
        classes=weakest(result.per_class),
        pairs=confused_pairs(result.confusion, data.classes),
        mistakes=mistakes,
        resamples=RESAMPLES,
        chance_loss=math.log(len(data.classes)),
        learning_curves=figures.learning_curves(trained.history, trained.best_epoch),
        confusion=figures.confusion(result.confusion, data.classes),
        reliability=figures.reliability(evidence.calibration),
    )


def find_mistakes(data: Found, names: pa.ChunkedArray, labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[Mistake]:
    """The most confidently wrong rows, the surest first.

    Args:
        data: the prepare result, for the images.
        names: (N,) sample ids.
        labels: (N,) true class indices.
        probabilities: (N, K).
    """
    facts, predicted, sure = prepared(data.manifest), probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[np.argsort(-sure[wrong], kind="stable")][:MAX_MISTAKES].tolist()
    is_image = facts.tensor.dtype == "uint8" and len(facts.tensor.shape) == 3
    images = [data_uri(pixels) for pixels in read_tensors(data, "test", chosen)] if is_image else [None] * len(chosen)
    return [
        Mistake(names[row].as_py(), facts.classes[labels[row]], facts.classes[predicted[row]], float(sure[row]), image)
        for row, image in zip(chosen, images, strict=True)
    ]


def data_uri(pixels: NDArray[Any]) -> str:
    """A PNG of an image (H, W, 1 or 3), inside a URI."""
    image = Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def fixed_bounds(recipe: Recipe, result: Evaluated) -> list[Bound]:
    """The gate's bounds that need nothing but this evaluation. Registration decides; this is to read before it."""
    gate = recipe.register_.gate
    limits = {"accuracy": gate.accuracy, "macro_f1": gate.macro_f1, "log_loss": gate.log_loss}
    return [bound for metric, limit in limits.items() if limit for bound in bounds_of(metric, limit, result.metrics[metric].value)]


def bounds_of(metric: str, limit: Limit, value: float) -> list[Bound]:
    low = [] if limit.min is None else [Bound(metric, f"at least {limit.min}", value, value >= limit.min)]
    high = [] if limit.max is None else [Bound(metric, f"at most {limit.max}", value, value <= limit.max)]
    return low + high


def weakest(per_class: Sequence[ClassMetrics]) -> Sequence[ClassMetrics]:
    return per_class if len(per_class) <= MAX_CLASSES else sorted(per_class, key=lambda metrics: metrics.f1)[:MAX_CLASSES]


def confused_pairs(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """(true, predicted, rows) of the most frequent mistakes."""
    pairs = [(classes[i], classes[j], rows) for i, row in enumerate(confusion) for j, rows in enumerate(row) if rows and i != j]
    return sorted(pairs, key=lambda pair: -pair[2])[:MAX_PAIRS]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def minute(timestamp: str) -> str:
    """`2026-01-03T04:05:06+00:00` -> `2026-01-03 04:05 UTC`; manifests are in UTC."""
    return f"{timestamp[:16].replace('T', ' ')} UTC"
