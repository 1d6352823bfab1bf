"""Bounds and fillings that rules take from statistics of the train rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.columns import SPLIT, col
from pipeline.prepare.marks import is_in
from pipeline.prepare.sketch import CategorySketch, NumberSketch, Sketch
from pipeline.prepare.sketching import sketch_columns
from pipeline.sections.rules import CleanRule, Outliers

IndexedRule = tuple[int, CleanRule]
IQR_LIMIT, ZSCORE_LIMIT = 1.5, 3.0


class Fitted(NamedTuple):
    """What a rule knows of one column's train rows. Bounds of outlier rules, `fill` of fill_nulls."""

    low: float
    high: float
    fill: float | str | None


def needs_statistics(rule: CleanRule) -> bool:
    by = rule.fill_nulls.by if rule.fill_nulls else None
    return rule.name in ("clip_outliers", "drop_outliers") or by in ("mean", "median", "mode")


def group_rules(rules: Sequence[IndexedRule]) -> list[list[IndexedRule]]:
    """Consecutive rules that need statistics and may take them from the same rows together, every other rule alone, all in order.

    A rule may join those that come before it if none of them drops a row or has one of its columns.
    """
    groups: list[list[IndexedRule]] = []
    for index, rule in rules:
        if groups and needs_statistics(rule) and all(leaves_alone(other, rule) for _, other in groups[-1]):
            groups[-1].append((index, rule))
        else:
            groups.append([(index, rule)])
    return groups


def leaves_alone(first: CleanRule, second: CleanRule) -> bool:
    """Whether what the second takes its statistics from is the same before the first rule and after it."""
    return needs_statistics(first) and first.name != "drop_outliers" and not set(first.used) & set(second.used)


def fit(rows: DataFrame, recipe: Recipe, group: Sequence[IndexedRule]) -> dict[tuple[int, str], Fitted]:
    """For each (rule's index, column) of a group that needs statistics. One Spark job, none where no rule needs any.

    Raises:
        DataError: a column has no value in any train row, or too many values to find the most frequent one.
    """
    wanted = [(index, rule, name) for index, rule in group if needs_statistics(rule) for name in rule.used]
    if not wanted:
        return {}
    is_train = is_in() & (F.col(SPLIT) == "train")
    kinds = {name: recipe.columns[name].kind for _, _, name in wanted}
    # Other rows lose their values. A filter would be moved below the rules before, and take along all that they compute, twice for each.
    sketches = sketch_columns(rows.select(*(F.when(is_train, col(name)).alias(name) for name in kinds)), kinds)
    return {(index, name): fit_column(rule, name, sketches) for index, rule, name in wanted}


def fit_column(rule: CleanRule, name: str, sketches: Mapping[str, Sketch]) -> Fitted:
    sketch = sketches[name]
    if not sketch.count:
        raise DataError(f"Column {name} has no value in any train row, so {rule.name} has nothing to go by. Remove the rule.")
    if rule.fill_nulls is not None:
        return Fitted(0.0, 0.0, filling(rule.fill_nulls.by, name, sketch))
    outliers = rule.clip_outliers or rule.drop_outliers
    if outliers is None or not isinstance(sketch, NumberSketch):
        raise ValueError(f"{rule.name} of column {name} needs no statistics")
    low, high = bounds(outliers, sketch)
    if low == high and outliers.by == "iqr" and sketch.min < sketch.max:
        raise DataError(
            f"Column {name} has {low:g} in half of the train rows or more, so that by: iqr takes every other value for an outlier. "
            f"Expected quartiles that differ: use {rule.name} with by: quantiles or by: zscore."
        )
    return Fitted(low, high, None)


def bounds(rule: Outliers, sketch: NumberSketch) -> tuple[float, float]:
    if rule.quantiles is not None:
        return sketch.quantile(rule.quantiles[0]), sketch.quantile(rule.quantiles[1])
    if rule.by == "zscore":
        reach = (rule.limit or ZSCORE_LIMIT) * sketch.std
        return sketch.mean - reach, sketch.mean + reach
    low, high = sketch.quantile(0.25), sketch.quantile(0.75)
    reach = (rule.limit or IQR_LIMIT) * (high - low)
    return low - reach, high + reach


def filling(by: str, name: str, sketch: Sketch) -> float | str:
    if by == "mode":
        return most_frequent(name, sketch)
    if not isinstance(sketch, NumberSketch):
        raise ValueError(f"column {name} has no {by}")
    return sketch.mean if by == "mean" else sketch.quantile(0.5)


def most_frequent(name: str, sketch: NumberSketch | CategorySketch) -> float | str:
    """The smallest of the most frequent values."""
    if not sketch.is_complete:
        raise DataError(f"Column {name} has too many different values ({sketch.distinct}) for by: mode. Use median or a value.")
    counts: Mapping[Any, int] = sketch.value_counts
    value: float | str = min(counts.items(), key=lambda item: (-item[1], item[0]))[0]
    return value
