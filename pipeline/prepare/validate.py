"""What a recipe expects of its columns: rows that break it go to quarantine, a column that breaks it fails the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.errors import IllegalArgumentException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError
from pipeline.prepare.columns import col
from pipeline.prepare.marks import is_in, mark, matches, whole
from pipeline.prepare.sketch import Sketch
from pipeline.sections.data import Expect

INVALID = "invalid"
NOTHING = Expect()


def drop_invalid(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """Rows that break an expectation of `columns`, marked. Missing values break none of these. Lazy.

    Raises:
        ConfigError: a pattern of the recipe, of an expectation or a rule, that Java does not take.
    """
    check_patterns(rows.sparkSession, recipe)
    reasons = [reason for name, expect in expected(recipe).items() for reason in broken(name, expect)]
    return mark(rows, INVALID, F.coalesce(*reasons)) if reasons else rows


def expected(recipe: Recipe) -> dict[str, Expect]:
    return {name: column.expect for name, column in recipe.columns.items() if column.role != "ignore" and column.expect != NOTHING}


def check_patterns(spark: SparkSession, recipe: Recipe) -> None:
    patterns = {f"columns.{name}.expect": expect.pattern for name, expect in expected(recipe).items()}
    patterns |= {f"clean.rules.{index}": rule.keep_pattern.pattern for index, rule in enumerate(recipe.clean.rules) if rule.keep_pattern}
    java: Any = spark.sparkContext._jvm
    for place, pattern in patterns.items():
        if pattern is None:
            continue
        try:
            java.java.util.regex.Pattern.compile(whole(pattern))
        except IllegalArgumentException as error:
            found = str(error).partition(" near index")[0]
            raise ConfigError(
                f"{place}.pattern: {pattern!r} is not a regular expression of Java's: {found}. Correct the recipe."
            ) from error


def broken(name: str, expect: Expect) -> list[SparkColumn]:
    """For each expectation of a row's value, null or why it does not hold."""
    value = col(name)
    checks = []
    if expect.min is not None:
        checks.append((value < expect.min, f"is below {expect.min:g}"))
    if expect.max is not None:
        checks.append((value > expect.max, f"is above {expect.max:g}"))
    if expect.integer:
        checks.append((value != F.rint(value), "is not a whole number"))
    if expect.values is not None:
        checks.append((~value.isin(*expect.values), f"is not one of {', '.join(expect.values[:10])}"))
    if expect.pattern is not None:
        checks.append((~matches(value, expect.pattern), f"does not match {expect.pattern}"))
    return [F.when(wrong, F.concat(F.lit(f"{name}: "), value.cast("string"), F.lit(f" {text}"))) for wrong, text in checks]


def check_columns(recipe: Recipe, rows: DataFrame, nulls: Mapping[str, int], kept: int, sketches: Mapping[str, Sketch]) -> None:
    """The limits on whole columns, over the rows that are kept. One Spark job for each `unique` column, none else.

    Raises:
        DataError: with every limit that does not hold.
    """
    problems = []
    for name, expect in expected(recipe).items():
        share = nulls.get(name, 0) / max(kept, 1)
        if expect.max_nulls is not None and share > expect.max_nulls:
            problems.append(f"{name} has no value in {share:.2%} of the rows, at most {expect.max_nulls:.2%} may lack one")
        if expect.max_distinct is not None and name in sketches and sketches[name].distinct > expect.max_distinct:
            problems.append(f"{name} has {sketches[name].distinct} different values, at most {expect.max_distinct} may be there")
        if expect.unique and (twice := repeated(rows, name)):
            problems.append(f"{name} should be unique, but {', '.join(map(repr, twice))} stand there more than once")
    if problems:
        raise DataError(f"The data is not what columns.*.expect says: {'; '.join(problems)}. Mend the source, or the expectation.")


def repeated(rows: DataFrame, name: str) -> list[str]:
    """The first three values that several kept rows have."""
    # Dropped rows lose their value; a filter would cost more. See `fitted.fit`.
    kept = rows.select(F.when(is_in(), col(name)).alias("value")).groupBy("value").count().where("count > 1")
    return [str(row["value"]) for row in kept.orderBy(F.asc_nulls_last("value")).limit(3).collect() if row["value"] is not None]
