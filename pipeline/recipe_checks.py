"""What each section of a recipe allows alone but the recipe as a whole does not. Reads recipes, never makes one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import model_arguments
from pipeline.config_errors import suggestion
from pipeline.recipe_file import Location

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe

Problem = tuple[Location, str]  # place in the recipe, message


def find_contradictions(recipe: Recipe) -> list[Problem]:
    """Every contradiction of a recipe whose sections are each valid: columns first, then what uses them."""
    return [
        *_column_problems(recipe),
        *_feature_problems(recipe),
        *_reference_problems(recipe),
        *_source_problems(recipe),
        *_model_problems(recipe),
    ]


def _column_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    for role, allowed in (("label", (1,)), ("key", (0, 1))):
        names = [name for name, column in recipe.columns.items() if column.role == role]
        if len(names) not in allowed:
            expected = " or ".join(map(str, allowed))
            problems.append((("columns",), f"expected {expected} column with role: {role}, received {len(names)}: {names}"))
        problems += [
            (("columns", name), f"{name!r}: role: {role} expects kind: category, received {recipe.columns[name].kind}")
            for name in names
            if recipe.columns[name].kind != "category"
        ]
    return problems


def _feature_problems(recipe: Recipe) -> list[Problem]:
    problems: list[Problem] = []
    images = recipe.names("image")
    tabular = recipe.names("number") + recipe.names("category")
    if len(images) > 1 or bool(images) == bool(tabular):
        problems.append((("columns",), f"expected either one image feature or number/category features, received {images + tabular}"))
    if bool(images) != (recipe.source.format == "images"):
        problems.append((("source", "format"), f"format {recipe.source.format} does not go with the feature columns {images + tabular}"))
    if recipe.augment.copies and not images:
        problems.append((("augment",), "rotate and translate are for images; this recipe has none"))
    return problems


def _reference_problems(recipe: Recipe) -> list[Problem]:
    """Sections that name columns must name declared ones, of the right kind."""
    numbers = [name for name, column in recipe.columns.items() if column.kind == "number"]
    used: list[tuple[Location, str, list[str]]] = [(("normalize", name), name, numbers) for name in recipe.normalize]
    for index, rule in enumerate(recipe.clean.rules):
        place = ("clean", "rules", index)
        used += [(place, name, list(recipe.columns)) for name in rule.drop_nulls or ()]
        used += [(place, rule.keep_range.column, numbers)] if rule.keep_range else []
    return [
        (place, f"column {name!r} is not one of {allowed}{suggestion(name, allowed)}")
        for place, name, allowed in used
        if name not in allowed
    ]


def _source_problems(recipe: Recipe) -> list[Problem]:
    source = recipe.source
    if source.bundled is not None:
        known = ("digits", "iris")
        return [] if source.bundled in known else [(("source", "path"), f"bundled:{source.bundled} is not known; expected one of {known}")]
    if "://" in source.path:
        text = f"only local paths are read so far, received {source.path}. Mount or copy the data, and write its path"
        return [(("source", "path"), text)]
    if not any(mark in source.path for mark in "*?[") and not Path(source.path).exists():
        return [(("source", "path"), f"no such file or folder: {source.path} (from {Path.cwd()}). Write a path that exists, or a glob")]
    return []


def _model_problems(recipe: Recipe) -> list[Problem]:
    given = {"num_classes"} | ({"image_shape", "pixel_mean", "pixel_std"} if recipe.image else {"num_features"})
    return [(("model", *key), text) for key, text in model_arguments.problems(recipe.model.name, recipe.model.arguments, given)]
