"""Train rows against those of an earlier run, column by column, from their sketches. Pure.

Rows are put into bins, those without a value into one of their own:

- numbers: ten bins, cut at the deciles of the earlier run; a value that reaches over several deciles is in one bin with what is below it.
- categories: a bin for each value that both sketches count, one for all others.

Bins that both runs leave empty do not count. Half a row is added to each of the others, so that an empty one has a logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.prepare.buckets import bucket_of
from pipeline.prepare.sketch import CategorySketch, NumberSketch, Sketch
from pipeline.schema import Drifted, Shift
from pipeline.sections.data import Drift

NUM_BINS = 10
NUM_LISTED = 20  # new categories
ENOUGH = 30  # values of each sample that a bucket needs to be divided as they are: a standard error of 18 % of what it holds
_SMOOTHING = 0.5

Integers = NDArray[np.int64]
Placed = tuple[NDArray[np.float64], Integers]  # ((V,) ascending values, (V,) rows at each)


def compare(baseline: Mapping[str, Sketch], current: Mapping[str, Sketch], limits: Drift) -> tuple[Shift, ...]:
    """How far each column that both have, and as the same kind, has shifted; in the order of `current`."""
    pairs = ((name, baseline[name], sketch) for name, sketch in current.items() if name in baseline)
    shifts = (measure(name, before, after) for name, before, after in pairs if type(before) is type(after))
    return tuple(judge(shift, limits) for shift in shifts)


def measure(column: str, before: Sketch, after: Sketch) -> Shift:
    """The shift from one sketch to another of the same kind, without a verdict."""
    new: tuple[str, ...] = ()
    if isinstance(before, NumberSketch) and isinstance(after, NumberSketch):
        rows = bin_numbers(before, after)
    elif isinstance(before, CategorySketch) and isinstance(after, CategorySketch):
        rows = bin_categories(before, after)
        new = new_categories(before, after)
    else:
        raise TypeError(f"{column}: sketches of one column are of one kind, received {type(before).__name__} and {type(after).__name__}.")
    rows = np.column_stack([rows, [before.nulls, after.nulls]])
    return Shift(column=column, psi=population_stability(*rows), js=jensen_shannon(*rows), new_categories=new)


def judge(shift: Shift, limits: Drift) -> Shift:
    verdict = "fail" if breaches(shift, limits, "fail") else "warn" if breaches(shift, limits, "warn") else "ok"
    return shift.model_copy(update={"verdict": verdict})


def check_drift(drifted: Drifted, limits: Drift | None = None) -> None:
    """Refuse train rows that have shifted too far.

    Args:
        drifted: what `compare` found.
        limits: those of its verdicts, to be named in the message.

    Raises:
        DataError: a column's verdict is fail; every such column is named.
    """
    failed = [f"{shift.column}: {reasons(shift, limits)}" for shift in drifted.shifts if shift.verdict == "fail"]
    if failed:
        raise DataError(
            f"{len(failed)} of {len(drifted.shifts)} columns have shifted too far from the train rows of {drifted.against}:\n  "
            + "\n  ".join(failed)
            + "\nMend the source. If the change is wanted, raise drift.max_psi and drift.max_js, or set drift.new_categories: warn."
        )


def warnings(drifted: Drifted, limits: Drift | None = None) -> tuple[str, ...]:
    """A line for each column that has shifted, but not so far that the run fails."""
    warned = (shift for shift in drifted.shifts if shift.verdict == "warn")
    return tuple(f"{shift.column} has shifted from {drifted.against}: {reasons(shift, limits)}" for shift in warned)


def reasons(shift: Shift, limits: Drift | None) -> str:
    if limits is not None:
        return ", ".join(breaches(shift, limits, shift.verdict))
    new = f", new categories {', '.join(map(repr, shift.new_categories))}" if shift.new_categories else ""
    return f"PSI {shift.psi:.3g}, Jensen-Shannon {shift.js:.3g}{new}"


def breaches(shift: Shift, limits: Drift, verdict: str) -> list[str]:
    """What speaks for a verdict of warn or fail: the value found, and the limit that it is beyond."""
    if verdict == "fail":
        measured = [("PSI", shift.psi, "max_psi", limits.max_psi), ("Jensen-Shannon", shift.js, "max_js", limits.max_js)]
    else:
        measured = [("PSI", shift.psi, "warn_psi", limits.warn_psi)]
    found = [
        f"{name} {value:.3g} is above drift.{key} {limit:g}" for name, value, key, limit in measured if limit is not None and value > limit
    ]
    if shift.new_categories and limits.new_categories == verdict:
        found.append(f"new categories {', '.join(map(repr, shift.new_categories))} (drift.new_categories: {verdict})")
    return found


def population_stability(before: Integers, after: Integers) -> float:
    """Population stability index of (B,) rows in bins: 0 and up. It is Jeffreys' divergence of their shares, in nats."""
    old, new = shares(before, after)
    return float(np.sum((new - old) * np.log(new / old)))


