"""P3: `model.fit` through the whole feed against `model.fit` on the same rows in memory."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, at_least, at_most
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.TABLE, "table"
FED, IN_MEMORY = "fed from prepared Parquet by our feed", "model.fit(arrays, shuffle=True)"

BENCHMARK = Benchmark(
    id="P3",
    title="fit through the feed over fit in memory: a dense network of 256 and 256, batches of 1,024",
    steps=("four epochs of model.fit, the first not timed", "the same rows, batch, steps and steps_per_execution"),
    sizes={SIZE: 800_000},
    quick_rows=100_000,
    sides=(
        declare.side(KIND, OURS, "fit", FED, "feed"),
        declare.side(KIND, "memory", "fit", IN_MEMORY, "memory"),
        declare.side(KIND, f"{OURS}-1core", "fit", f"{FED}; bound to one core", "feed", cores=1, repetitions=1),
        declare.side(KIND, "memory-1core", "fit", f"{IN_MEMORY}; bound to one core", "memory", cores=1, repetitions=1),
    ),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=declare.check_report,
    agree=declare.agree,
    values={
        "rate_over_memory": declare.ratio(OURS, "memory", SIZE),
        "rate_over_memory_1core": declare.ratio(f"{OURS}-1core", "memory-1core", SIZE),
        "waited_share": lambda figures: figures(SIZE, OURS, "own.waited_share"),
    },
    targets={"rate_over_memory": at_least(0.97), "waited_share": at_most(0.05)},
    fairness=(
        "Keras gathers shuffled rows from arrays itself, on the same cores; it shuffles all rows, ours those of a file in each lane",
        "an epoch is timed from the end of the one before, so that ours pays for a fit and a dataset of its own in every epoch",
        "both have weights of rows",
    ),
)
