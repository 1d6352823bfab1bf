"""The rules of `clean`, in the recipe's order: which rows go to quarantine, which values change. DataFrame -> DataFrame, all native."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare import fitted, near_texts
from pipeline.prepare.columns import CHANGES, CONTENT, KEY, ORDER, col, hash_of
from pipeline.prepare.marks import is_in, mark, matches
from pipeline.prepare.narrow import narrowed
from pipeline.sections.rules import CHANGING, Clean, CleanRule, FillNulls, KeepRange, NearDuplicates, Replace

DUPLICATES = ("drop_duplicates", "drop_near_duplicates")
MEANT_TO_GO = (*DUPLICATES, "repeated_pair", "split_gap", "anomaly")
NTH = "_nth"
TINY = 1e-45  # what is smaller is 0 in float32
Reader = Callable[[Recipe], DataFrame]  # rows with their splits, of a recipe that may have fewer columns


def clean(rows: DataFrame, recipe: Recipe, num_partitions: int, read: Reader | None = None) -> DataFrame:
    """All rows; those that a rule drops have its name in RULE and the reason in REASON. The first rule that drops a row counts.

    Lazy, but for one Spark job for each group of rules that take their statistics from the same train rows: those that reach the
    first of them, which are those that reach each. See `fitted.group_rules`.

    Args:
        rows: with their splits.
        recipe: its rules.
        num_partitions: of the arrangement by ORDER, in which equal rows of a table lie together.
        read: gives the rows again with fewer columns, for statistics that need no others; if None, they are taken from `rows`.
    """
    rules = list(enumerate(recipe.clean.rules))
    found: dict[tuple[int, str], fitted.Fitted] = {}
    for group in fitted.group_rules(rules):
        if fitted.needs_statistics(group[0][1]):
            found |= fitted.fit(seen_by(rows, recipe, group, found, read), recipe, group)
        for index, rule in group:
            rows = apply_rule(rows, recipe, index, rule, found, num_partitions)
    if recipe.has_label and any(rule.name in ("tidy", "replace") and recipe.label in rule.used for _, rule in rules):
        rows = mark(rows, "unreadable", F.when(col(recipe.label).isNull(), F.lit(f"{recipe.label}: the label is missing")))
    changes = [F.col(f"{CHANGES}_{index}") for index, rule in rules if rule.name in CHANGING]
    return rows.withColumn(CHANGES, F.array(*changes) if changes else F.lit(None).cast("array<int>")).drop(
        *(f"{CHANGES}_{index}" for index, _ in rules)
    )


def seen_by(
    rows: DataFrame,
    recipe: Recipe,
    group: Sequence[fitted.IndexedRule],
    found: Mapping[tuple[int, str], fitted.Fitted],
    read: Reader | None,
) -> DataFrame:
    """The rows that reach a group of rules: with no more columns than they and the rules before them look at, where that can be."""
    before = list(enumerate(recipe.clean.rules))[: group[0][0]]
    few = narrowed(recipe, [rule for _, rule in [*before, *group]]) if read else None
    if few is None or read is None:
        return rows
    rows = read(few)
    for index, rule in before:
        rows = apply_rule(rows, few, index, rule, found, num_partitions=0)  # no rule that moves rows is among them
    return rows


def apply_rule(
    rows: DataFrame, recipe: Recipe, index: int, rule: CleanRule, found: Mapping[tuple[int, str], fitted.Fitted], num_partitions: int
) -> DataFrame:
    match rule.name:
        case "drop_nulls":
            return mark(rows, rule.name, null_reason(rule.drop_nulls or []))
        case "drop_duplicates":
            return drop_duplicates(rows, recipe, num_partitions)
        case "drop_near_duplicates":
            near = rule.drop_near_duplicates or NearDuplicates()
            if recipe.names("image"):
                return drop_near_images(rows, recipe, near)
            return drop_near_texts(rows, recipe, near, near.similarity) if near.similarity else drop_near_duplicates(rows, recipe, near)
        case "keep_range" if rule.keep_range:
            return mark(rows, rule.name, range_reason(rule.keep_range))
        case "keep_values" if rule.keep_values:
            wanted, name = rule.keep_values.values, rule.keep_values.column
            return mark(rows, rule.name, other_reason(name, col(name).isin(*wanted), f"is not one of {', '.join(wanted[:10])}"))
        case "keep_pattern" if rule.keep_pattern:
            name, pattern = rule.keep_pattern.column, rule.keep_pattern.pattern
            return mark(rows, rule.name, other_reason(name, matches(col(name), pattern), f"does not match {pattern}"))
        case "drop_outliers":
            reasons = [outlier_reason(name, found[index, name]) for name in rule.used]
            return mark(rows, rule.name, F.coalesce(*reasons))
    changed = {name: changed_value(col(name), rule, found.get((index, name))) for name in changed_columns(rule)}
    return change(rows, index, changed)


def null_reason(columns: Sequence[str]) -> Column:
    return F.coalesce(*(F.when(col(name).isNull(), F.lit(f"{name}: has no value")) for name in columns))


def range_reason(limits: KeepRange) -> Column:
    low = float("-inf") if limits.min is None else limits.min
    high = float("inf") if limits.max is None else limits.max
    value = col(limits.column)
    return other_reason(limits.column, (value >= low) & (value <= high), f"is outside {low:g} to {high:g}")


def other_reason(name: str, holds: Column, text: str) -> Column:
    """A reason for rows of which a condition does not hold, or that have no value."""
    shown = F.coalesce(col(name).cast("string"), F.lit("no value"))
    return F.when(~F.coalesce(holds, F.lit(False)), F.concat(F.lit(f"{name}: "), shown, F.lit(f" {text}")))


def outlier_reason(name: str, bounds: fitted.Fitted) -> Column:
    low, high = bounds.low, bounds.high
    text = F.concat(F.lit(f"{name}: "), col(name).cast("string"), F.lit(f" is outside {low:g} to {high:g}, the train rows' bounds"))
    return F.when((col(name) < low) | (col(name) > high), text)


def changed_columns(rule: CleanRule) -> list[str]:
    return rule.fill_nulls.columns if rule.fill_nulls else rule.used


def changed_value(value: Column, rule: CleanRule, found: fitted.Fitted | None) -> Column:
    if rule.clip is not None:
        return bounded(value, rule.clip.min, rule.clip.max)
    if rule.clip_outliers is not None and found is not None:
        return bounded(value, found.low, found.high)
    if rule.tidy is not None:
        return tidied(value, rule.tidy.case)
    if rule.replace is not None:
        return replaced(value, rule.replace)
    if rule.fill_nulls is None:
        raise ValueError(f"{rule.name} changes no values")
    return filled(value, rule.fill_nulls, found)


def bounded(value: Column, low: float | None, high: float | None) -> Column:
    """Between the bounds; a missing value stays missing."""
    if low is not None:
        value = F.when(value < low, F.lit(low)).otherwise(value)
    return value if high is None else F.when(value > high, F.lit(high)).otherwise(value)


def tidied(value: Column, case: str) -> Column:
    plain = F.trim(F.regexp_replace(value, r"[\s\p{Z}]+", " "))
    shaped = {"keep": plain, "lower": F.lower(plain), "upper": F.upper(plain)}[case]
    return F.when(shaped != "", shaped)


def replaced(value: Column, rule: Replace) -> Column:
    cases = F.when(value.isNull(), value)
    for old, new in rule.values.items():
        cases = cases.when(value == old, F.lit(new).cast("string"))
    return cases.otherwise(value)


def filled(value: Column, rule: FillNulls, found: fitted.Fitted | None) -> Column:
    if rule.by == "forward":
        return last_before(value, rule)
    return F.coalesce(value, F.lit(rule.value if rule.by == "value" or found is None else found.fill))


def last_before(value: Column, rule: FillNulls) -> Column:
    """The value itself, or the last one before it. A row whose series or time is missing has no place: it takes none and gives none."""
    series = [col(rule.series)] if rule.series else []
    order = col(rule.order or ORDER)
    has_place = F.lit(True)
    for place in (*series, order):
        has_place &= place.isNotNull()
    rows = Window.partitionBy(*series, is_in(), has_place).orderBy(order, ORDER, *CONTENT).rowsBetween(Window.unboundedPreceding, 0)
    return F.when(has_place, F.last(value, ignorenulls=True).over(rows)).otherwise(value)


def change(rows: DataFrame, index: int, changed: Mapping[str, Column]) -> DataFrame:
    """Rows that are still in with their new values, and how many of each row's values are others now."""
    types = dict(rows.dtypes)
    values = {name: F.when(is_in(), value.cast(types[name])).otherwise(col(name)) for name, value in changed.items()}
    num_changed = sum(((~values[name].eqNullSafe(col(name))).cast("int") for name in values), F.lit(0))
    return rows.withColumns({**values, f"{CHANGES}_{index}": num_changed})


