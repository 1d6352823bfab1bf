"""The recipes of conf/ as Airflow needs them: those that hold, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from croniter import CroniterError, croniter

from pipeline import config, recipe_file
from pipeline.config import Recipe
from pipeline.errors import ConfigError

PROJECT = Path(__file__).resolve().parent.parent  # a link to dags/ still finds the project
CONF = PROJECT / "conf"


@dataclass(frozen=True)
class Recipes:
    """`sound` by path, and for every other file of the folder the message that names file and line."""

    sound: Mapping[Path, Recipe]
    errors: Mapping[Path, str]


def load_all(folder: Path = CONF) -> Recipes:
    """Every `*.yaml` of a folder. Of two recipes with one name the first file has it."""
    sound: dict[Path, Recipe] = {}
    errors: dict[Path, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            recipe = load(path)
            refuse_taken_name(path, recipe, sound)
        except ConfigError as error:
            errors[path] = str(error)
        else:
            sound[path] = recipe
    return Recipes(sound, errors)


def load(path: Path) -> Recipe:
    """A recipe, checked as `pipeline.config.load` does, but for its data: the machine that reads DAGs may not have it, or not yet.

    Raises:
        ConfigError: with file and line of everything that is wrong.
    """
    recipe = config.load(path, source_exists=False)
    if problem := _cron_problem(recipe):
        raise ConfigError(f"{recipe_file.read(path).place(('schedule', 'cron'))}: {problem}")
    return recipe


def refuse_taken_name(path: Path, recipe: Recipe, taken: Mapping[Path, Recipe]) -> None:
    for other_path, other in taken.items():
        if other.name == recipe.name:
            raise ConfigError(
                f"{path}: name {recipe.name!r} is that of {other_path}, and a DAG's name is its recipe's. Change one of them."
            )


def _cron_problem(recipe: Recipe) -> str | None:
    cron = recipe.schedule.cron
    if cron in (None, "@once"):
        return None
    try:
        croniter(cron, datetime(2025, 1, 1, tzinfo=UTC)).get_next()
    except CroniterError as error:
        return f"{cron!r} is not a schedule: {error}. Expected minute, hour, day, month, weekday, such as '0 3 * * *'"
    return None
