"""P7: going on in the middle of an epoch over 1,000 files."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, Checked, CheckFailed, Job, Side, at_most
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.MANY_FILES, "files"


def check(side: Side, job: Job, output: str) -> Checked:
    found = declare.check_report(side, job, output)
    rows_given = found.checksum["steps"] * KIND.batch
    if not found.checksum["rows"] == found.checksum["distinct"] == rows_given:
        raise CheckFailed(f"{found.checksum}: expected {rows_given} rows of the epoch, none of them twice.")
    return found


BENCHMARK = Benchmark(
    id="P7",
    title="resume in the middle of an epoch over 1,000 files",
    steps=("TensorFlow is up", "open the feed at half of an epoch", "first batch", "the rest, and the half before it: no row twice"),
    sizes={SIZE: 1_000_000},
    quick_rows=200_000,
    sides=tuple(declare.on_both(KIND, OURS, "resume", "our feed at a position")),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=check,
    values={
        "first_batch_s": lambda figures: figures(SIZE, OURS, "own.first_batch_s"),
        "first_batch_s_1core": lambda figures: figures(SIZE, f"{OURS}-1core", "own.first_batch_s"),
    },
    targets={"first_batch_s": at_most(0.5)},
    fairness=("no peer can go on within an epoch: Petastorm and tf.data would read up to the position again",),
)
