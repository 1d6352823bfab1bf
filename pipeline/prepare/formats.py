"""Table files -> their columns as they are stored; of CSV and JSON lines, as text.

A line of CSV or JSON lines is a row. A line that is not exactly one record is kept, as CORRUPT.
"""

from __future__ import annotations

import csv
import gzip
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pyarrow.orc as orc
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.columns import col
from pipeline.prepare.source import RawFiles, escape_glob
from pipeline.sections.data import Source

CORRUPT = "_not_a_record"
INVALID = "_invalid"  # whether a line has bytes that are not of the encoding: U+FFFD in its values may stand for them
LINE, PARSED = "_line", "_parsed"
JAVA_NAMES = {"utf-8": "UTF-8", "latin-1": "ISO-8859-1", "utf-16": "UTF-16"}
CSV_OPTIONS = {
    "escape": '"',  # as RFC 4180 and all that write CSV do; Spark's own is a backslash
    "ignoreLeadingWhiteSpace": "true",
    "ignoreTrailingWhiteSpace": "true",
    "nullValue": "",
    "emptyValue": "",
}
LOOKS = 16  # files that are looked into at a time
Types = tuple[tuple[str, str], ...]  # (column, type as it is stored), by column
Found = TypeVar("Found")


def open_source(spark: SparkSession, recipe: Recipe, source: RawFiles, declared: Sequence[str]) -> list[DataFrame]:
    """The source in one part; Parquet and ORC in one for each set of types that the declared columns have in its files.

    Folders named `day=2026-01-03` give a column `day`. Lazy, but that every file's header or footer is read.

    Raises:
        DataError: files with different headers, or without a declared column, or not of the format.
    """
    settings = recipe.source
    stored = [name for name in declared if name not in source.partition_columns]
    match settings.format:
        case "csv":
            return [read_csv(spark, source, settings)]
        case "jsonl":
            return [read_json(spark, source, settings, stored)]
    return [read_columnar(spark, source, settings, uris, types) for types, uris in group_files(spark, source, settings, stored).items()]


# CSV and JSON lines


def read_csv(spark: SparkSession, source: RawFiles, settings: Source) -> DataFrame:
    filled = [uri for uri in source.uris if Path(uri) not in source.empty]
    headers = look_at(filled, partial(header_line, spark, source, settings))
    names = [header_names(uri, header, settings) for uri, header in zip(filled, headers, strict=True)]
    if others := [index for index, found in enumerate(names) if found != names[0]]:
        raise DataError(
            f"{filled[others[0]]} has the columns {', '.join(names[others[0]])}; {filled[0]} has {', '.join(names[0])}. "
            "Expected the same header line in every file."
        )
    lines = read_lines(spark, source, settings).where(~col(LINE).isin(*dict.fromkeys(headers)))
    options = {**CSV_OPTIONS, "sep": settings.separator, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT}
    parsed = lines.withColumn(PARSED, F.from_csv(LINE, text_schema([*names[0], CORRUPT]), options))
    is_broken = col(PARSED)[CORRUPT].isNotNull() | opens_a_quote(col(LINE))
    return parsed.select(*columns_of(names[0], source), F.when(is_broken, col(LINE)).alias(CORRUPT), is_invalid(settings))


def opens_a_quote(line: Column) -> Column:
    """A line break inside quotes cuts a record in two, each of which may look like a whole one."""
    return (F.octet_length(line) - F.octet_length(F.replace(line, F.lit('"'), F.lit("")))) % 2 == 1


def read_json(spark: SparkSession, source: RawFiles, settings: Source, stored: Sequence[str]) -> DataFrame:
    # Spark takes an array for as many rows, nothing for an empty one, and what follows an object for nothing; hence the frame.
    frame = F.concat(F.lit('{"row":'), col(LINE), F.lit(',"end":1}'))
    schema = f"row struct<{text_schema(stored)}>, end string"
    parsed = read_lines(spark, source, settings).withColumn("_frame", F.from_json(frame, schema, {"mode": "PERMISSIVE"}))
    is_broken = F.col("_frame.row").isNull() | F.col("_frame.end").isNull()
    parsed = parsed.withColumn(PARSED, F.col("_frame.row"))
    return parsed.select(*columns_of(stored, source), F.when(is_broken, col(LINE)).alias(CORRUPT), is_invalid(settings))


def is_invalid(settings: Source) -> Column:
    """Of UTF-8, Spark keeps a line's bytes as they are until it is parsed. What it decodes before has no sign of its damage but U+FFFD."""
    return (~F.is_valid_utf8(LINE) if settings.encoding == "utf-8" else F.lit(True)).alias(INVALID)


def columns_of(names: Sequence[str], source: RawFiles) -> list[Column]:
    """Parsed columns, then the folders' ones, which come first where a file has one of that name too."""
    parsed = [col(PARSED)[name].alias(name) for name in names if name not in source.partition_columns]
    return [*parsed, *map(col, source.partition_columns)]


