"""Raw files -> rows with the columns of columns.py, but for the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.columns import CONTENT, KEY, ORDER, RAW, REASON, RULE, hash_of
from pipeline.prepare.kinds import KINDS, Undecodable
from pipeline.prepare.source import RawFiles, escape_glob
from pipeline.prepare.tables import read_table
from pipeline.prepare.tasks import ArrowFunction
from pipeline.sections.data import Column


def read_rows(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """All rows of the source. Lazy, but for headers and footers.

    Raises:
        DataError: a declared column is not in the source.
    """
    return read_images(spark, recipe, source) if recipe.source.format == "images" else read_table(spark, recipe, source)


def read_images(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """Image files, decoded; the label is the name of the folder an image is in, the key its path below the source's folder."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    files = reader.load(escape_glob(source.base_uri) if source.is_folder else [escape_glob(uri) for uri in source.uris])
    image, label = recipe.names("image")[0], recipe.label
    empty = spark.createDataFrame([(str(path), b"") for path in source.empty], "path string, content binary")
    schema = f"`{image}` binary, `{label}` string, {REASON} string, {RAW} string, {KEY} string"
    decode_batches = decoder(source.base_uri, recipe.columns[image], [image, label, REASON, RAW, KEY])
    rows = files.select("path", "content").unionByName(empty).mapInArrow(decode_batches, schema)
    declared = [F.col(image), F.col(label)]
    return rows.select(
        "*",
        F.when(F.col(REASON).isNotNull(), F.lit("unreadable")).alias(RULE),
        *(hash_of(salt, declared).alias(name) for salt, name in enumerate(CONTENT)),
        hash_of("key", [F.col(KEY)]).alias(ORDER),
    )


def decoder(base: str, column: Column, names: list[str]) -> ArrowFunction:
    def decode_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            paths, contents = (column.to_pylist() for column in batch.columns)
            rows = [decode_file(path, content, base, column) for path, content in zip(paths, contents, strict=True)]
            columns = list(zip(*rows, strict=True)) or [()] * 5
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.binary() if index == 0 else pa.string()) for index, column in enumerate(columns)],
                names=names,
            )

    return decode_batches


def decode_file(path: str, content: bytes, base: str, column: Column) -> tuple[bytes | str | None, str, str | None, str | None, str]:
    """(packed pixels or None, label, reason or None, raw, key) of one image file."""
    plain = path if "://" in base else "/" + path.removeprefix("file:").lstrip("/")
    key = plain.removeprefix(base).lstrip("/")
    label = plain.rsplit("/", 2)[-2]
    try:
        return KINDS[column.kind].decode(content, column).value, label, None, plain, key
    except Undecodable as error:
        return None, label, str(error), plain, key
