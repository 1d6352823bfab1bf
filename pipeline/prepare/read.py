"""Raw files -> rows with the columns of columns.py, but for the split."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from pipeline.config import Recipe
from pipeline.prepare.files import read_files
from pipeline.prepare.idx import read_idx
from pipeline.prepare.read_text import read_texts
from pipeline.prepare.source import RawFiles
from pipeline.prepare.tables import read_table


def read_rows(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """All rows of the source. Lazy, but for headers and footers.

    Raises:
        DataError: a declared column is not in the source.
    """
    match recipe.source.format:
        case "images" | "audio":
            return read_files(spark, recipe, source)
        case "text":
            return read_texts(spark, recipe, source)
        case "idx":
            return read_idx(spark, recipe, source)
    return read_table(spark, recipe, source)
