"""Fewer columns for the scan that rules take their statistics from: of a wide table, most of it need not be read for a few bounds.

A row that only a column makes unreadable which no rule so far looks at is seen by such a scan, and goes to quarantine later all the same.
That is so for every format, so that a table gives the same bounds as CSV and as Parquet.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Recipe
from pipeline.sections.data import Column, Expect
from pipeline.sections.rules import CleanRule

WHOLE = ("drop_duplicates", "drop_near_duplicates")  # rules that compare whole rows
TABLES = ("csv", "jsonl", "parquet", "orc")


def narrowed(recipe: Recipe, rules: Sequence[CleanRule]) -> Recipe | None:
    """The recipe with only the columns that decide whether a row reaches the last of these rules, and as what; None if that is all of them.

    Args:
        recipe: of a table.
        rules: those up to the one that statistics are for.
    """
    key = recipe.names("category", "key")
    needed = [name for name, column in recipe.columns.items() if column.role in ("key", "label", "weight")]  # no row is without them
    is_by_key = bool(key) or recipe.split.by in ("group", "time")  # else the whole content decides a row's split
    is_plain = not (recipe.windows or recipe.interactions or recipe.privacy or recipe.content)
    compares = any(rule.name in WHOLE or (rule.fill_nulls and rule.fill_nulls.by == "forward") for rule in rules)
    if recipe.source.format not in TABLES or not is_by_key or not is_plain or compares:
        return None
    wanted = {*needed, recipe.split.column, *(name for rule in rules for name in rule.used)}
    columns = {name: kept(column, is_wanted=name in wanted) for name, column in recipe.columns.items()}
    return recipe.model_copy(update={"columns": columns}) if columns != recipe.columns else None


def kept(column: Column, *, is_wanted: bool) -> Column:
    """The column; passed over where nobody wants it and no row is dropped for it."""
    return column if is_wanted or column.expect != Expect() else column.model_copy(update={"role": "ignore"})