def drop_duplicates(rows: DataFrame, recipe: Recipe, num_partitions: int) -> DataFrame:
    """Of rows with the same content that are still in, the one with the smallest key stays, so that re-runs agree."""
    if not recipe.source.is_of_files:  # the key is part of the content: equal rows have the same ORDER
        same = [F.col(ORDER), *map(F.col, CONTENT)]
        rows = rows.repartition(num_partitions, ORDER)
    else:
        same = [col(name) for name in CONTENT]
    return drop_but_first(rows, "drop_duplicates", same, "same content as")


def drop_near_duplicates(rows: DataFrame, recipe: Recipe, rule: NearDuplicates) -> DataFrame:
    names = rule.columns or [*recipe.names("number"), *recipe.names("category"), *recipe.names("time")]
    return drop_but_first(rows, "drop_near_duplicates", [near_hash(recipe, names, rule.digits)], "nearly the same as")


def drop_near_texts(rows: DataFrame, recipe: Recipe, rule: NearDuplicates, similarity: float) -> DataFrame:
    """Texts that are as similar to an earlier one go, and so do all but the first of those with the same content. Eager: two Spark jobs."""
    found = near_texts.find_earlier(rows, recipe.content or "", similarity, rule.shingle)
    joined = rows.join(F.broadcast(found), list(CONTENT), "left")
    first = F.col(near_texts.FIRST)
    marked = mark(joined, "drop_near_duplicates", F.when(first.isNotNull(), F.concat(F.lit("nearly the same as "), first)))
    return drop_but_first(marked.drop(near_texts.FIRST), "drop_near_duplicates", [F.col(name) for name in CONTENT], "nearly the same as")


