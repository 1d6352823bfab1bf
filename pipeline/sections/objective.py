"""What training minimises and how: optimizer, learning rate, loss, penalties, precision, and what watches it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.schema import Task
from pipeline.sections.base import Fraction, Section

LossName = Literal[
    "cross_entropy", "focal", "mse", "mae", "huber", "log_cosh", "quantile", "binary_cross_entropy", "adversarial", "wasserstein"
]
MetricName = Literal["accuracy", "auc", "precision", "recall", "macro_f1", "mae", "rmse", "r2"]

_NUMBERS: tuple[LossName, ...] = ("mse", "mae", "huber", "log_cosh", "quantile")
# Of each task, its own first; wgan_gp's own is wasserstein.
LOSSES: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy", "focal"),
    "regression": _NUMBERS,
    "autoencoder": ("mse", "mae", "binary_cross_entropy"),
    "gan": ("adversarial", "wasserstein"),
}
TRAIN_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "auc", "precision", "recall", "macro_f1"),
    "regression": ("mae", "rmse", "r2"),
    "autoencoder": ("mae",),
    "gan": (),
}
TAKES_MOMENTUM = ("sgd", "rmsprop")
TAKES_BETA = ("adam", "adamw", "nadam", "lion", "lamb")
EntryPoint = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]  # module:name


class Plateau(Section):
    """Multiply the learning rate by `factor` when `metric` has not improved for `patience` epochs."""

    metric: str = "val_loss"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: PositiveInt = 2
    min_learning_rate: NonNegativeFloat = 0.0


class LearningRate(Section):
    """Learning rate over the updates of the whole training; the peak is optimizer.learning_rate after scaling.

    | name | after the warm-up |
    |---|---|
    | constant | the peak |
    | cosine | falls as half a cosine to `end` times the peak |
    | step | times `factor` every `every_epochs` epochs |
    | one_cycle | rises over `rise` of all updates, then falls to `end` times the peak, both as half a cosine; no warm-up |
    """

    name: Literal["constant", "cosine", "step", "one_cycle"] = "constant"
    warmup_steps: NonNegativeInt = 0  # updates, linear from 0. Why: Goyal et al. 2017, arXiv:1706.02677, section 2.2
    end: Fraction = 0.0  # of cosine and one_cycle
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1  # of step
    every_epochs: PositiveInt = 10  # of step
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3  # of one_cycle. Source: Smith & Topin 2017, arXiv:1708.07120

    @model_validator(mode="after")
    def one_cycle_has_its_own_warmup(self) -> Self:
        if self.name == "one_cycle" and self.warmup_steps:
            raise ValueError("warmup_steps does not go with one_cycle, which rises by itself; set rise")
        return self


class Optimizer(Section):
    """Keras optimizer by name. The learning rate does not follow the number of ranks; `scaling` ties it to the global batch."""

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "lion", "lamb"] = "adam"
    learning_rate: PositiveFloat = 0.001
    momentum: Fraction | None = None  # sgd, rmsprop
    beta_1: Annotated[float, Field(ge=0, lt=1)] | None = None  # of the others but adagrad: how much of the mean gradient is kept; 0.9
    nesterov: bool = False  # sgd with momentum
    weight_decay: NonNegativeFloat | None = None  # decoupled; per update, times the learning rate
    scaling: Literal["none", "linear", "sqrt"] = "none"  # learning_rate is for base_batch rows; with others times their ratio, or its root
    base_batch: PositiveInt | None = None
    schedule: LearningRate = LearningRate()
    plateau: Plateau | None = None
    clip_norm: PositiveFloat | None = None  # the global gradient, summed over ranks, is scaled down to this norm
    accumulate: PositiveInt = 1  # global batches whose mean gradient makes one update
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # the result is the moving average of the weights with this momentum

    @model_validator(mode="after")
    def settings_go_together(self) -> Self:
        if self.momentum is not None and self.name not in TAKES_MOMENTUM:
            raise ValueError(f"momentum goes with sgd and rmsprop; {self.name} has its own")
        if self.beta_1 is not None and self.name not in TAKES_BETA:
            raise ValueError(f"beta_1 goes with {', '.join(TAKES_BETA)}; received {self.name}")
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise ValueError("nesterov goes with sgd and a momentum above 0")
        if (self.scaling == "none") != (self.base_batch is None):
            raise ValueError("scaling: linear or sqrt and base_batch (the rows that learning_rate is for) go together")
        if self.plateau is not None and self.schedule != LearningRate():
            raise ValueError("plateau changes a constant learning rate; it does not go with a schedule or a warm-up")
        return self


class Loss(Section):
    """What is minimised, by name. A name alone may stand for a section."""

    name: LossName
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # cross_entropy, focal
    class_weights: Literal["balanced"] | dict[str, PositiveFloat] | None = None  # cross_entropy, focal; by label, 1 where not said
    gamma: NonNegativeFloat = 2.0  # focal. Source: Lin et al. 2017, arXiv:1708.02002
    delta: PositiveFloat = 1.0  # huber; in scaled units
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5  # quantile
    beta: NonNegativeFloat = 1.0  # of a variational autoencoder: weight of the divergence. Source: Higgins et al. 2017, beta-VAE, ICLR
    critic_steps: PositiveInt | None = None  # of a gan: the critic's updates for each of the generator's; 1, of wasserstein 5

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def settings_go_with_the_name(self) -> Self:
        given = self.model_fields_set - {"name"}
        wrong = sorted(name for name in given if self.name not in GOES_WITH[name] and getattr(self, name) != default_of(name))
        if wrong:
            raise ValueError(f"{', '.join(wrong)} does not go with the loss {self.name}")
        return self


GOES_WITH = {
    "label_smoothing": ("cross_entropy", "focal"),
    "class_weights": ("cross_entropy", "focal"),
    "gamma": ("focal",),
    "delta": ("huber",),
    "quantile": ("quantile",),
    "beta": ("mse", "mae", "binary_cross_entropy"),
    "critic_steps": ("adversarial", "wasserstein"),
}


def default_of(name: str) -> Any:
    return Loss.model_fields[name].default


class Regularize(Section):
    """Of every kernel and embedding of the model, whatever its builder says; biases and norms are free."""

    l1: NonNegativeFloat = 0.0  # times the sum of absolute weights, added to the loss
    l2: NonNegativeFloat = 0.0  # times the sum of squared weights, added to the loss
    max_norm: PositiveFloat | None = None  # each unit's incoming weights are scaled down to this norm after every update


class UserCallback(Section):
    """A Keras callback of your own, from the recipe's folder or an installed package; made on every rank, or on rank 0 alone."""

    name: EntryPoint  # module:Class
    arguments: dict[str, Any] = {}
    ranks: Literal["all", "first"] = "all"


class Callbacks(Section):
    """What is written beside the model and what may end training, besides early stopping."""

    csv: bool = False  # history.csv: a line an epoch
    mlflow: bool = False  # every epoch's metrics are in MLflow as soon as it ends, in the run that a registered version refers to
    tensorboard: bool = False  # tensorboard/: the metrics of every epoch
    time_limit_s: PositiveInt | None = None  # no epoch begins after this time of training, over all attempts
    stop_on_nan: bool = True  # a loss that is no number ends all ranks at once, not at the epoch's end
    custom: tuple[UserCallback, ...] = ()
