"""Raw files -> one row each, typed, or with the reason why it cannot be used. Nothing becomes null silently.

Every reader gives the same columns:

    <declared columns>   typed as declared: number double, category string, image binary (packed pixels)
    KEY                  text that names the row for ever: the key column, an image's path, or the digest of the content
    CONTENT              SHA-256 of the declared content: equal for equal rows
    RULE, REASON         null, or what sends the row to quarantine and why
    RAW                  what was read, as text, for quarantine
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.images import Undecodable, decode
from pipeline.prepare.source import RawFiles
from pipeline.prepare.tasks import ArrowFunction

KEY, CONTENT, RULE, REASON, RAW = "_key", "_content", "_rule", "_reason", "_raw"
CORRUPT = "_corrupt"


def read_rows(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """All rows of the source. Lazy, but for the header of CSV and the footers of Parquet.

    Raises:
        DataError: a declared column is not in the source.
    """
    return read_images(spark, recipe, source) if recipe.image else read_table(spark, recipe, source)


def read_table(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    paths = [str(path) for path in source.files]
    raw = read_csv(spark, paths, recipe.source.separator) if recipe.source.format == "csv" else spark.read.parquet(*paths)
    declared = [name for name, column in recipe.columns.items() if column.role != "ignore"]
    if missing := [name for name in declared if name not in raw.columns]:
        found = [name for name in raw.columns if name != CORRUPT]
        raise DataError(
            f"{recipe.source.path} has no column {', '.join(missing)}. It has: {', '.join(found)}. Correct `columns` of the recipe."
        )
    rows = raw.withColumn(REASON, first_reason(recipe, declared, CORRUPT in raw.columns))
    rows = rows.withColumn(RAW, F.to_json(F.struct(*raw.columns)))
    numbers = [name for name in declared if recipe.columns[name].kind == "number"]
    typed = [F.col(name).try_cast("double" if name in numbers else "string").alias(name) for name in declared]
    rows = rows.select(*typed, REASON, RAW)
    rows = rows.withColumn(RULE, F.when(F.col(REASON).isNotNull(), F.lit("unreadable")))
    rows = rows.withColumn(CONTENT, F.sha2(F.to_json(F.struct(*declared), {"ignoreNullFields": "false"}), 256))
    key = recipe.names("category", "key")
    return rows.withColumn(KEY, F.col(key[0]) if key else F.col(CONTENT))


def read_csv(spark: SparkSession, paths: list[str], separator: str) -> DataFrame:
    """Every column as text, so that what does not parse can be told from what is missing; ragged lines in CORRUPT.

    Columns are those of the first file's header; Spark refuses a file whose header differs (`enforceSchema`).
    """
    names = read_header(Path(paths[0]), separator)
    schema = ", ".join(f"`{name.replace('`', '``')}` string" for name in [*names, CORRUPT])
    options = {"header": "true", "sep": separator, "enforceSchema": "false", "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    trimmed = {"ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true"}
    return spark.read.options(**options, **trimmed).schema(schema).csv(paths)


def read_header(path: Path, separator: str) -> list[str]:
    """Column names of a CSV file, plain or gzip.

    Raises:
        DataError: no first line, or a name that is empty or stands twice.
    """
    opened = gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")
    try:
        with opened as file:
            names = [name.strip() for name in next(csv.reader(file, delimiter=separator), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the header line cannot be read: {error}. Expected UTF-8 text with column names first.") from error
    if not names or "" in names or len(set(names)) != len(names):
        raise DataError(
            f"{path}: expected a header line with different, non-empty column names separated by {separator!r}, received {names}."
        )
    return names


def first_reason(recipe: Recipe, declared: list[str], can_be_ragged: bool) -> Column:
    """Null for a usable row; else the first thing that is wrong with it."""
    is_ragged = F.when(F.col(CORRUPT).isNotNull(), F.lit("the line has more or fewer fields than the header"))
    reasons = [is_ragged] if can_be_ragged else []
    for name in declared:
        if recipe.columns[name].kind == "number":
            value = F.col(name).try_cast("double")
            written = F.col(name).try_cast("string")
            is_java = written.rlike("[dDfF]$")  # Java takes 5d and 5f for numbers; nobody else does
            is_unusable = F.col(name).isNotNull() & (value.isNull() | F.isnan(value) | F.abs(value).isin(float("inf")) | is_java)
            text = F.concat(F.lit(f"{name}: "), written, F.lit(" is not a finite number"))
            reasons.append(F.when(is_unusable, text))
        if recipe.columns[name].role in ("label", "key"):
            reasons.append(F.when(F.col(name).isNull(), F.lit(f"{name}: the {recipe.columns[name].role} is missing")))
    return F.coalesce(*reasons)


def read_images(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Image files, decoded; the label is the name of the folder an image is in, the key its path below the source's folder."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    files = reader.load(escape_glob(str(source.base)) if source.is_folder else [escape_glob(str(path)) for path in source.files])
    image, label = recipe.names("image")[0], recipe.label
    empty = spark.createDataFrame([(str(path), b"") for path in source.empty], "path string, content binary")
    schema = f"`{image}` binary, `{label}` string, {REASON} string, {RAW} string, {KEY} string"
    shape = recipe.columns[image].shape or (0, 0, 1)
    decode_batches = decoder(str(source.base), shape, [image, label, REASON, RAW, KEY])
    rows = files.select("path", "content").unionByName(empty).mapInArrow(decode_batches, schema)
    rows = rows.withColumn(RULE, F.when(F.col(REASON).isNotNull(), F.lit("unreadable")))
    pixels_and_label = F.concat(image, F.lit(b"\x00"), F.encode(label, "UTF-8"))
    declared = F.when(F.col(REASON).isNull(), pixels_and_label).otherwise(F.encode(KEY, "UTF-8"))
    return rows.withColumn(CONTENT, F.sha2(declared, 256))


def escape_glob(path: str) -> str:
    return "".join(f"\\{character}" if character in "*?[]{}\\" else character for character in path)


def decoder(base: str, shape: tuple[int, int, int], names: list[str]) -> ArrowFunction:
    def decode_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            paths, contents = (column.to_pylist() for column in batch.columns)
            rows = [decode_file(path, content, base, shape) for path, content in zip(paths, contents, strict=True)]
            columns = list(zip(*rows, strict=True)) or [()] * 5
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.binary() if index == 0 else pa.string()) for index, column in enumerate(columns)],
                names=names,
            )

    return decode_batches


def decode_file(path: str, content: bytes, base: str, shape: tuple[int, int, int]) -> tuple[bytes | None, str, str | None, str, str]:
    """(packed pixels or None, label, reason or None, raw, key) of one image file."""
    plain = "/" + path.removeprefix("file:").lstrip("/")
    key = plain.removeprefix(base).lstrip("/")
    label = plain.rsplit("/", 2)[-2]
    try:
        return decode(content, shape).tobytes(), label, None, plain, key
    except Undecodable as error:
        return None, label, str(error), plain, key