def drop_near_images(rows: DataFrame, recipe: Recipe, rule: NearDuplicates) -> DataFrame:
    """Images that look like an earlier one go, and so do all but the first of those with the same content. Eager: one Spark job."""
    from pipeline.prepare import near_images  # reads what is staged, and staging stands above this module

    image = recipe.content or ""
    found = near_images.find_earlier(rows, image, recipe.columns[image].shape or (0, 0, 1), rule.distance)
    joined = rows.join(F.broadcast(found), list(CONTENT), "left")
    first = F.col(near_images.FIRST)
    marked = mark(joined, "drop_near_duplicates", F.when(first.isNotNull(), F.concat(F.lit("looks like "), first)))
    return drop_but_first(marked.drop(near_images.FIRST), "drop_near_duplicates", [F.col(name) for name in CONTENT], "looks like")


def near_hash(recipe: Recipe, names: Sequence[str], digits: int) -> Column:
    """Equal for rows that agree after rounding numbers to significant digits and tidying text; times are taken as they are."""
    return hash_of(f"near:{digits}", [part for name in names for part in rounded(col(name), recipe.columns[name].kind, digits)])


def rounded(value: Column, kind: str, digits: int) -> list[Column]:
    if kind == "number":
        return to_digits(value, digits)
    return [tidied(value, "lower") if kind == "category" else value]


def to_digits(value: Column, digits: int) -> list[Column]:
    """A number's first digits as a whole number, and its exponent: equal for numbers that are equal after rounding, to the last bit."""
    size = F.abs(value)
    exponent = F.floor(F.log10(size))
    whole = F.rint(value * F.pow(F.lit(10.0), F.lit(digits - 1) - exponent))
    is_carried = F.abs(whole) >= 10**digits  # 9.99 became 10.0
    is_zero = size < TINY
    return [
        F.when(is_zero, 0.0).when(is_carried, whole / 10).otherwise(whole),
        F.when(is_zero, 0).otherwise(exponent + is_carried.cast("long")),
    ]


def drop_but_first(rows: DataFrame, rule: str, same: Sequence[Column], text: str) -> DataFrame:
    window = Window.partitionBy(*same, is_in()).orderBy(KEY, ORDER, *CONTENT)
    numbered = rows.withColumn(NTH, F.row_number().over(window)).withColumn(f"{NTH}_key", F.first(KEY).over(window))
    first = F.coalesce(F.col(f"{NTH}_key"), F.lit("an earlier row"))
    return mark(numbered, rule, F.when(F.col(NTH) > 1, F.concat(F.lit(f"{text} "), first))).drop(NTH, f"{NTH}_key")


def check_dropped(dropped: Mapping[str, int], rows_in: int, limits: Clean) -> None:
    """Fail above `clean.max_dropped`; duplicates, a split's gap and known anomalies are not counted, they are meant to go.

    Raises:
        DataError: with the share, the limit and each rule's rows.
    """
    counted = {rule: count for rule, count in dropped.items() if count and rule not in MEANT_TO_GO}
    lost = sum(counted.values())
    if lost / max(rows_in, 1) > limits.max_dropped:
        by_rule = ", ".join(f"{rule} {count}" for rule, count in counted.items())
        raise DataError(
            f"{lost} of {rows_in} rows ({lost / rows_in:.2%}) would be dropped: {by_rule}. "
            f"clean.max_dropped allows {limits.max_dropped:.2%}. Mend the source, or raise clean.max_dropped if this loss is right."
        )
