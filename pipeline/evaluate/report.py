"""One self-contained HTML page for whoever decides whether a model ships. No script, nothing loaded from elsewhere.

`report.html.j2` is what every task's page has; `report_classification.py` and its like fill in the rest of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from pipeline import stage
from pipeline.attempt import Found
from pipeline.config import Recipe
from pipeline.evaluate import figures
from pipeline.evaluate.intervals import RESAMPLES
from pipeline.manifest import Manifest
from pipeline.schema import LOWER_IS_BETTER, Evaluated, Prepared, Trained, prepared
from pipeline.summary import rounded

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Evidence:
    """What a page is made of besides the result: the inputs that the evaluation read."""

    recipe: Recipe
    data: Found  # the prepare result
    train: Manifest
    names: pa.ChunkedArray  # (N,) sample ids of the test rows

    @property
    def facts(self) -> Prepared:
        return prepared(self.data.manifest)


@dataclass(frozen=True)
class Bound:
    """One fixed bound of the gate, beside what was measured."""

    metric: str
    text: str
    value: float
    is_kept: bool


def render_page(
    template: str, evidence: Evidence, result: Evaluated, *, methods: Mapping[str, str] = {"accuracy": "Wilson"}, **parts: Any
) -> str:
    """The page. The same evidence gives the same bytes, so that an evaluation done again has the same digest.

    Args:
        template: of the task; it extends `report.html.j2`.
        evidence: what was read.
        result: what was measured.
        methods: of the intervals that are no bootstraps of rows, by metric.
        parts: what the task's template shows besides.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, minute=minute, rounded=rounded, count=lambda number: f"{number:,}")
    trained = Trained.model_validate(evidence.train.facts)
    return environment.get_template(template).render(
        recipe=evidence.recipe,
        recipe_yaml=yaml.safe_dump(evidence.recipe.resolved(), sort_keys=False, allow_unicode=True),
        manifests=[evidence.data.manifest, evidence.train],
        software=stage.software(),
        data=evidence.facts,
        trained=trained,
        result=result,
        methods=methods,
        bounds=list(fixed_bounds(evidence.recipe, result)),
        versus_champion=evidence.recipe.register_.gate.versus_champion,
        lower_is_better=LOWER_IS_BETTER,
        resamples=RESAMPLES,
        learning_curves=figures.learning_curves(trained.history, trained.best_epoch),
        **parts,
    )


def fixed_bounds(recipe: Recipe, result: Evaluated) -> Iterator[Bound]:
    """The gate's bounds that need nothing but this evaluation. Registration decides; this is to read before it."""
    for metric, limit in recipe.register_.gate.limits.items():
        value = result.metrics[metric].value
        if limit.min is not None:
            yield Bound(metric, f"at least {limit.min}", value, value >= limit.min)
        if limit.max is not None:
            yield Bound(metric, f"at most {limit.max}", value, value <= limit.max)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def minute(timestamp: str) -> str:
    """`2026-01-03T04:05:06+00:00` -> `2026-01-03 04:05 UTC`; manifests are in UTC."""
    return f"{timestamp[:16].replace('T', ' ')} UTC"
