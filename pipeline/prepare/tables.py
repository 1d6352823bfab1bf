"""Table files -> one typed row each, or the reason why a row cannot be used. Nothing becomes null silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError
from pipeline.prepare.columns import CONTENT, KEY, ORDER, RAW, REASON, RULE, col, hash_of, seldom
from pipeline.prepare.decoding import decode_column, max_bytes
from pipeline.prepare.formats import CORRUPT, INVALID, open_source, opens_a_quote
from pipeline.prepare.privacy import protect
from pipeline.prepare.read_text import clean_column, too_large_column
from pipeline.prepare.source import RawFiles

EPOCHS = {"epoch_s": 1.0, "epoch_ms": 1000.0}
STAMPS = ("date", "timestamp", "timestamp_ntz", "void")
MAX_NUMBER = 3.4028234663852886e38  # of float32, which tensors are made of
MAX_TIME = 253402300799.0  # the year 9999; beyond it, milliseconds were taken for seconds
ONLY_JAVA = "[dDfF]\\s*$|[xX]"  # 5d, 5f and 0x1p3, which nobody else takes for numbers
STARTS_WITH_YEAR = "^\\s*[+-]?\\d{4}"  # Spark takes 12:30 for that time of today
REPLACEMENT = "\ufffd"  # what Spark puts where bytes are not of the encoding
TYPED = "_typed_"
DECODED = ("image", "audio")  # kinds whose stored value is a file's bytes or path
TEXTS = ("category", "text")
SHOWN = 1000  # characters of what may be long, in quarantine


def read_table(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """All rows of a table source. Lazy, but that every file's header or footer is read.

    Raises:
        ConfigError: the format of a time column is not one.
        DataError: a declared column is not in the source, or not in every file of it.
    """
    declared = [name for name, column in recipe.columns.items() if column.role != "ignore"]
    check_patterns(spark, recipe, declared)
    rows = reduce(DataFrame.unionByName, (read_part(recipe, raw, declared) for raw in open_source(spark, recipe, source, declared)))
    rows = clean_column(rows, recipe) if recipe.names("text") else rows
    if recipe.content and recipe.columns[recipe.content].kind in DECODED:
        rows = decode_content(rows, recipe, source)
    rows = protect(rows, recipe)
    texts, numbers = (
        [col(name) for name in sorted(declared) if (recipe.columns[name].kind in ("number", "time")) == wanted] for wanted in (False, True)
    )
    high, low = (hash_of(salt, texts, numbers).alias(name) for salt, name in enumerate(CONTENT))
    rows = rows.select("*", high, low)
    key = recipe.names("category", "key")
    order = hash_of("key", [col(key[0])] if key else [col(name) for name in CONTENT])
    return rows.select("*", order.alias(ORDER), (col(key[0]) if key else F.lit(None).cast("string")).alias(KEY))


def decode_content(rows: DataFrame, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Raises DataError for a column that is stored as neither bytes nor text."""
    name = recipe.content or ""
    stored = dict(rows.dtypes)[name]
    if not is_text(stored):
        expected = "binary (the files' bytes) or text (their paths, below the table's folder)"
        raise DataError(f"{recipe.source.path}: column {name} is stored as {stored}; expected {expected}.")
    column = recipe.columns[name]
    return decode_column(rows, name, column, base=source.base_uri if source.is_local else None, limit=max_bytes(column))


def check_patterns(spark: SparkSession, recipe: Recipe, declared: list[str]) -> None:
    patterns = {name: recipe.columns[name].format for name in declared}
    for name, pattern in patterns.items():
        if pattern is None or pattern in EPOCHS:
            continue
        try:
            spark.sql("SELECT try_to_timestamp('', :pattern)", {"pattern": pattern}).head()
        except PySparkException as error:
            raise ConfigError(
                f"columns.{name}.format: {pattern!r} is not a pattern of times: {str(error).splitlines()[0]}. "
                "Write one such as dd/MM/yyyy HH:mm, or epoch_s, or epoch_ms."
            ) from error


def read_part(recipe: Recipe, raw: DataFrame, declared: list[str]) -> DataFrame:
    """Declared columns, typed, and what makes a row unreadable."""
    if missing := [name for name in declared if name not in raw.columns]:
        found = [name for name in raw.columns if name not in (CORRUPT, INVALID)]
        raise DataError(
            f"{recipe.source.path} has no column {', '.join(missing)}. It has: {', '.join(found)}. Correct `columns` of the recipe."
        )
    types = dict(raw.dtypes)
    places = {name: place_of(recipe, name, types[name]) for name in declared}
    typed = raw.withColumns({places[name]: parse(recipe, name, types[name]) for name in declared})  # once: reasons look at them again
    rows = typed.withColumn(REASON, F.make_valid_utf8(first_reason(recipe, types, declared)))
    is_unreadable = F.col(REASON).isNotNull()
    return rows.select(
        *(col(places[name]).alias(name) for name in declared),
        REASON,
        F.when(is_unreadable, seldom(F.to_json(F.struct(*shown(recipe, types))))).alias(RAW),
        F.when(is_unreadable, F.lit("unreadable")).alias(RULE),
    )


def place_of(recipe: Recipe, name: str, stored: str) -> str:
    """Where a typed value stands: beside the stored one, which quarantine shows, or in its place where they are the same."""
    return name if recipe.columns[name].kind == "number" and stored == "double" else TYPED + name


def shown(recipe: Recipe, types: Mapping[str, str]) -> list[Column]:
    """Raw columns as quarantine keeps them: of texts and of lines that are no records, which may be long, the beginning."""
    long = {CORRUPT, *recipe.names("text")}
    parts = {name: F.substring(col(name), 1, SHOWN) if name in long and is_text(types[name]) else col(name) for name in types}
    unseen = [name for name, stored in types.items() if stored == "binary" and name == recipe.content]  # bytes of a file
    return [part.alias(name) for name, part in parts.items() if name not in (INVALID, *unseen)]


