"""Texts -> rows: files of one document a line, files that are one document each, and the text column of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare import documents
from pipeline.prepare.columns import CONTENT, KEY, ORDER, RAW, REASON, RULE, col, hash_of
from pipeline.prepare.documents import BadDocument
from pipeline.prepare.privacy import protect
from pipeline.prepare.source import RawFiles, escape_glob
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.sections.data import Source
from pipeline.sections.text import Text

UNREADABLE, LENGTH = "unreadable", "text_length"  # rules of documents that cannot be read, and of those too short or long
DOCUMENT, PATH, SIZE = "_document", "_path", "_size"
SHOWN_CHARACTERS = 300  # of a document in quarantine


def read_texts(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Documents as rows; what names one that is a whole file is its path, what names a line is its content. Lazy."""
    rows = protect(read_documents(spark, recipe, source), recipe)
    declared = [col(name) for name in (recipe.content or "", *path_columns(recipe))]
    hashed = rows.select("*", *(hash_of(salt, declared).alias(name) for salt, name in enumerate(CONTENT)))
    names = [F.col(KEY)] if recipe.source.document == "file" else [F.col(name) for name in CONTENT]
    return hashed.select("*", hash_of("key", names).alias(ORDER))


def read_documents(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Documents of `format: text`: the text, columns from the path, REASON, RULE, RAW, KEY (of a file that is one document its path). Lazy.

    Blank lines are no documents. A line ends at a line feed, a carriage return, or both.
    """
    column = recipe.content or ""
    options = recipe.columns[column].text or Text()
    found = lines(spark, source, options) if recipe.source.document == "line" else files(spark, source, options)
    from_path = path_columns(recipe)
    names = [column, *from_path, REASON, RULE, RAW, KEY]
    work = document_reader(recipe.source, options, source.base_uri, names, from_path, is_private=recipe.privacy is not None)
    return found.mapInArrow(in_worker(work), ", ".join(f"`{name}` string" for name in names))


def path_columns(recipe: Recipe) -> list[str]:
    """The label, and what else of the path the recipe declares."""
    return [name for name, found in recipe.columns.items() if found.kind == "category" and found.role != "ignore"]


def lines(spark: SparkSession, source: RawFiles, options: Text) -> DataFrame:
    read = spark.read.schema("value string").text(list(map(escape_glob, source.uris)))
    line = F.col("value").cast("binary")  # Spark decodes nothing here: these are the file's bytes
    rows = read.where(F.trim("value") != "")
    return rows.select(capped(line, options), F.col("_metadata.file_path").alias(PATH), F.octet_length(line).cast("long").alias(SIZE))


def files(spark: SparkSession, source: RawFiles, options: Text) -> DataFrame:
    """Too large files are listed, not read."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    listed = reader.load(escape_glob(source.base_uri) if source.is_folder else [escape_glob(uri) for uri in source.uris])
    wanted = [F.col("path").alias(PATH), F.col("length").alias(SIZE)]
    small = listed.where(F.col("length") <= options.max_bytes).select(F.col("content").alias(DOCUMENT), *wanted)
    large = listed.where(F.col("length") > options.max_bytes).select(F.lit(None).cast("binary").alias(DOCUMENT), *wanted)
    empty = spark.createDataFrame([(b"", str(path), 0) for path in source.empty], f"{DOCUMENT} binary, {PATH} string, {SIZE} long")
    return small.unionByName(large).unionByName(empty)


def capped(document: Column, options: Text) -> Column:
    """Null for what is too large to be handed to Python."""
    return F.when(F.octet_length(document) <= options.max_bytes, document).alias(DOCUMENT)


def document_reader(
    settings: Source, options: Text, base: str, names: list[str], from_path: list[str], *, is_private: bool
) -> ArrowFunction:
    is_file = settings.document == "file"

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            contents, paths, sizes = (column.to_pylist() for column in batch.columns)
            rows = []
            for content, uri, size in zip(contents, paths, sizes, strict=True):
                path, key = plain_path(uri, base, is_encoded=not is_file)
                found = values_of(key, path, settings.pattern, tuple(from_path))
                text, reason, rule = read_document(content, size, settings, options, is_file=is_file)
                if rule is None and None in found:
                    reason, rule = f"{from_path[found.index(None)]}: {settings.pattern} is not found in the path {key}", UNREADABLE
                raw = None if rule is None else as_raw(path, content, text, size, is_private=is_private)
                rows.append((text, *found, reason, rule, raw, key if is_file else None))
            columns = list(zip(*rows, strict=True)) or [()] * len(names)
            yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)

    return read


