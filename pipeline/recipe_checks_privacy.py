"""What the section `privacy` cannot ask of a recipe's columns. Reads recipes, never makes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config_errors import suggestion
from pipeline.recipe_file import Location
from pipeline.sections.data import FILE_FORMATS
from pipeline.sections.privacy import OF_FINDINGS

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe
    from pipeline.sections.privacy import Action

Problem = tuple[Location, str]


def find_privacy_problems(recipe: Recipe) -> list[Problem]:
    """Actions on columns that are not there or of another kind, and rows that the section does not know."""
    privacy = recipe.privacy
    if privacy is None:
        return []
    problems: list[Problem] = []
    if recipe.source.format in FILE_FORMATS:
        text = f"privacy is for tables and texts, not for format: {recipe.source.format}; protect the source before"
        problems.append((("privacy",), text))
    known = [name for name, column in recipe.columns.items() if column.role != "ignore"]
    for name, action in privacy.columns.items():
        place = ("privacy", "columns", name)
        if name not in known:
            problems.append((place, f"column {name!r} is not one of {known}{suggestion(name, known)}"))
        else:
            problems += [(place, f"{name!r}: {text}") for text in _action_problems(recipe, name, action)]
    if privacy.names is not None and not Path(privacy.names).is_file():
        text = f"no such file: {privacy.names} (from {Path.cwd()}). Expected a UTF-8 file, one name a line"
        problems.append((("privacy", "names"), text))
    return problems + _anonymity_problems(recipe)


def _action_problems(recipe: Recipe, name: str, action: Action) -> list[str]:
    column = recipe.columns[name]
    problems = []
    if action.name in OF_FINDINGS and column.kind not in ("category", "text"):
        problems.append(f"{action.name} is for what is found in texts and categories; expected drop or generalise of kind: {column.kind}")
    if action.hash and (column.kind != "category" or column.role == "label"):
        problems.append(f"hash is for categories that are no label; received kind: {column.kind}, role: {column.role}")
    if action.generalise and action.generalise.kind != column.kind:
        way = next(way for way in ("step", "to", "prefix", "values") if getattr(action.generalise, way) is not None)
        problems.append(f"generalise: {way} is for kind: {action.generalise.kind}; received {column.kind}")
    if action.generalise and (column.role == "label" and column.kind == "number"):
        problems.append("generalise would change what is to be learnt; expected another column than the label")
    if name in _placing_columns(recipe) and (action.drop or (action.generalise and column.kind == "time" and recipe.windows)):
        problems.append(f"{action.name} would take away what rows are put in place by; hash it, or protect the source before")
    if action.drop and (column.role in ("label", "key", "feature") or name in (recipe.split.column, recipe.audit.group)):
        problems.append("drop leaves no value in it, and it is needed; set role: ignore, or choose another action")
    return problems


def _placing_columns(recipe: Recipe) -> list[str]:
    """Columns that windows and interactions are made by."""
    windows, taken = recipe.windows, recipe.interactions
    names = [windows.time, *windows.series] if windows else []
    return names + ([name for name in (taken.user, taken.item, taken.time) if name] if taken else [])


def _anonymity_problems(recipe: Recipe) -> list[Problem]:
    asked = recipe.privacy.anonymity if recipe.privacy else None
    if asked is None:
        return []
    if recipe.windows is not None or recipe.interactions is not None:
        text = "anonymity counts rows of people; a window or a pair is none. Measure it on a table of one row a person"
        return [(("privacy", "anonymity"), text)]
    staged = [name for name, column in recipe.columns.items() if column.role not in ("ignore", "key") and name != recipe.content]
    used = [*((("privacy", "anonymity", "columns"), name) for name in asked.columns)]
    used += [(("privacy", "anonymity", "sensitive"), asked.sensitive)] if asked.sensitive is not None else []
    return [(place, f"column {name!r} is not one of {staged}{suggestion(name, staged)}") for place, name in used if name not in staged]
