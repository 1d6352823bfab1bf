"""The section of what `pipeline tune` may change in a recipe, and how it looks for the best."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from pipeline.schema import LOWER_IS_BETTER
from pipeline.sections.base import Section

Number = int | float
DEFAULT_TRIALS = 20
SEARCHED = ("model", "train")  # what trials share is made before them: prepared data is the same for all


class Parameter(Section):
    """Values that trials give to one place of the recipe: a range from `low` to `high`, both included, or `choices`."""

    low: Number | None = None  # with high: whole if both are, so write 0.0 for fractions
    high: Number | None = None
    log: bool = False  # search evenly over the logarithm
    step: Number | None = None  # distance of two values; with sampler: grid a range needs one
    choices: tuple[Any, ...] | None = None  # any values that YAML can write, sections too

    @model_validator(mode="after")
    def is_a_range_or_choices(self) -> Self:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("expected low and high, or choices")
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("low, high, log and step do not go with choices")
            if len({as_text(choice) for choice in self.choices}) < max(2, len(self.choices)):
                raise ValueError("expected at least two choices, all different")
            return self
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"expected low below high, received low: {low}, high: {high}")
        if self.log and (low <= 0 or self.step is not None):
            raise ValueError("log expects low above 0, and no step")
        if self.step is not None and not 0 < self.step <= high - low:
            raise ValueError(f"expected a step above 0 and at most {high - low:g}, received {self.step}")
        return self

    @property
    def range(self) -> tuple[Number, Number]:
        """Of a parameter that has no choices."""
        if self.low is None or self.high is None:
            raise ValueError("a parameter of choices has no range")
        return self.low, self.high

    @property
    def is_whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)

    def ends(self) -> tuple[Any, ...]:
        """Values that must all be valid for the rest to be: every choice, or both ends of the range."""
        return self.range if self.choices is None else self.choices

    def points(self) -> tuple[Any, ...] | None:
        """All values, or None of a range without a step that has no end of them."""
        if self.choices is not None:
            return self.choices
        low, high = self.range
        step = self.step if self.step is not None else 1 if self.is_whole and not self.log else None
        if step is None:
            return None
        count = math.floor((high - low) / step + 1e-9) + 1
        return tuple(low + index * step for index in range(count))


class Pruner(Section):
    """Ends trials that are worse than others were at the same epoch. A name alone may stand for a section."""

    name: Literal["none", "median"] = "median"  # median: worse than half of the finished trials at the same epoch
    startup_trials: PositiveInt = 5  # finished ones before the first is ended
    warmup_epochs: NonNegativeInt = 1  # of each trial in which it is left alone

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Tune(Section):
    """The space that `pipeline tune` searches, on train and validation rows alone."""

    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]  # dotted place in the recipe -> its values
    metric: str = "val_loss"  # of the epoch whose weights a trial keeps
    sampler: Literal["grid", "random", "tpe", "gp"] = "tpe"
    startup_trials: PositiveInt = 8  # of tpe and gp: random ones that the first model is made from
    pruner: Pruner = Pruner()
    trials: PositiveInt | None = None  # 20 if not said; grid: all points
    timeout_s: PositiveInt | None = None  # no trial begins after this time; the next call goes on
    max_failures: PositiveInt = 5  # so many failed trials in a row end the search: it is not the parameters then
    storage: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None  # NAME of an environment variable with postgresql://…
    seed: NonNegativeInt = 17

    @field_validator("metric")
    @classmethod
    def is_of_the_validation_split(cls, metric: str) -> str:
        if not metric.startswith("val_"):
            raise ValueError("trials are compared on the validation split: expected a metric that begins with val_; test rows are not read")
        return metric

    @model_validator(mode="after")
    def grid_has_points(self) -> Self:
        if self.sampler != "grid":
            return self
        endless = [name for name, parameter in self.parameters.items() if parameter.points() is None]
        if endless:
            raise ValueError(f"sampler: grid needs choices, or a step for the range of {', '.join(endless)}")
        if self.trials is not None:
            raise ValueError(f"sampler: grid tries all of its {self.num_trials} points; remove trials, or take another sampler")
        return self

    @property
    def num_trials(self) -> int:
        if self.sampler == "grid":
            return math.prod(len(parameter.points() or ()) for parameter in self.parameters.values())
        return self.trials or DEFAULT_TRIALS

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        name = self.metric.removeprefix("val_")
        return "minimize" if name == "loss" or name in LOWER_IS_BETTER else "maximize"

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point, the last parameter changing fastest."""
        values = [parameter.points() or () for parameter in self.parameters.values()]
        for point in itertools.product(*values):
            yield dict(zip(self.parameters, point, strict=True))


def as_text(choice: Any) -> str:
    """A choice as the text that it is stored as: JSON, so that 1, 1.0, "1" and true are four."""
    return json.dumps(choice, sort_keys=True, ensure_ascii=False)