def read_document(
    content: bytes | None, size: int, settings: Source, options: Text, *, is_file: bool
) -> tuple[str | None, str | None, str | None]:
    """(clean text, reason, rule) of one document; None for what there is not."""
    if content is None:
        return None, too_large(size, options), UNREADABLE
    try:
        decoded = documents.decode(documents.without_mark(content, settings.encoding) if is_file else content, settings.encoding)
        return documents.clean(decoded, options), None, None
    except BadDocument as error:
        return None, f"text: {error}", LENGTH if error.is_readable else UNREADABLE


def too_large(size: int, options: Text) -> str:
    return f"text: {size} bytes, more than max_bytes: {options.max_bytes}"


def as_raw(path: str, content: bytes | None, text: str | None, size: int, *, is_private: bool) -> str:
    """What quarantine keeps of a document: where it was and how it begins; with privacy rules, only where and how long."""
    known = {"path": path, "bytes": size}
    if is_private:
        return json.dumps(known, ensure_ascii=False)
    begins = text[:SHOWN_CHARACTERS] if text is not None else documents.shown(content or b"")
    return json.dumps({**known, "begins": begins}, ensure_ascii=False)


@lru_cache(maxsize=1024)
def plain_path(uri: str, base: str, *, is_encoded: bool) -> tuple[str, str]:
    """A path as the listing has it, and below the source. Spark writes file: before it, and of a line's file % codes."""
    found = unquote(uri) if is_encoded else uri
    path = found if "://" in base else "/" + found.removeprefix("file:").lstrip("/")
    return path, path.removeprefix(base).lstrip("/")


@lru_cache(maxsize=1024)
def values_of(key: str, path: str, pattern: str | None, names: tuple[str, ...]) -> tuple[str | None, ...]:
    """What a file's path says of each column: the pattern's group of its name, or, without a pattern, the folder that the file is in."""
    if pattern is None:
        return (path.rsplit("/", 2)[-2],) * len(names)
    found = re.search(pattern, key)
    return tuple(found[name] if found else None for name in names)


# Tables


def clean_column(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """The rows of a table with their text column clean; what cannot be used is marked. Lazy.

    Args:
        rows: typed, with REASON, RULE, RAW.
        recipe: with a text column.
    """
    column = recipe.content or ""
    names = rows.columns
    types = ", ".join(f"`{name}` {kind}" for name, kind in rows.dtypes)
    cleaned = rows.mapInArrow(
        in_worker(column_cleaner(column, recipe.columns[column].text or Text(), recipe.source.encoding, names)), types
    )
    raw = F.to_json(
        F.struct(*(F.substring(col(name), 1, SHOWN_CHARACTERS).alias(name) if name == column else col(name) for name in declared(names)))
    )
    return cleaned.withColumn(RAW, F.when(F.col(RULE).isNotNull(), F.coalesce(F.col(RAW), raw)))


def too_large_column(name: str, raw: Column, options: Text | None) -> tuple[Column, Column]:
    """(whether a table's text is too large to be handed to Python, why)."""
    limit, size = (options or Text()).max_bytes, F.octet_length(raw)
    text = F.concat(F.lit(f"{name}: "), size.cast("string"), F.lit(f" bytes, more than max_bytes: {limit}"))
    return F.coalesce(size > limit, F.lit(False)), text


def declared(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def column_cleaner(column: str, options: Text, encoding: str, names: list[str]) -> ArrowFunction:
    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values = dict(zip(batch.schema.names, batch.columns, strict=True))
            kept = (values[name].to_pylist() for name in (column, REASON, RULE))
            found = [clean_value(column, text, reason, rule, options, encoding) for text, reason, rule in zip(*kept, strict=True)]
            for place, name in enumerate((column, REASON, RULE)):
                values[name] = pa.array([row[place] for row in found], pa.string())
            yield pa.RecordBatch.from_arrays([values[name] for name in names], names=names)

    return work


def clean_value(
    column: str, text: str | None, reason: str | None, rule: str | None, options: Text, encoding: str
) -> tuple[str | None, str | None, str | None]:
    if rule is not None:
        return text, reason, rule
    if text is None:
        return None, f"{column}: the text is missing", UNREADABLE
    try:
        documents.check_characters(text, encoding)
        return documents.clean(text, options), None, None
    except BadDocument as error:
        return text, f"{column}: {error}", LENGTH if error.is_readable else UNREADABLE