def jensen_shannon(before: Integers, after: Integers) -> float:
    """Jensen–Shannon divergence, base 2, of (B,) rows in bins: 0 to 1, the same both ways."""
    old, new = shares(before, after)
    middle = (old + new) / 2
    divergence = np.sum(old * np.log2(old / middle)) / 2 + np.sum(new * np.log2(new / middle)) / 2
    return min(max(float(divergence), 0.0), 1.0)


def shares(*rows: Integers) -> list[NDArray[np.float64]]:
    used = np.sum(rows, axis=0) > 0
    smoothed = [counts[used] + _SMOOTHING for counts in rows]
    return [counts / counts.sum() for counts in smoothed]


def bin_numbers(before: NumberSketch, after: NumberSketch) -> Integers:
    """(2, B) rows of each sketch between the deciles of the first."""
    placed = place(before, after)
    values, rows = placed[0]
    deciles = [-(-before.count * part // NUM_BINS) for part in range(1, NUM_BINS)]
    edges = np.unique(values[np.searchsorted(np.cumsum(rows), deciles)]) if before.count else values
    return np.stack([np.bincount(np.searchsorted(edges, at), count, len(edges) + 1).astype(np.int64) for at, count in placed])


def place(before: NumberSketch, after: NumberSketch) -> tuple[Placed, Placed]:
    """Values to cut at, such that rows with the same value are at the same place in both.

    That is the value itself if all are counted. Else it is the middle of its bucket, of which both sketches have exact counts; but where
    many values share a bucket, as in 1,000,000 ± 10, its rows are where the sample's values are: those that would be in either sample.
    """
    if before.is_complete and after.is_complete:
        return before.weighted_values(), after.weighted_values()
    bound = min(before.bound, after.bound)
    (old, old_rows), (new, new_rows) = before.counts_within(bound), after.counts_within(bound)
    divided = np.intersect1d(crowded_buckets(old), crowded_buckets(new))
    in_old, in_new = np.isin(bucket_of(old), divided), np.isin(bucket_of(new), divided)
    return before.spread_over(old[in_old], old_rows[in_old]), after.spread_over(new[in_new], new_rows[in_new])


def crowded_buckets(values: NDArray[np.float64]) -> Integers:
    ids, sizes = np.unique(bucket_of(values), return_counts=True)
    return ids[sizes >= ENOUGH]


def bin_categories(before: CategorySketch, after: CategorySketch) -> Integers:
    """(2, B) rows of each sketch with each value that both would count, and with any other."""
    bound = min(before.bound, after.bound)
    known = [sketch.counts_within(bound) for sketch in (before, after)]
    values = sorted(known[0].keys() | known[1].keys())
    rows = [[counts.get(value, 0) for value in values] for counts in known]
    return np.array([[*counts, sketch.count - sum(counts)] for counts, sketch in zip(rows, (before, after), strict=True)], np.int64)


def new_categories(before: CategorySketch, after: CategorySketch) -> tuple[str, ...]:
    """Values that the earlier rows had not, most frequent first; none where not all of its values are known."""
    if not before.is_complete:
        return ()
    known = before.value_counts
    new = [(value, rows) for value, rows in after.value_counts.items() if value not in known]
    return tuple(value for value, _ in sorted(new, key=lambda item: -item[1])[:NUM_LISTED])
