"""P5 in Polars: lazy queries on its streaming engine, on all cores. Quantiles are exact, which is all that it has."""

from __future__ import annotations

from typing import Any

import polars as pl

from benchmarks.p5 import work

QUANTILES = list(work.QUANTILES)
BIN = pl.DataFrame({"bin": range(work.BINS)}, schema={"bin": pl.UInt8})


def main() -> None:
    data, out, cores = work.arguments()
    if pl.thread_pool_size() != cores:
        raise SystemExit(f"Polars has {pl.thread_pool_size()} threads, expected {cores}. Set POLARS_MAX_THREADS.")
    laps = work.Laps()
    kept = (
        pl.scan_parquet(data / "*.parquet")
        .filter(pl.col("label").is_not_null() & pl.col("x0").is_between(-work.MAX_X0, work.MAX_X0))
        .with_columns(tenth=(pl.col("id").hash(0) % 10).cast(pl.UInt8))
    )
    clean = kept.with_columns(clip_to(one_row(kept.filter(pl.col("tenth") < 8), clip_bounds())))
    train = clean.filter(pl.col("tenth") < 8)
    laps.lap("clip bounds")
    statistics = number_statistics(train) | {name: category_statistics(train, name) for name in work.CATEGORIES}
    laps.lap("statistics")
    towns = train.select(pl.col("c0").drop_nulls().unique().sort()).collect(engine="streaming")["c0"].to_list()
    rows = clean.select(*features(statistics, towns), "tenth")
    writes = [
        rows.filter(pl.col("tenth").is_between(tenths[0], tenths[-1]))
        .drop("tenth")
        .sink_parquet(out / split / "part.parquet", compression="snappy", maintain_order=False, lazy=True)
        for split, tenths in work.TENTHS.items()
    ]
    pl.collect_all(writes, engine="streaming")
    laps.lap("write")
    work.report(out, statistics, laps, polars=pl.__version__)


def clip_bounds() -> list[pl.Expr]:
    return [pl.col(name).quantile(list(work.CLIP_SHARES), "linear") for name in work.CLIPPED]


def clip_to(bounds: dict[str, Any]) -> list[pl.Expr]:
    return [pl.col(name).clip(*values) for name, values in bounds.items()]


def number_statistics(train: pl.LazyFrame) -> dict[str, dict[str, Any]]:
    """One pass for all facts of all numbers, one for all histograms, whose edges need the first."""
    wanted = [fact.alias(f"{name}:{key}") for name in work.NUMBERS for key, fact in facts_of(pl.col(name)).items()]
    found = one_row(train, wanted)
    statistics = {name: {key: found[f"{name}:{key}"] for key in facts_of(pl.col(name))} for name in work.NUMBERS}
    for facts in statistics.values():
        facts["edges"] = work.edges(facts["min"], facts["max"])
    histograms = [train.group_by(bin_of(name, facts)).len() for name, facts in statistics.items()]
    for facts, counts in zip(statistics.values(), pl.collect_all(histograms, engine="streaming"), strict=True):
        facts["counts"] = BIN.join(counts, on="bin", how="left").sort("bin")["len"].fill_null(0).to_list()
    return statistics


def facts_of(column: pl.Expr) -> dict[str, pl.Expr]:
    moments = {"min": column.min(), "max": column.max(), "mean": column.mean(), "std": column.std(ddof=0)}
    quantiles = column.quantile(QUANTILES, "linear")
    return {"count": column.count(), "nulls": column.null_count(), **moments, "distinct": column.approx_n_unique(), "quantiles": quantiles}


def bin_of(name: str, facts: dict[str, Any]) -> pl.Expr:
    scale = work.BINS / (facts["max"] - facts["min"])
    return ((pl.col(name) - facts["min"]) * scale).floor().clip(0, work.BINS - 1).cast(pl.UInt8).alias("bin")


def category_statistics(train: pl.LazyFrame, name: str) -> dict[str, Any]:
    column = pl.col(name)
    facts = one_row(train, [column.count().alias("count"), column.null_count().alias("nulls"), column.approx_n_unique().alias("distinct")])
    by_count = train.filter(column.is_not_null()).group_by(name).len().top_k(work.TOP, by="len").sort("len", descending=True)
    return {**facts, "top": [list(row) for row in by_count.collect(engine="streaming").rows()]}


def features(statistics: dict[str, dict[str, Any]], towns: list[str]) -> list[pl.Expr]:
    label = pl.col("label").replace_strict(list(work.CLASSES), list(range(len(work.CLASSES))), return_dtype=pl.UInt8)
    numbers = [((pl.col(name) - statistics[name]["mean"]) / statistics[name]["std"]).fill_null(0).cast(pl.Float32) for name in work.NUMBERS]
    town = pl.col("c0").replace_strict(towns, list(range(len(towns))), default=work.CATEGORIES["c0"], return_dtype=pl.UInt8)
    return [pl.col("id"), label, *numbers, town, (pl.col("c1").hash(0) % work.BUCKETS).cast(pl.UInt8)]


def one_row(rows: pl.LazyFrame, wanted: list[pl.Expr]) -> dict[str, Any]:
    return rows.select(wanted).collect(engine="streaming").row(0, named=True)


if __name__ == "__main__":
    main()
