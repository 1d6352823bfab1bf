"""A recipe: everything about one model, checked before anything starts. The only reader of recipes.

`load(path, overrides)` gives a frozen `Recipe` or raises `ConfigError` with file, line, received, expected and the nearest known key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from pipeline import config_errors, recipe_file
from pipeline.errors import ConfigError
from pipeline.manifest import digest_of
from pipeline.recipe_checks import find_contradictions

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
T = TypeVar("T", bound="Section")


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Source(Section):
    """Where raw rows come from. Relative paths start at the folder that the command runs in."""

    format: Literal["images", "csv", "parquet"]
    path: str = Field(min_length=1)  # a file, a folder, a glob, or bundled:digits, bundled:iris (scikit-learn's own)
    separator: str = Field(",", min_length=1, max_length=1)  # csv only

    @property
    def bundled(self) -> str | None:
        """Name of a data set that comes with scikit-learn, or None for a path."""
        scheme, _, name = self.path.partition(":")
        return name if scheme == "bundled" else None


class Column(Section):
    """One raw column: what it holds, and what it is for."""

    kind: Literal["number", "category", "image"]
    role: Literal["feature", "label", "key", "sensitive", "ignore"] = "feature"
    shape: tuple[PositiveInt, PositiveInt, Literal[1, 3]] | None = None  # images: (height, width, channels) after decoding

    @model_validator(mode="after")
    def has_a_shape_if_image(self) -> Self:
        if (self.kind == "image") != (self.shape is not None):
            raise ValueError("shape: [height, width, channels] goes with kind: image, and only with it")
        return self


class KeepRange(Section):
    """Rows outside the range, or without a value, go to quarantine."""

    column: str
    min: float | None = None
    max: float | None = None


class CleanRule(Section):
    """One rule of `clean.rules`; exactly one key. Rows it drops go to quarantine with the rule's name."""

    drop_nulls: list[str] | None = None  # columns that must have a value
    drop_duplicates: Literal[True] | None = None  # same declared content as an earlier row
    keep_range: KeepRange | None = None

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {value: True} if isinstance(value, str) else value

    @model_validator(mode="after")
    def is_one_rule(self) -> Self:
        return _exactly_one(self)

    @property
    def name(self) -> str:
        return _given(self)[0]


class Clean(Section):
    """Rows that cannot be read (undecodable, unparsable, no label) always go to quarantine; `rules` say what else does."""

    rules: tuple[CleanRule, ...] = ()
    max_dropped: Fraction = 0.01  # share of all rows that quarantine may take (duplicates excluded) before the run fails


class Split(Section):
    """By hash of the row's key: a row keeps its split for ever, whatever else arrives."""

    by: Literal["hash"] = "hash"
    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9 or min(self.train, self.validation, self.test) <= 0:
            raise ValueError(f"train, validation and test must each be above 0 and add up to 1; they add up to {total:g}")
        return self


class Rotate(Section):
    """Uniform in [-degrees, degrees] around the centre, bilinear."""

    degrees: Annotated[float, Field(gt=0, le=180)]


class Translate(Section):
    """Uniform in [-pixels, pixels] on each axis, bilinear."""

    pixels: PositiveFloat


class AugmentOperation(Section):
    """One operation of `augment.operations`; exactly one key."""

    rotate: Rotate | None = None
    translate: Translate | None = None

    @model_validator(mode="after")
    def is_one_operation(self) -> Self:
        return _exactly_one(self)


class Augment(Section):
    """Written copies of train rows; validation and test never have any. Seeded by (seed, sample, copy, operation)."""

    copies: NonNegativeInt = 0  # extra copies of every train row; each gets every operation, in order
    operations: tuple[AugmentOperation, ...] = ()
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def copies_differ(self) -> Self:
        if (self.copies > 0) != bool(self.operations):
            raise ValueError("copies: N and operations: [...] go together; one without the other does nothing")
        return self


class Prepare(Section):
    """How prepared data is laid out."""

    file_mb: PositiveInt = 64  # raw megabytes behind one file; the shuffle window is one file in each lane
    min_files: PositiveInt = 8  # per split, so that small data still spreads over lanes and ranks


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

    metric: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: PositiveInt = 3


class Train(Section):
    """Data-parallel training. N ranks on one global batch give the weights of 1 rank on it."""

    epochs: PositiveInt = 10
    global_batch: PositiveInt = 128  # rows per optimizer step over all ranks; a multiple of lanes
    lanes: PositiveInt = 8  # streams that every global batch draws from; at least the number of ranks
    ranks: PositiveInt = 2
    optimizer: Optimizer = Optimizer()
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
    """The candidate may be worse than the registered champion by `max_drop` at most."""

    metric: Literal["accuracy", "macro_f1"] = "accuracy"
    max_drop: NonNegativeFloat = 0.005


class Gate(Section):
    """What a model must show to be registered; every condition must hold."""

    accuracy: Limit | None = None
    macro_f1: Limit | None = None
    log_loss: Limit | None = None
    versus_champion: VersusChampion | None = None


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


class Recipe(Section):
    """One YAML in conf/ = one model that is prepared, trained, evaluated and registered."""

    name: Name
    description: str = ""
    task: Literal["classification"] = "classification"
    source: Source
    columns: dict[str, Column]
    clean: Clean = Clean()
    split: Split = Split()
    normalize: dict[str, Literal["standard", "minmax", "none"]] = {}  # number columns; standard where nothing is said
    augment: Augment = Augment()
    prepare: Prepare = Prepare()
    model: Model
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(alias="register")  # BaseModel has a method called register
    schedule: Schedule = Schedule()

    @property
    def digest(self) -> str:
        """Identity of the request: the resolved recipe with every default."""
        return digest_of(self.resolved())

    def resolved(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections, resolved: what a stage's key is made of."""
        resolved = self.resolved()
        return {name: resolved[name] for name in names}

    @property
    def label(self) -> str:
        return next(name for name, column in self.columns.items() if column.role == "label")

    @property
    def image(self) -> str | None:
        return next((name for name, column in self.columns.items() if column.kind == "image"), None)

    def names(self, kind: str, role: str = "feature") -> list[str]:
        """Columns of one kind and role, in the recipe's order."""
        return [name for name, column in self.columns.items() if column.kind == kind and column.role == role]


def load(path: Path, overrides: Sequence[str] = (), *, source_exists: bool = True) -> Recipe:
    """Read, check and freeze a recipe.

    Args:
        path: a YAML file.
        overrides: `key.sub=value` texts, as of `--set`; applied before the check.
        source_exists: also refuse a source that is not there; False on a machine that only reads recipes.

    Raises:
        ConfigError: with one line for each thing that is wrong.
    """
    document = recipe_file.read(path, overrides)
    try:
        recipe = Recipe.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise ConfigError(config_errors.explain(error, Recipe, document)) from None
    problems = find_contradictions(recipe)
    if not source_exists:
        problems = [problem for problem in problems if problem[0] != ("source", "path")]
    if problems:
        raise ConfigError("\n".join(f"{document.place(location)}: {text}" for location, text in problems))
    return recipe


def _exactly_one(section: T) -> T:
    if len(given := _given(section)) != 1:
        raise ValueError(f"expected exactly one of {', '.join(type(section).model_fields)}, received {given}")
    return section


def _given(section: Section) -> list[str]:
    return [name for name in type(section).model_fields if getattr(section, name) is not None]
