"""P5 in DuckDB: SQL on all cores, over a table in memory, with all the memory that it likes.

Exact quantiles are as fast here as its t-digest (`approx_quantile`), which misses the 0.001 quantile of columns with gross outliers by
many times its value; so the exact ones are used.

An optional fourth argument is DuckDB's `memory_limit`. Then every pass reads the files, and a few columns at once are summarised, since
the values that an exact quantile holds cannot be spilled.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.p5 import work

KEPT = f"label IS NOT NULL AND x0 BETWEEN {-work.MAX_X0} AND {work.MAX_X0}"
QUANTILES = list(work.QUANTILES)
BOUNDED_COLUMNS = 4  # summarised at once under a limit
FACTS = ("count", "min", "max", "mean", "std", "distinct", "quantiles")


def main() -> None:
    limit = sys.argv.pop(4) if len(sys.argv) > 4 else None
    data, out, cores = work.arguments()
    laps = work.Laps()
    engine = connect(out, cores, limit)
    kept = "VIEW" if limit else "TABLE"
    engine.execute(f"CREATE TEMP {kept} kept AS SELECT *, (hash(id) % 10)::UTINYINT AS tenth FROM '{data}/*.parquet' WHERE {KEPT}")
    laps.lap("read")
    bounds = clip_bounds(engine)
    engine.execute(f"CREATE TEMP VIEW clean AS SELECT * REPLACE ({', '.join(clipped(*bound) for bound in bounds)}) FROM kept")
    engine.execute("CREATE TEMP VIEW train AS SELECT * FROM clean WHERE tenth < 8")
    laps.lap("clip bounds")
    at_once = BOUNDED_COLUMNS if limit else len(work.NUMBERS)
    statistics: dict[str, dict[str, Any]] = {}
    for first in range(0, len(work.NUMBERS), at_once):
        statistics |= number_statistics(engine, work.NUMBERS[first : first + at_once])
    statistics |= {name: category_statistics(engine, name) for name in work.CATEGORIES}
    laps.lap("statistics")
    engine.execute("CREATE TYPE towns AS ENUM (SELECT DISTINCT c0 FROM train WHERE c0 IS NOT NULL ORDER BY c0)")
    for split, tenths in work.TENTHS.items():
        write(engine, statistics, f"tenth BETWEEN {tenths[0]} AND {tenths[-1]}", out / split / "part.parquet")
    laps.lap("write")
    work.report(out, statistics, laps, duckdb=duckdb.__version__)


def connect(out: Path, cores: int, limit: str | None) -> duckdb.DuckDBPyConnection:
    settings: dict[str, Any] = {"threads": cores, "preserve_insertion_order": False, "temp_directory": str(out / ".spill")}
    return duckdb.connect(config={**settings, **({"memory_limit": limit} if limit else {})})


def clip_bounds(engine: duckdb.DuckDBPyConnection) -> list[tuple[str, float, float]]:
    wanted = ", ".join(f"quantile_cont({name}, {list(work.CLIP_SHARES)})" for name in work.CLIPPED)
    found = one_row(engine, f"SELECT {wanted} FROM kept WHERE tenth < 8")
    return [(name, low, high) for name, (low, high) in zip(work.CLIPPED, found, strict=True)]


def clipped(name: str, low: float, high: float) -> str:
    # greatest and least pass over nulls, a comparison does not
    return f"CASE WHEN {name} < {low!r} THEN {low!r} WHEN {name} > {high!r} THEN {high!r} ELSE {name} END AS {name}"


def number_statistics(engine: duckdb.DuckDBPyConnection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """One pass for all facts of these columns, one for their histograms, whose edges need the first."""
    facts = ["count({0})", "min({0})", "max({0})", "avg({0})", "stddev_pop({0})", "approx_count_distinct({0})"]
    wanted = [fact.format(name) for name in names for fact in [*facts, f"quantile_cont({{0}}, {QUANTILES})"]]
    rows, *found = one_row(engine, f"SELECT count(*), {', '.join(wanted)} FROM train")
    width = len(FACTS)
    statistics = {name: dict(zip(FACTS, found[index * width : (index + 1) * width], strict=True)) for index, name in enumerate(names)}
    for facts_of in statistics.values():
        facts_of |= {"nulls": rows - facts_of["count"], "edges": work.edges(facts_of["min"], facts_of["max"])}
    histograms = ", ".join(f"histogram({name}, {facts_of['edges'][1:]})" for name, facts_of in statistics.items())
    for facts_of, counts in zip(statistics.values(), one_row(engine, f"SELECT {histograms} FROM train"), strict=True):
        facts_of["counts"] = [counts.get(edge, 0) for edge in facts_of["edges"][1:]]
    return statistics


def category_statistics(engine: duckdb.DuckDBPyConnection, name: str) -> dict[str, Any]:
    count, nulls, distinct = one_row(engine, f"SELECT count({name}), count(*) - count({name}), approx_count_distinct({name}) FROM train")
    by_count = f"SELECT {name}, count(*) FROM train WHERE {name} IS NOT NULL GROUP BY ALL ORDER BY 2 DESC, 1 LIMIT {work.TOP}"
    return {"count": count, "nulls": nulls, "distinct": distinct, "top": engine.execute(by_count).fetchall()}


def write(engine: duckdb.DuckDBPyConnection, statistics: dict[str, dict[str, Any]], rows: str, path: Path) -> None:
    label = " ".join(f"WHEN '{value}' THEN {index}" for index, value in enumerate(work.CLASSES))
    columns = ["id", f"(CASE label {label} END)::UTINYINT AS label", *(scaled(name, statistics[name]) for name in work.NUMBERS)]
    columns += [f"coalesce(enum_code(TRY_CAST(c0 AS towns)), {work.CATEGORIES['c0']})::UTINYINT AS c0"]
    columns += [f"(hash(c1) % {work.BUCKETS})::UTINYINT AS c1"]
    engine.execute(f"COPY (SELECT {', '.join(columns)} FROM clean WHERE {rows}) TO '{path}' (FORMAT parquet, COMPRESSION snappy)")


def scaled(name: str, facts: dict[str, Any]) -> str:
    return f"coalesce(({name} - {facts['mean']!r}) / {facts['std']!r}, 0)::FLOAT AS {name}"


def one_row(engine: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return list(engine.execute(query).fetchall()[0])


if __name__ == "__main__":
    main()