def given(recipe: Recipe, name: str, stored: str) -> Column:
    """The value as it is stored; null for texts that mean so."""
    raw = col(name).cast("string") if stored == "binary" else col(name)
    return F.when(~F.trim(raw).isin(*recipe.source.null_values), raw) if is_text(stored) else raw


def is_text(stored: str) -> bool:
    return stored in ("string", "binary")


def parse(recipe: Recipe, name: str, stored: str) -> Column:
    """The typed value: text, double, or seconds since 1970. Null where it is not one, or was not given."""
    kind, raw = recipe.columns[name].kind, given(recipe, name, stored)
    if kind == "number":
        return as_number(raw, stored)
    if kind == "time":
        return as_time(recipe, name, raw, stored)
    if kind in DECODED:  # as it is stored: bytes, or the path of a file
        return col(name)
    if kind == "text" and is_text(stored):
        raw = F.when(~too_large_column(name, raw, recipe.columns[name].text)[0], raw)
    return F.when(F.is_valid_utf8(raw), raw) if is_text(stored) else raw.try_cast("string")


def as_number(raw: Column, stored: str) -> Column:
    digits = F.when(~raw.rlike(ONLY_JAVA), raw) if is_text(stored) else raw
    return digits.try_cast("double") + F.lit(0.0)  # -0.0 becomes 0.0


def as_time(recipe: Recipe, name: str, raw: Column, stored: str) -> Column:
    """Raises DataError for stored numbers whose unit nobody said."""
    pattern = recipe.columns[name].format
    if stored in STAMPS:
        return as_seconds(raw.try_cast("timestamp"))
    if pattern in EPOCHS:
        return as_number(raw, stored) / EPOCHS[pattern]
    if not is_text(stored):
        raise DataError(
            f"{recipe.source.path}: column {name} is stored as {stored}, which is no time by itself. "
            f"Set columns.{name}.format: epoch_s or epoch_ms, or mend the source."
        )
    if pattern:
        return as_seconds(F.try_to_timestamp(raw, F.lit(pattern)))
    return as_seconds(F.when(raw.rlike(STARTS_WITH_YEAR), raw).try_cast("timestamp"))


def as_seconds(stamp: Column) -> Column:
    return F.unix_micros(stamp) / 1e6


def first_reason(recipe: Recipe, types: Mapping[str, str], declared: Sequence[str]) -> Column:
    """Null for a usable row; else the first thing that is wrong with it."""
    found: list[tuple[Column, Column]] = []  # (is wrong, why)
    if CORRUPT in types:
        found.append((F.col(CORRUPT).isNotNull(), broken_line(recipe)))
    for name in declared:
        found.append(wrong_value(recipe, name, types[name]))
        if recipe.columns[name].kind == "text" and is_text(types[name]):
            found.insert(-1, too_large_column(name, given(recipe, name, types[name]), recipe.columns[name].text))
        if recipe.columns[name].role == "weight":
            found.append((col(place_of(recipe, name, types[name])) < 0, F.lit(f"{name}: the weight is negative")))
        if is_needed := needed(recipe, name):
            found.append((col(place_of(recipe, name, types[name])).isNull(), F.lit(f"{name}: the {is_needed} is missing")))
    is_wrong = reduce(Column.__or__, (wrong for wrong, _ in found))
    return F.when(is_wrong, seldom(F.coalesce(*(F.when(wrong, why) for wrong, why in found))))


def broken_line(recipe: Recipe) -> Column:
    if recipe.source.format == "jsonl":
        return F.lit("the line is not a JSON object")
    opened, ragged = "the line opens a quotation mark that it does not close", "the line has more or fewer fields than the header"
    return F.when(opens_a_quote(F.col(CORRUPT)), opened).otherwise(ragged)


def wrong_value(recipe: Recipe, name: str, stored: str) -> tuple[Column, Column]:
    """(whether it is wrong, what is wrong with it)."""
    column, raw, value = recipe.columns[name], given(recipe, name, stored), col(place_of(recipe, name, stored))
    is_lost = value.isNull() & raw.isNotNull()
    if column.kind in DECODED:
        return F.lit(False), F.lit(None).cast("string")
    if column.kind in TEXTS:
        is_read = recipe.source.format in ("csv", "jsonl")
        is_damaged = is_lost | (col(INVALID) & F.contains(value, F.lit(REPLACEMENT))) if is_read else is_lost
        return is_damaged, F.lit(f"{name}: is not {recipe.source.encoding if is_read else 'utf-8'} text")
    limit = MAX_NUMBER if column.kind == "number" else MAX_TIME
    expected = "a finite number" if column.kind == "number" else f"a time {f'as {column.format}' if column.format else '(ISO 8601)'}"
    shown = F.lit("what stands there") if recipe.privacy else raw.try_cast("string")
    text = F.concat(F.lit(f"{name}: "), shown, F.lit(f" is not {expected}"))
    is_far = F.abs(value) > limit  # NaN is larger than all
    return (is_far if stored in ("double", "float") else is_lost | is_far), text


def needed(recipe: Recipe, name: str) -> str | None:
    """What a row without this column's value lacks, or None if it may be missing."""
    role = recipe.columns[name].role
    if recipe.windows is not None:
        return "time" if name == recipe.windows.time else "series" if name in recipe.windows.series else None
    if recipe.interactions is not None and name in recipe.interactions.columns:
        return recipe.interactions.columns[name]
    if role in ("label", "key", "weight"):
        return role
    return recipe.split.by if name == recipe.split.column and recipe.split.by in ("group", "time") else None