def read_lines(spark: SparkSession, source: RawFiles, settings: Source) -> DataFrame:
    """LINE and the folders' columns of every line that is not blank. UTF-16 is read a file at a time: Spark's lines end at bytes."""
    reader, paths = reader_of(spark, source).schema(f"{LINE} string"), list(map(escape_glob, source.uris))
    lines = reader.text(paths, wholetext=settings.encoding == "utf-16")
    if settings.encoding != "utf-8":
        lines = lines.withColumn(LINE, F.decode(col(LINE).cast("binary"), JAVA_NAMES[settings.encoding]))
    if settings.encoding == "utf-16":
        lines = lines.withColumn(LINE, F.explode(F.split(LINE, "\r\n|\r|\n")))
    return lines.where(F.trim(LINE) != "")


def header_line(spark: SparkSession, source: RawFiles, settings: Source, uri: str) -> str:
    """Raises DataError where the first line is not text of the encoding."""
    try:
        line = first_line(Path(uri)) if source.is_local else first_remote_line(spark, uri)
        if settings.encoding == "utf-16":
            line = line[: len(line) // 2 * 2]  # without the first byte of a big-endian line break
        return line.removeprefix(BOM_UTF8).decode(settings.encoding).partition("\r")[0]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{uri}: the header line cannot be read: {error}. Expected {settings.encoding} text, column names first."
        ) from error


def first_line(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.readline().removesuffix(b"\n")


def first_remote_line(spark: SparkSession, uri: str) -> bytes:
    found = spark.read.text(escape_glob(uri)).select(F.col("value").cast("binary")).head()
    return bytes(found[0]) if found else b""


def header_names(uri: str, line: str, settings: Source) -> list[str]:
    names = [name.strip() for name in next(csv.reader([line], delimiter=settings.separator), [])]
    if not names or "" in names or len(set(names)) != len(names):
        raise DataError(
            f"{uri}: expected a header line with different, non-empty column names separated by {settings.separator!r}, received {names}."
        )
    return names


def text_schema(names: Sequence[str]) -> str:
    return ", ".join(f"`{name.replace('`', '``')}` string" for name in names)


# Parquet and ORC


def read_columnar(spark: SparkSession, source: RawFiles, settings: Source, uris: Sequence[str], types: Types) -> DataFrame:
    reader, paths = reader_of(spark, source), list(map(escape_glob, uris))
    if settings.format == "orc":
        return reader.orc(paths)
    spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", "true")  # else Spark refuses a file that has them, as pandas writes them
    rows = reader.parquet(*paths)
    nanos = [name for name, stored in types if stored.startswith("timestamp[ns") and dict(rows.dtypes)[name] == "bigint"]
    return rows.withColumns({name: F.timestamp_micros(F.call_function("div", col(name), F.lit(1000))) for name in nanos})


def group_files(spark: SparkSession, source: RawFiles, settings: Source, stored: Sequence[str]) -> dict[Types, list[str]]:
    """Files by the types of their declared columns.

    Spark takes columns and types of one file for all: what another lacks would be null, and so would a text where ORC expects a number.

    Raises:
        DataError: a file without a declared column, or not of the format.
    """
    look = partial(local_types, source, settings) if source.is_local else partial(remote_types, spark, settings)
    groups: dict[Types, list[str]] = {}
    for uri, types in zip(source.uris, look_at(source.uris, look), strict=True):
        if missing := [name for name in stored if name not in types]:
            raise DataError(f"{uri} has no column {', '.join(missing)}. It has: {', '.join(types)}. Correct `columns`, or the file.")
        groups.setdefault(tuple((name, types[name]) for name in stored), []).append(uri)
    return groups


def local_types(source: RawFiles, settings: Source, uri: str) -> Mapping[str, str]:
    path = Path(uri)
    if path in source.empty:
        raise DataError(f"{path} is not a {settings.format} file: it is empty. Replace or remove the file.")
    try:
        schema = pq.read_schema(path) if settings.format == "parquet" else orc.ORCFile(path).schema
    except Exception as error:  # pyarrow raises OSError, ArrowInvalid and others on damaged footers
        raise DataError(f"Spark cannot read the source: {path}: {str(error).splitlines()[0]}. Replace or remove the file.") from error
    return {field.name: str(field.type) for field in schema}


def remote_types(spark: SparkSession, settings: Source, uri: str) -> Mapping[str, str]:
    reader = spark.read.parquet if settings.format == "parquet" else spark.read.orc
    return dict(reader(escape_glob(uri)).dtypes)


# Both


def reader_of(spark: SparkSession, source: RawFiles) -> DataFrameReader:
    return spark.read.option("basePath", source.base_uri) if source.is_partitioned else spark.read


def look_at(uris: Sequence[str], look: Callable[[str], Found]) -> list[Found]:
    """What each file says of itself. A look at a remote one is a small Spark job."""
    with ThreadPoolExecutor(LOOKS) as pool:
        return list(pool.map(look, uris))
