"""Rules that send rows to quarantine, in the recipe's order, and the account of them. DataFrame -> DataFrame; starts no Spark job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipeline.config import Clean, CleanRule, KeepRange
from pipeline.errors import DataError
from pipeline.prepare.read import CONTENT, KEY, REASON, RULE
from pipeline.schema import SAMPLE_ID

DUPLICATES = "drop_duplicates"


def clean(rows: DataFrame, rules: Sequence[CleanRule]) -> DataFrame:
    """All rows; those that a rule drops have its name in RULE and the reason in REASON. The first rule that drops a row counts."""
    for rule in rules:
        rows = apply_rule(rows, rule)
    return rows


def apply_rule(rows: DataFrame, rule: CleanRule) -> DataFrame:
    if rule.drop_duplicates:
        return mark_duplicates(rows)
    reason = range_reason(rule.keep_range) if rule.keep_range else null_reason(rule.drop_nulls or [])
    return mark(rows, rule.name, reason)


def mark(rows: DataFrame, rule: str, reason: Column) -> DataFrame:
    """Give rows that are still in and have a reason to the rule."""
    is_in = F.col(RULE).isNull()
    marked = rows.withColumn(REASON, F.when(is_in, reason).otherwise(F.col(REASON)))
    return marked.withColumn(RULE, F.when(is_in & F.col(REASON).isNotNull(), F.lit(rule)).otherwise(F.col(RULE)))


def null_reason(columns: Sequence[str]) -> Column:
    return F.coalesce(*(F.when(F.col(name).isNull(), F.lit(f"{name}: has no value")) for name in columns))


def range_reason(limits: KeepRange) -> Column:
    value = F.col(limits.column)
    low = float("-inf") if limits.min is None else limits.min
    high = float("inf") if limits.max is None else limits.max
    is_outside = value.isNull() | (value < low) | (value > high)
    shown = F.coalesce(value.cast("string"), F.lit("no value"))
    return F.when(is_outside, F.concat(F.lit(f"{limits.column}: "), shown, F.lit(f" is outside {low:g} to {high:g}")))


def mark_duplicates(rows: DataFrame) -> DataFrame:
    """Of rows with the same content that are still in, the one with the smallest key stays, so that re-runs agree."""
    same = Window.partitionBy(CONTENT, RULE).orderBy(KEY)
    numbered = rows.withColumn("_nth", F.row_number().over(same)).withColumn("_first", F.first(KEY).over(same))
    reason = F.when(F.col("_nth") > 1, F.concat(F.lit("same content as "), F.col("_first")))
    return mark(numbered, DUPLICATES, reason).drop("_nth", "_first")


def name_samples(rows: DataFrame) -> DataFrame:
    """A unique SAMPLE_ID: the key, with ~2, ~3 … where several rows share it (ordered by content)."""
    same_key = Window.partitionBy(KEY).orderBy(CONTENT, RULE)
    nth = F.row_number().over(same_key)
    return rows.withColumn(SAMPLE_ID, F.when(nth > 1, F.concat(F.col(KEY), F.lit("~"), nth.cast("string"))).otherwise(F.col(KEY)))


def check_dropped(dropped: Mapping[str, int], rows_in: int, limits: Clean) -> None:
    """Fail above `clean.max_dropped`; duplicates are not counted, they lose nothing.

    Raises:
        DataError: with the share, the limit and each rule's rows.
    """
    lost = sum(count for rule, count in dropped.items() if rule != DUPLICATES)
    if lost > limits.max_dropped * rows_in:
        by_rule = ", ".join(f"{rule} {count}" for rule, count in dropped.items() if count and rule != DUPLICATES)
        raise DataError(
            f"{lost} of {rows_in} rows ({lost / rows_in:.2%}) would be dropped: {by_rule}. "
            f"clean.max_dropped allows {limits.max_dropped:.2%}. Mend the source, or raise clean.max_dropped if this loss is right."
        )
