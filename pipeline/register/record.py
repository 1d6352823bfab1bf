"""What is written about a candidate, as plain names and values. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from pipeline.config import Recipe
from pipeline.manifest import Manifest
from pipeline.schema import Condition, Evaluated, Trained


def tags(manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Where a model comes from; the same on its run and its version."""
    evaluate, trained = manifests["evaluate"], Trained.model_validate(manifests["train"].facts)
    digests = {f"{stage}_digest": manifest.digest for stage, manifest in manifests.items()}
    place = {"recipe": evaluate.recipe, "pipeline_run": evaluate.run_id, "key": evaluate.key, "weight_digest": trained.weight_digest}
    threshold = Evaluated.model_validate(evaluate.facts).threshold
    measured = {} if threshold is None else {"anomaly_threshold": str(threshold.value)}
    origin = trained.transfer.origin.model_dump() if trained.transfer else {}
    return {**place, **measured, **digests, **{f"origin_{name}": value for name, value in origin.items()}}


LAST = "loss"  # of an epoch's metrics, in the order in which they are written


def metrics(train: Manifest, evaluate: Manifest) -> Iterator[tuple[str, float, int]]:
    """(name, value, step): `test/…` with its interval, and `epoch/…` with the epoch as step."""
    result = Evaluated.model_validate(evaluate.facts)
    for name, interval in result.metrics.items():
        yield from ((f"test/{name}", interval.value, 0), (f"test/{name}_low", interval.low, 0), (f"test/{name}_high", interval.high, 0))
    yield from ((f"test/baseline_{name}", value, 0) for name, value in result.baseline.metrics.items())
    yield "test/rows", float(result.rows), 0
    for epoch in Trained.model_validate(train.facts).history:
        yield from ((f"epoch/{name}", value, epoch.epoch) for name, value in epoch.metrics.items())


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings -> `section.key`: text, or JSON of anything else; without what stands before an @ in a URL.

    Characters that MLflow refuses in names become `_`.
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w .-]", "_", key)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[name] = re.sub(r"(?<=://)[^/@\s]*@", "", text)
    return flat


def describe(conditions: Sequence[Condition]) -> str:
    """One line for each condition: whether it held, and the value."""
    lines = [f"{'holds' if item.holds else 'does not hold'}: {item.text}; received {item.value}" for item in conditions]
    return "\n".join(lines) or "the gate has no conditions"


def as_yaml(recipe: Recipe) -> str:
    return yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)


def report_of(evaluate: Manifest) -> str:
    return Evaluated.model_validate(evaluate.facts).report
