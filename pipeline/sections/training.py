"""Sections of what happens to prepared data: model, train, evaluate, register, schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from pipeline.schema import Task
from pipeline.sections.base import Name, Section
from pipeline.sections.checkpoints import CheckpointsKept
from pipeline.sections.objective import Callbacks, Loss, MetricName, Optimizer, Regularize
from pipeline.sections.private_training import PrivateTraining

STOPPING_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("val_loss", "val_accuracy"),
    "regression": ("val_loss", "val_mae"),
    "autoencoder": ("val_loss", "val_mae"),
    "gan": (),  # the two losses are against each other: neither tells progress
}


class Model(BaseModel):
    """`name` is a file of models/, or `module:function` of your own, in the recipe's folder or an installed package.

    Everything else is an argument of the builder, checked against its signature.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]*|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")]

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EarlyStopping(Section):
    """Stop when `metric` has not improved for `patience` epochs; the best weights are the result."""

    metric: Annotated[str, Field(pattern=r"^val_[a-z0-9_]+$")] = "val_loss"  # of STOPPING_METRICS or of train.metrics
    patience: PositiveInt = 3


class Train(Section):
    """Data-parallel training. N ranks on one global batch give the weights of 1 rank on it."""

    epochs: PositiveInt = 10
    global_batch: PositiveInt = 128  # rows per optimizer step over all ranks; a multiple of lanes
    lanes: PositiveInt = 8  # streams that every global batch draws from; at least the number of ranks
    ranks: PositiveInt = 2
    optimizer: Optimizer = Optimizer()
    critic_optimizer: Optimizer | None = None  # of a gan, whose `optimizer` is then the generator's alone
    loss: Loss | None = None  # one of LOSSES; a regression's is of the scaled label
    metrics: tuple[MetricName, ...] = ()  # besides accuracy or mae; exact over all rows of all ranks
    regularize: Regularize = Regularize()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"  # of the layers' arithmetic; weights and losses stay float32
    compression: Literal["none", "float16"] = "none"  # of gradients on their way between ranks
    callbacks: Callbacks = Callbacks()
    early_stopping: EarlyStopping | None = None
    privacy: PrivateTraining | None = None
    checkpoints: CheckpointsKept = CheckpointsKept()
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

    @model_validator(mode="after")
    def precision_goes_with_the_rest(self) -> Self:
        if self.precision == "float16" and self.optimizer.accumulate > 1:
            raise ValueError("accumulate does not go with precision: float16, whose loss scaling may skip an update; use bfloat16")
        if self.precision == "float16" and self.compression == "float16":
            raise ValueError("compression: float16 would overflow on gradients that precision: float16 has scaled up; use one of them")
        return self


class Evaluate(Section):
    """Measured on every row of the test split."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95  # of the intervals
    batch: PositiveInt = 1024
    top: PositiveInt = 10  # of interactions: places of a positive among its candidates that count in hit_rate and ndcg
    threshold_quantile: Annotated[float, Field(gt=0, lt=1)] = (
        0.99  # of an autoencoder: rows with a larger error than so many validation rows
    )


class Limit(Section):
    """Bounds that a metric of the test split must keep, both inclusive."""

    min: float | None = None
    max: float | None = None


class VersusChampion(Section):
    """The candidate may be worse than the registered champion by `max_drop` at most: lower, or higher where lower is better."""

    metric: Literal[
        "accuracy",
        "macro_f1",
        "log_loss",
        "mae",
        "rmse",
        "r2",
        "median_absolute_error",
        "skill",
        "mse",
        "auc",
        "average_precision",
        "frechet_distance",
        "kernel_distance",
        "coverage",
        "novelty",
        "hit_rate",
        "ndcg",
    ] = "accuracy"
    max_drop: NonNegativeFloat = 0.005  # in the metric's unit


class Gate(Section):
    """What a model must show to be registered; every condition must hold."""

    accuracy: Limit | None = None
    macro_f1: Limit | None = None
    log_loss: Limit | None = None
    mae: Limit | None = None  # this and the next three of a regression, in the label's raw unit; of an autoencoder as mse
    rmse: Limit | None = None
    r2: Limit | None = None  # without a unit
    median_absolute_error: Limit | None = None
    skill: Limit | None = None  # of windows: share of the best naive forecast's mae that the model does without
    mse: Limit | None = None  # of an autoencoder, in scaled units: pixels by their standard deviation, columns as prepared
    auc: Limit | None = None  # this and the next of an autoencoder with `anomalies`: how well the error tells them from the others
    average_precision: Limit | None = None
    frechet_distance: Limit | None = None  # this and the next three of a gan, see docs/unlabelled.md
    kernel_distance: Limit | None = None
    coverage: Limit | None = None
    novelty: Limit | None = None
    hit_rate: Limit | None = None  # this and the next of interactions, of the first evaluate.top places
    ndcg: Limit | None = None
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
