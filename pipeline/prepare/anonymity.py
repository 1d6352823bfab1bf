"""How well people hide: groups of kept rows with the same quasi-identifiers, as they were staged. Spark counts, this only asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipeline.errors import DataError
from pipeline.prepare.columns import NUMBERS, col
from pipeline.prepare.sketching import number_matrix
from pipeline.prepare.staging import Layout, read_staged
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.schema import AnonymityFacts
from pipeline.sections.privacy import Anonymity

SENSITIVE = "_sensitive"


def measure(spark: SparkSession, asked: Anonymity, layout: Layout, tally: Tally, work: Path) -> AnonymityFacts:
    """Anonymity and diversity over all splits. One Spark job. A missing value is a value like others."""
    parts = [(split, int(partition)) for split, rows in sorted(tally.staged.items()) for partition in rows]
    names = [f"q{place}" for place in range(len(asked.columns))]
    columns = [*asked.columns, asked.sensitive or asked.columns[0]]
    reader = column_reader(parts, str(work), layout, columns, [*names, SENSITIVE])
    staged = spark.range(0, len(parts), 1, len(parts)).mapInArrow(
        in_worker(reader), ", ".join(f"{name} string" for name in [*names, SENSITIVE])
    )
    different = F.count_distinct(F.coalesce(F.col(SENSITIVE), F.lit("\0missing")))
    groups = staged.groupBy(*map(col, names)).agg(F.count(F.lit(1)).alias("rows"), different.alias("values"))
    found = groups.agg(
        F.sum("rows").alias("rows"),
        F.count(F.lit(1)).alias("groups"),
        F.min("rows").alias("k"),
        F.sum(F.when(F.col("rows") < asked.min_k, F.col("rows")).otherwise(0)).alias("rows_below_k"),
        F.min("values").alias("diversity"),
        F.sum(F.when(F.col("values") < asked.min_l, F.col("rows")).otherwise(0)).alias("rows_below_l"),
    ).collect()[0]
    has_l = asked.sensitive is not None
    return AnonymityFacts(
        columns=asked.columns,
        sensitive=asked.sensitive,
        rows=found["rows"],
        groups=found["groups"],
        k=found["k"],
        min_k=asked.min_k,
        rows_below_k=found["rows_below_k"],
        diversity=found["diversity"] if has_l else None,
        min_l=asked.min_l,
        rows_below_l=found["rows_below_l"] if has_l else 0,
        holds=found["k"] >= asked.min_k and (not has_l or found["diversity"] >= asked.min_l),
    )


def column_reader(
    parts: Sequence[tuple[str, int]], work: str, layout: Layout, columns: Sequence[str], names: Sequence[str]
) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in [number for batch in batches for number in batch.column(0).to_pylist()]:
            split, partition = parts[number]
            rows = read_staged(Path(work), split, partition)
            yield from pa.table({name: as_text(rows, column, layout) for name, column in zip(names, columns, strict=True)}).to_batches()

    return read


def as_text(rows: pa.Table, column: str, layout: Layout) -> pa.Array:
    if column in layout.texts:
        return rows[column].combine_chunks()
    numbers = number_matrix(rows[NUMBERS].combine_chunks(), len(layout.numbers))[:, layout.numbers.index(column)]
    return pa.array(numbers).cast(pa.string())


def check(found: AnonymityFacts, below: str, note: Callable[[str], Any]) -> None:
    """Raises DataError if too few people share their quasi-identifiers and the recipe says fail; else says so."""
    if found.holds:
        return
    below_k = f"{found.rows_below_k} of {found.rows} rows below"
    text = f"k-anonymity over {', '.join(found.columns)}: k is {found.k}, expected {found.min_k} ({below_k})"
    if found.diversity is not None:
        text += f"; l of {found.sensitive} is {found.diversity}, expected {found.min_l} ({found.rows_below_l} rows below)"
    if below == "fail":
        raise DataError(f"{text}. Nothing was published. Generalise these columns more (privacy.columns), or drop rare rows.")
    note(text)
