"""The recipe's space as Optuna's distributions, and a trial's parameters as values of a recipe. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from pipeline.recipe_file import Document, with_values
from pipeline.sections.tuning import Parameter, Tune, as_text

Point = dict[str, Any]  # dotted key of the recipe -> a plain value


def distributions(tune: Tune) -> dict[str, BaseDistribution]:
    return {key: distribution(parameter) for key, parameter in tune.parameters.items()}


def distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices is not None:
        return CategoricalDistribution([as_text(choice) for choice in parameter.choices])
    low, high = parameter.range
    if parameter.is_whole:
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(float(low), float(high), log=parameter.log, step=None if parameter.step is None else float(parameter.step))


def suggest(trial: Trial, name: str, known: BaseDistribution) -> Any:
    """Have Optuna draw one parameter of a trial, and store it."""
    if isinstance(known, CategoricalDistribution):
        return trial.suggest_categorical(name, known.choices)
    if isinstance(known, IntDistribution):
        return trial.suggest_int(name, known.low, known.high, step=known.step, log=known.log)
    if isinstance(known, FloatDistribution):
        return trial.suggest_float(name, known.low, known.high, step=known.step, log=known.log)
    raise TypeError(f"expected a range or choices, received {known}")


def encode(point: Mapping[str, Any], tune: Tune) -> dict[str, Any]:
    """A point as Optuna stores it."""
    return {key: as_text(value) if tune.parameters[key].choices is not None else value for key, value in point.items()}


def decode(params: Mapping[str, Any], tune: Tune) -> Point:
    """What Optuna stores as values of a recipe, in the recipe's order; the inverse of `encode`."""
    known = [key for key in tune.parameters if key in params]
    return {key: json.loads(params[key]) if tune.parameters[key].choices is not None else params[key] for key in known}


def trial_document(document: Document, point: Mapping[str, Any], number: int) -> Document:
    """The recipe that a trial trains: `point` in its places, and no search in it."""
    return with_values(document, point, {key: f"trial {number}, {key}" for key in point}, without=("tune",))


def describe(point: Mapping[str, Any]) -> str:
    """`train.optimizer.learning_rate=0.00312  model.width=64`; numbers to three significant digits."""
    return "  ".join(f"{key}={show(value)}" for key, value in point.items())


def show(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else as_text(value)
