"""How a rule takes rows out: they stay in the DataFrame, marked, until they are written to quarantine."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.prepare.columns import RAW, REASON, RULE, col, seldom


def is_in() -> Column:
    return F.col(RULE).isNull()


def matches(value: Column, pattern: str) -> Column:
    """Whether the whole value matches, a line's end at its end too. Java's regular expressions."""
    return value.rlike(whole(pattern))


def whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


def mark(rows: DataFrame, rule: str, reason: Column) -> DataFrame:
    """Give rows that are still in and have a reason to the rule; the first rule that drops a row counts. Lazy.

    RAW becomes the row's declared columns as they are now, where it was not set before.
    """
    declared = [name for name, stored in rows.dtypes if not name.startswith("_") and stored != "binary"]
    takes = is_in() & reason.isNotNull()
    seen = seldom(F.coalesce(F.col(RAW), F.to_json(F.struct(*(col(name) for name in declared)))))
    changed = {REASON: reason, RAW: seen, RULE: F.lit(rule)}
    # Each of them stands twice or more in what follows from it. Spark keeps such expressions in a step of their own; were they referred to
    # once, it would write each rule's into the next one's, and plan for hours where there are many rules.
    return rows.withColumns({name: F.when(takes, value).otherwise(col(name)) for name, value in changed.items()})
