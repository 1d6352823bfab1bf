"""A recipe: everything about one model, checked before anything starts. The only reader of recipes.

`load(path, overrides)` gives a frozen `Recipe` or raises `ConfigError` with file, line, received, expected and the nearest known key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError

from pipeline import config_errors, recipe_file
from pipeline.errors import ConfigError
from pipeline.manifest import digest_of
from pipeline.recipe_checks import find_contradictions
from pipeline.schema import LABEL, Task
from pipeline.sections.anomalies import Anomalies
from pipeline.sections.augment import Augment
from pipeline.sections.base import Name, Section
from pipeline.sections.data import CONTENT_KINDS, Audit, Column, Drift, Encode, Prepare, Scaling, Source, Split
from pipeline.sections.feed import Feed
from pipeline.sections.interactions import Interactions
from pipeline.sections.launch import Launch, count_ranks
from pipeline.sections.privacy import Privacy
from pipeline.sections.rules import Clean
from pipeline.sections.series import Windows
from pipeline.sections.training import Evaluate, Model, Register, Schedule, Train
from pipeline.sections.transfer import Transfer
from pipeline.sections.tuning import Tune


class Recipe(Section):
    """One YAML in conf/ = one model that is prepared, trained, evaluated and registered."""

    name: Name
    description: str = ""
    task: Task = "classification"
    source: Source
    columns: dict[str, Column]
    privacy: Privacy | None = None
    clean: Clean = Clean()
    windows: Windows | None = None
    interactions: Interactions | None = None
    anomalies: Anomalies | None = None
    split: Split = Split()
    normalize: dict[str, Scaling] = {}  # number columns, a regression's label too; standard where nothing is said
    encode: dict[str, Encode] = {}  # category columns; one_hot where nothing is said
    audit: Audit = Audit()
    drift: Drift = Drift()
    augment: Augment = Augment()
    prepare: Prepare = Prepare()
    model: Model
    feed: Feed = Feed()
    train: Train = Train()
    transfer: Transfer | None = None
    launch: Launch = Launch()
    evaluate: Evaluate = Evaluate()
    register_: Register = Field(alias="register")  # BaseModel has a method called register
    schedule: Schedule = Schedule()
    tune: Tune | None = None
    _folder: Path | None = PrivateAttr(default=None)  # where the recipe's file is; no part of what it asks for

    def __eq__(self, other: object) -> bool:
        """The same request, wherever its file is."""
        return isinstance(other, Recipe) and self.resolved() == other.resolved()

    @property
    def folder(self) -> Path:
        """Where code of the user's own is looked for first: beside the recipe's file, or here if it came from none."""
        return self._folder or Path.cwd()

    @property
    def digest(self) -> str:
        """Identity of the request: the resolved recipe with every default, without what is only for `pipeline tune`, or where ranks run."""
        return digest_of({name: section for name, section in self.resolved().items() if name not in ("tune", "launch")})

    def resolved(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def section(self, *names: str) -> dict[str, Any]:
        """The named sections, resolved: what a stage's key is made of."""
        resolved = self.resolved()
        return {name: resolved[name] for name in names}

    @property
    def label(self) -> str:
        """The label's column; where the source has none, prepared files have one of this name: 1 for what was taken, else 0 in all rows."""
        return next((name for name, column in self.columns.items() if column.role == "label"), LABEL)

    @property
    def has_label(self) -> bool:
        return self.interactions is not None or any(column.role == "label" for column in self.columns.values())

    @property
    def content(self) -> str | None:
        """The feature that is a whole image, sound or text, or None where features are columns of a table."""
        return next((name for name, column in self.columns.items() if column.kind in CONTENT_KINDS and column.role == "feature"), None)

    @property
    def targets(self) -> list[str]:
        """The columns with role: label, in the recipe's order; several of windows alone."""
        return [name for name, column in self.columns.items() if column.role == "label"]

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
    return check(recipe_file.read(path, overrides), path.resolve().parent, source_exists=source_exists)


def check(document: recipe_file.Document, folder: Path, *, source_exists: bool = True) -> Recipe:
    """A frozen recipe of a document that was read from a file in `folder`; raises ConfigError like `load`."""
    try:
        recipe = Recipe.model_validate_json(json.dumps(count_ranks(document.values)))
    except ValidationError as error:
        raise ConfigError(config_errors.explain(error, Recipe, document)) from None
    recipe._folder = folder
    problems = find_contradictions(recipe)
    if not source_exists:
        problems = [problem for problem in problems if problem[0] != ("source", "path")]
    if problems:
        raise ConfigError("\n".join(f"{document.place(location)}: {text}" for location, text in problems))
    if recipe.tune is not None:
        check_space(document, recipe.tune, folder, source_exists=source_exists)
    return recipe


def check_space(document: recipe_file.Document, tune: Tune, folder: Path, *, source_exists: bool) -> None:
    """Every choice and both ends of every range are valid in the recipe as it is; else ConfigError with the lines of those that are not."""
    problems = []
    for key, parameter in tune.parameters.items():
        place = document.place(("tune", "parameters", key))
        for value in parameter.ends():
            try:
                tried = recipe_file.with_values(document, {key: value}, {key: place}, without=("tune",))
                check(tried, folder, source_exists=source_exists)
            except ConfigError as error:
                text = str(error)
                problems.append(text if text.startswith(place) else f"{place}: with {key}: {json.dumps(value)}, {text}")
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
