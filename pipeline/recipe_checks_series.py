"""What the section `windows` allows alone but a recipe as a whole does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config_errors import suggestion
from pipeline.recipe_file import Location

if TYPE_CHECKING:  # config.load calls this module; at run time nothing here imports config
    from pipeline.config import Recipe

Problem = tuple[Location, str]  # place in the recipe, message

MAX_CELLS = 1 << 28  # numbers in one window; more is a mistake in a unit


def find_window_problems(recipe: Recipe) -> list[Problem]:
    """Every contradiction of a recipe's windows with its other sections; none if it has no windows."""
    windows = recipe.windows
    if windows is None:
        return []
    return [*_column_problems(recipe), *_split_problems(recipe), *_other_problems(recipe)]


def _column_problems(recipe: Recipe) -> list[Problem]:
    windows, columns = recipe.windows, recipe.columns
    if windows is None:
        return []
    known = [name for name, column in columns.items() if column.role != "ignore"]
    times = [name for name in known if columns[name].kind == "time"]
    texts = [name for name in known if columns[name].kind == "category" and columns[name].role in ("feature", "meta", "sensitive")]
    features = [*recipe.names("number"), *recipe.names("category")]
    used = [("time", windows.time, times), *(("series", name, texts) for name in windows.series)]
    used += [(key, name, features) for key in ("known", "static") for name in getattr(windows, key)]
    problems: list[Problem] = [
        (("windows", key), f"windows.{key}: column {name!r} is not one of {allowed}{suggestion(name, allowed)}")
        for key, name, allowed in used
        if name not in allowed
    ]
    if both := sorted(set(windows.known) & set(windows.static)):
        problems.append((("windows", "static"), f"{', '.join(both)} cannot be known and static: what never changes is static"))
    if keys := recipe.names("category", "key"):
        problems.append((("columns", keys[0]), f"{keys[0]!r}: rows of series are named by series and time; expected role: meta or ignore"))
    if others := [name for name in recipe.names("time") if name != windows.time]:
        problems.append((("columns", others[0]), f"{others[0]!r}: only the time of the windows, {windows.time}, can be a feature"))
    if beside := [name for name, column in columns.items() if column.role == "sensitive"]:
        problems.append(
            (("columns", beside[0]), f"{beside[0]!r}: role: sensitive is of rows, and a window is of many; expected meta or feature")
        )
    return problems


def _split_problems(recipe: Recipe) -> list[Problem]:
    windows, split = recipe.windows, recipe.split
    if windows is None:
        return []
    problems: list[Problem] = []
    if split.by in ("hash", "kfold") and not windows.series:
        problems.append((("split",), f"by: {split.by} puts whole series into splits, and windows.series names none; expected by: time"))
    if split.by == "stratified":
        problems.append((("split", "by"), "by: stratified splits rows, and a window is of many; expected by: time, hash, group or kfold"))
    if split.by == "time" and split.column not in (None, windows.time):
        problems.append((("split", "column"), f"windows are split by their own time: expected {windows.time}, received {split.column}"))
    if split.by == "group" and split.column not in windows.series:
        expected = f"one of windows.series, {list(windows.series)}"
        problems.append((("split", "column"), f"a series must be in one split: expected {expected}, received {split.column}"))
    if windows.reach_back and split.by != "time":
        problems.append((("windows", "reach_back"), "reach_back goes with split: {by: time}: elsewhere a series is in one split"))
    if recipe.audit.group is not None and recipe.audit.group not in windows.series:
        expected = f"one of windows.series, {list(windows.series)}"
        problems.append((("audit", "group"), f"of windows, expected {expected}, received {recipe.audit.group}"))
    return problems


def _other_problems(recipe: Recipe) -> list[Problem]:
    windows = recipe.windows
    if windows is None:
        return []
    problems: list[Problem] = []
    if recipe.task != "regression":
        problems.append((("task",), f"windows forecast numbers: expected task: regression, received {recipe.task}"))
    if recipe.content is not None:
        problems.append((("columns", recipe.content), f"{recipe.content!r}: windows are of numbers, categories and times"))
    if recipe.audit.max_near_duplicates is not None:
        problems.append((("audit", "max_near_duplicates"), "near duplicates are not looked for among windows; leave it out"))
    if wrong := [name for name, options in recipe.encode.items() if options.method == "target"]:
        problems.append((("encode", wrong[0]), f"{wrong[0]!r}: encode: target is not for windows; expected another method"))
    if windows.span * len(recipe.columns) > MAX_CELLS:
        problems.append((("windows", "history"), f"a window of {windows.span} steps is too long; check period_s, history and horizon"))
    return problems
