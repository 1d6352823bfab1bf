"""What does not fit together in a recipe whose rows are images or sounds. Called by recipe_checks.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline.recipe_file import Location
from pipeline.sections.data import FILE_FORMATS

if TYPE_CHECKING:  # at run time nothing here imports config
    from pipeline.config import Recipe

WITH_PATTERN = ("images", "audio", "text")  # sources whose columns may come from a file's path


def content_problems(recipe: Recipe) -> list[tuple[Location, str]]:
    """(place in the recipe, message) of sources of files, and of what was said of them."""
    source = recipe.source
    problems: list[tuple[Location, str]] = []
    if source.pattern is not None and source.format not in WITH_PATTERN:
        problems.append((("source", "pattern"), f"pattern goes with format: {' or '.join(WITH_PATTERN)}; received {source.format}"))
    if source.format not in FILE_FORMATS:
        return problems
    kind = FILE_FORMATS[source.format]
    if len(recipe.names(kind)) != 1:
        features = [name for name, column in recipe.columns.items() if column.role == "feature"]
        return [
            *problems,
            (("source", "format"), f"format {source.format} does not go with the feature columns {features}; expected one {kind}"),
        ]
    if recipe.task == "regression":
        problems.append((("task",), f"the label of format: {source.format} is text, from a path or a file; expected task: classification"))
    if source.format == "idx" and not recipe.has_label:
        problems.append((("columns",), "idx files of images come with files of labels; expected a category column with role: label"))
    if source.format == "idx" and source.scheme is not None:
        problems.append((("source", "path"), "idx files are read on a local path alone"))
    return problems + _column_problems(recipe)


def _column_problems(recipe: Recipe) -> list[tuple[Location, str]]:
    """Columns besides the content: the label alone, or what the pattern names."""
    pattern = recipe.source.pattern
    groups = sorted(re.compile(pattern).groupindex) if pattern else [recipe.label] if recipe.has_label else []
    problems: list[tuple[Location, str]] = []
    for name, column in recipe.columns.items():
        if name == recipe.content or column.role == "ignore":
            continue
        if name not in groups or column.kind != "category" or column.role == "key":
            given = f"source.pattern names {groups}" if pattern else f"it gives the label alone{_hint(recipe)}"
            text = f"format {recipe.source.format}: column {name!r} (kind: {column.kind}, role: {column.role}) is not there; {given}"
            problems.append((("columns", name), f"{text}. Expected category columns, and no key: rows have their own"))
    return problems


def _hint(recipe: Recipe) -> str:
    return ", more with source.pattern" if recipe.source.format in WITH_PATTERN else ""
