"""Sections of what happens to prepared data: model, train, evaluate, register, schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.schema import Task
from pipeline.sections.base import Fraction, Name, Section

LOSSES: dict[Task, tuple[str, ...]] = {"classification": ("cross_entropy",), "regression": ("mse", "mae", "huber")}  # the task's own first
STOPPING_METRICS: dict[Task, tuple[str, ...]] = {"classification": ("val_loss", "val_accuracy"), "regression": ("val_loss", "val_mae")}


class Model(BaseModel):
    """`name` is a file of models/; everything else is an argument of its `build`, checked against its signature."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Optimizer(Section):
    """Keras optimizer by name. The learning rate is used as written, whatever the number of ranks."""

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 0.001
    momentum: Fraction | None = None  # sgd, rmsprop
    weight_decay: NonNegativeFloat | None = None

    @model_validator(mode="after")
    def momentum_is_known(self) -> Self:
        if self.momentum is not None and self.name not in ("sgd", "rmsprop"):
            raise ValueError(f"momentum goes with sgd and rmsprop; {self.name} has its own")
        return self


class EarlyStopping(Section):
    """Stop when `metric` has not improved for `patience` epochs; the best weights are the result."""

    metric: Literal["val_loss", "val_accuracy", "val_mae"] = "val_loss"  # one of STOPPING_METRICS
    patience: PositiveInt = 3


class Train(Section):
    """Data-parallel training. N ranks on one global batch give the weights of 1 rank on it."""

    epochs: PositiveInt = 10
    global_batch: PositiveInt = 128  # rows per optimizer step over all ranks; a multiple of lanes
    lanes: PositiveInt = 8  # streams that every global batch draws from; at least the number of ranks
    ranks: PositiveInt = 2
    optimizer: Optimizer = Optimizer()
    loss: Literal["cross_entropy", "mse", "mae", "huber"] | None = None  # one of LOSSES; mae, mse and huber are of the scaled label
    early_stopping: EarlyStopping | None = None
    seed: NonNegativeInt = 17
    checkpoint_steps: PositiveInt | None = None  # also save within an epoch, every so many steps; always at its end
    steps_per_execution: PositiveInt = 16  # steps between two looks from Python; checkpoints and progress come at these
    stall_timeout_s: PositiveInt = 300  # a collective that waits longer for a rank ends the job

    @model_validator(mode="after")
    def divides_over_lanes(self) -> Self:
        if self.global_batch % self.lanes:
            raise ValueError(f"global_batch={self.global_batch} does not divide over {self.lanes} lanes; use a multiple of {self.lanes}")
        if self.ranks > self.lanes:
            raise ValueError(f"ranks={self.ranks} is more than lanes={self.lanes}: a rank without a lane has nothing to do; raise lanes")
        return self


class Evaluate(Section):
    """Measured on every row of the test split."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95  # of the intervals
    batch: PositiveInt = 1024


class Limit(Section):
    """Bounds that a metric of the test split must keep, both inclusive."""

    min: float | None = None
    max: float | None = None


class VersusChampion(Section):
    """The candidate may be worse than the registered champion by `max_drop` at most: lower, or higher where lower is better."""

    metric: Literal["accuracy", "macro_f1", "log_loss", "mae", "rmse", "r2", "median_absolute_error"] = "accuracy"
    max_drop: NonNegativeFloat = 0.005  # in the metric's unit


class Gate(Section):
    """What a model must show to be registered; every condition must hold."""

    accuracy: Limit | None = None
    macro_f1: Limit | None = None
    log_loss: Limit | None = None
    mae: Limit | None = None  # this and the next three of a regression, in the label's raw unit
    rmse: Limit | None = None
    r2: Limit | None = None  # without a unit
    median_absolute_error: Limit | None = None
    versus_champion: VersusChampion | None = None

    @property
    def limits(self) -> dict[str, Limit]:
        """The bounds that are set, by metric."""
        found = {name: getattr(self, name) for name in type(self).model_fields if name != "versus_champion"}
        return {name: limit for name, limit in found.items() if limit is not None}


class Register(Section):
    """Name in the registry and the gate in front of it."""

    name: Name
    gate: Gate = Gate()
    alias: Name = "champion"


class Schedule(Section):
    """When Airflow runs the recipe."""

    cron: Annotated[str, Field(pattern=r"^(@(once|hourly|daily|weekly|monthly|yearly)|(\S+ ){4}\S+)$")] | None = None
    retries: NonNegativeInt = 2
    retry_delay_s: PositiveInt = 60
