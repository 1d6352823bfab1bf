"""Sources in which every file is a row: a folder of images or sounds. What a row has besides comes from its path.

Python's workers open local files themselves, one after another: nothing but names goes through the JVM on the way in, and
a large file is in memory once. Files behind a URL come through Hadoop's file systems.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.columns import CONTENT, KEY, ORDER, RAW, REASON, RULE, col, hash_of
from pipeline.prepare.decoding import Row, batched, max_bytes, read_limited
from pipeline.prepare.kinds import KINDS, Undecodable
from pipeline.prepare.source import RawFiles
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.sections.data import Column

TASK_FILES = 256  # at most, that one task decodes
MIN_TASKS = 4


def read_files(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """One row a file, decoded: key is its path below the source, other columns are what `source.pattern` finds in that. Lazy."""
    content = recipe.content or ""
    names = path_columns(recipe)
    column = recipe.columns[content]
    texts = ", ".join(f"`{name}` string" for name in (*names, REASON, RAW, KEY))
    schema = f"`{content}` {KINDS[column.kind].staged}, {texts}"
    to_row = row_maker(source.base_uri, column, names, recipe.source.pattern)
    columns = [content, *names, REASON, RAW, KEY]
    if source.is_local:
        files = spark.range(0, len(source.uris), 1, min(len(source.uris), max(MIN_TASKS, -(-len(source.uris) // TASK_FILES))))
        rows = files.mapInArrow(in_worker(opener(source.uris, column, to_row, columns)), schema)
    else:
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        rows = reader.load(list(source.uris)).select("path", "content").mapInArrow(in_worker(receiver(column, to_row, columns)), schema)
    return with_hashes(rows, [content, *names])


def with_hashes(rows: DataFrame, declared: Sequence[str]) -> DataFrame:
    """Rows that have a key of their own, with what follows from content and key."""
    return rows.select(
        "*",
        F.when(F.col(REASON).isNotNull(), F.lit("unreadable")).alias(RULE),
        *(hash_of(salt, [col(name) for name in declared]).alias(name) for salt, name in enumerate(CONTENT)),
        hash_of("key", [F.col(KEY)]).alias(ORDER),
    )


def path_columns(recipe: Recipe) -> list[str]:
    """Declared columns that the path gives."""
    return [name for name, column in recipe.columns.items() if column.role != "ignore" and name != recipe.content]


RowMaker = Callable[[str, Callable[[], bytes]], Row]


def opener(uris: Sequence[str], column: Column, to_row: RowMaker, names: list[str]) -> ArrowFunction:
    limit = max_bytes(column)

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = (number for batch in batches for number in batch.column(0).to_pylist())
        yield from batched((to_row(uris[number], partial(read_limited, uris[number], limit)) for number in numbers), column, names)

    return read


def receiver(column: Column, to_row: RowMaker, names: list[str]) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        pairs = (pair for batch in batches for pair in zip(*batch.columns, strict=True))
        yield from batched((to_row(path.as_py(), content.as_py) for path, content in pairs), column, names)

    return read


def row_maker(base: str, column: Column, names: Sequence[str], pattern: str | None) -> RowMaker:
    """(path, how to get its content) -> staged value or None, each of `names`, reason or None, raw, key."""
    kind = KINDS[column.kind]

    def to_row(path: str, content: Callable[[], bytes]) -> Row:
        plain = path if "://" in base else "/" + path.removeprefix("file:").lstrip("/")
        key = plain.removeprefix(base).lstrip("/")
        texts = in_path(plain, key, names, pattern)
        try:
            if missing := [name for name, text in zip(names, texts, strict=True) if text is None]:
                raise Undecodable(f"source.pattern finds no {', '.join(missing)} in the path {json.dumps(key)}")
            return kind.decode(content(), column, key).value, *texts, None, plain, key
        except Undecodable as error:
            return None, *texts, str(error), plain, key

    return to_row


def in_path(plain: str, key: str, names: Sequence[str], pattern: str | None) -> list[str | None]:
    """The texts of `names`: groups of the pattern, or the name of the folder that the file is in."""
    if pattern is None:
        return [plain.rsplit("/", 2)[-2] for _ in names]
    match = re.search(pattern, key)
    return [match.groupdict().get(name) if match else None for name in names]
