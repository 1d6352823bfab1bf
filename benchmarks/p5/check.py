"""Whether a side did P5's work: its rows, labels, splits, features and statistics against the raw rows and numpy.

Every side is compared with the truth on its own train rows, since the engines' hashes differ; what does not depend on the split must also
agree between sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.bench import OURS, Checked, CheckFailed, Job, Side
from benchmarks.p5 import work
from benchmarks.p5.produced import Produced, read_ours, read_peer

# x0 decides which rows stay; x1..x4 are clipped; x5, x16 and x27 are of each kind.
CHECKED = ("x0", "x1", "x2", "x3", "x4", "x5", "x16", "x27")
VALUE_ERROR = 0.002  # relative: what a sketch may be off
RANK_ERROR = 0.1  # of the smaller of share and 1 - share, at most 0.002: what a rank-based estimate may be off
DISTINCT_ERROR = 0.2  # Polars' estimate is 16 % off at 38,000 values
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def check(side: Side, job: Job, stdout: str) -> Checked:
    """Its checksum and what it says of itself.

    Raises:
        CheckFailed: with everything that is wrong.
    """
    produced = read_ours(stdout, CHECKED) if side.name == OURS else read_peer(job.out, CHECKED)
    raw, problems = Raw.of(job.data, job.rows), Problems()
    check_all(raw, produced, problems)
    if problems.found:
        raise CheckFailed(f"{side.name} did other work than was asked:\n  " + "\n  ".join(problems.found))
    return Checked(checksum(raw, produced), produced.seconds, produced.versions)


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    """What does not depend on the split is the same on every side.

    Raises:
        CheckFailed: naming both sides and both values.
    """
    (first, expected), *others = list(checksums.items()) or [("", {})]
    for name, received in others:
        for key in ("rows", "labels"):
            if received[key] != expected[key]:
                raise CheckFailed(f"{key}: {first} has {expected[key]}, {name} has {received[key]}")
        for key in ("x5_mean", "x5_std"):
            if not math.isclose(received[key], expected[key], rel_tol=1e-6):
                raise CheckFailed(f"{key}: {first} has {expected[key]!r}, {name} has {received[key]!r}")


def check_all(raw: Raw, produced: Produced, problems: Problems) -> None:
    check_rows(raw, produced, problems)
    if problems.found:  # what follows looks rows up by id
        return
    for name in CHECKED:
        check_number(name, raw, produced, problems)
    for name in work.CATEGORIES:
        check_category(name, raw, produced, problems)


class Problems:
    """What is wrong, in words."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def expect(self, holds: bool, text: str) -> None:
        if not holds:
            self.found.append(text)

    def close(self, what: str, received: float | None, expected: float, *, within: float) -> None:
        is_close = received is not None and abs(received - expected) <= within
        self.expect(is_close, f"{what}: expected {expected:.9g} within {within:.2g}, received {received}")


class Raw:
    """The input by id: values with NaN for null, codes with -1 for null."""

    def __init__(self, folder: Path, rows: int) -> None:
        table = pq.read_table(folder, columns=["id", *CHECKED, *work.CATEGORIES, "label"])
        if table.num_rows != rows or not np.array_equal(table["id"], np.arange(rows)):
            raise CheckFailed(f"{folder}: expected ids 0 to {rows - 1} in order")
        self.numbers = {name: table[name].to_numpy() for name in CHECKED}
        self.values: dict[str, list[str]] = {}
        self.codes = {name: self.coded(table[name], name) for name in (*work.CATEGORIES, "label")}
        x0 = self.numbers["x0"]
        self.is_kept = (self.codes["label"] >= 0) & (np.abs(x0) <= work.MAX_X0)

    @staticmethod
    @lru_cache(maxsize=1)
    def of(folder: Path, rows: int) -> Raw:
        return Raw(folder, rows)

    def coded(self, column: pa.ChunkedArray, name: str) -> NDArray[np.int16]:
        """Index of each value among all values, sorted."""
        self.values[name] = sorted(value for value in pc.unique(column).to_pylist() if value is not None)
        indices = pc.index_in(column, value_set=pa.array(self.values[name]))
        return np.asarray(pc.fill_null(indices, -1).to_numpy(), np.int16)


def check_rows(raw: Raw, produced: Produced, problems: Problems) -> None:
    """Each row that must be kept is in one split, once, with its label; shares are what chance allows."""
    rows = len(raw.is_kept)
    seen = np.bincount(produced.ids, minlength=rows)[:rows] if len(produced.ids) else np.zeros(rows)
    problems.expect(bool((produced.ids < rows).all()), "there are ids that the input does not have")
    problems.expect(bool((seen <= 1).all()), f"{int((seen > 1).sum())} rows are there more than once")
    lost, extra = int((raw.is_kept & (seen == 0)).sum()), int((~raw.is_kept & (seen > 0)).sum())
    problems.expect(not lost and not extra, f"{lost} rows are lost, {extra} should have been dropped")
    if problems.found:
        return
    wrong = int((produced.labels != raw.codes["label"][produced.ids]).sum())
    problems.expect(wrong == 0, f"{wrong} rows have another label than in the input")
    for number, (split, share) in enumerate(SHARES.items()):
        found = float((produced.splits == number).mean())
        problems.close(f"share of {split}", found, share, within=6 * math.sqrt(share * (1 - share) / len(produced.ids)))


def check_number(name: str, raw: Raw, produced: Produced, problems: Problems) -> None:
    """Clip bounds, statistics and features of one number column."""
    facts = produced.statistics[name]
    values = raw.numbers[name]
    train = values[produced.ids[produced.splits == 0]]
    nulls, train = int(np.isnan(train).sum()), np.sort(train[~np.isnan(train)])
    if name in work.CLIPPED:
        low, high = facts["min"], facts["max"]
        for share, bound in zip(work.CLIP_SHARES, (low, high), strict=True):
            problems.expect(is_quantile(train, share, bound), f"{name}: {bound} is not the {share} quantile {np.quantile(train, share)}")
        values, train = np.clip(values, low, high), np.clip(train, low, high)
    mean, std = float(train.mean()), float(train.std())
    for key, exact in {"count": len(train), "nulls": nulls, "min": train[0], "max": train[-1]}.items():
        problems.expect(facts[key] == exact, f"{name}: {key} expected {exact}, received {facts[key]}")
    problems.close(f"{name}: mean", facts["mean"], mean, within=1e-6 * std)
    problems.close(f"{name}: std", facts["std"], std, within=1e-6 * std)
    distinct = int((np.diff(train) > 0).sum()) + 1
    problems.close(f"{name}: distinct", facts["distinct"], distinct, within=DISTINCT_ERROR * distinct)
    problems.expect(len(facts["quantiles"]) == len(work.QUANTILES), f"{name}: quantiles {facts['quantiles']}")
    for share, value in zip(work.QUANTILES, facts["quantiles"], strict=False):
        problems.expect(is_quantile(train, share, value), f"{name}: {value} is not the {share} quantile {np.quantile(train, share)}")
    check_histogram(name, train, facts, problems)
    scaled = (np.where(np.isnan(values), mean, values) - mean)[produced.ids] / std
    off = np.abs(produced.numbers[name] - scaled) > 1e-5 * np.maximum(1, np.abs(scaled))
    problems.expect(not off.any(), f"{name}: {int(off.sum())} features differ from (value - mean) / std")


def is_quantile(ordered: NDArray[np.float64], share: float, value: float) -> bool:
    """Whether a value, or one within VALUE_ERROR of it, has the rank of the quantile within RANK_ERROR.

    Args:
        ordered: (R,) values, ascending.
        share: of values below the quantile, 0 to 1.
        value: that is said to be the quantile.
    """
    near = VALUE_ERROR * abs(value)
    low, high = np.searchsorted(ordered, [value - near, value + near], side="left")
    high = max(high, int(np.searchsorted(ordered, value + near, side="right")))
    slack = min(0.002, RANK_ERROR * min(share, 1 - share)) * len(ordered) + 1
    return bool(low - slack <= share * len(ordered) <= high + slack)


def check_histogram(name: str, train: NDArray[np.float64], facts: Mapping[str, Any], problems: Problems) -> None:
    """All values are in it, and as many below each edge as there are, each value being off by VALUE_ERROR at most."""
    edges, counts = np.asarray(facts["edges"]), np.asarray(facts["counts"])
    problems.expect(len(counts) == work.BINS and len(edges) == work.BINS + 1, f"{name}: a histogram of {len(counts)} bins")
    if len(edges) != len(counts) + 1 or not len(counts):
        return
    problems.expect(int(counts.sum()) == len(train), f"{name}: the histogram holds {int(counts.sum())} of {len(train)} values")
    inner, near = edges[1:-1], VALUE_ERROR * np.abs(edges[1:-1])
    below = np.cumsum(counts)[:-1]
    low, high = np.searchsorted(train, inner - near, side="left"), np.searchsorted(train, inner + near, side="right")
    wrong = inner[(below < low - 1) | (below > high + 1)]
    problems.expect(not len(wrong), f"{name}: the histogram has other values below {wrong[:5]}")


def check_category(name: str, raw: Raw, produced: Produced, problems: Problems) -> None:
    """Statistics of one category column, and its encoding: equal values to equal places."""
    facts, values = produced.statistics[name], raw.values[name]
    codes = raw.codes[name]
    train = codes[produced.ids[produced.splits == 0]]
    counts = np.bincount(train[train >= 0], minlength=len(values))
    for key, exact in {"count": int(counts.sum()), "nulls": int((train < 0).sum())}.items():
        problems.expect(facts[key] == exact, f"{name}: {key} expected {exact}, received {facts[key]}")
    distinct = int((counts > 0).sum())
    problems.close(f"{name}: distinct", facts["distinct"], distinct, within=DISTINCT_ERROR * distinct)
    tenth = int(np.sort(counts)[-work.TOP])
    problems.expect(len(facts["top"]) == work.TOP, f"{name}: {len(facts['top'])} top values")
    for value, rows in facts["top"]:
        exact = int(counts[values.index(value)])
        problems.expect(abs(rows - exact) <= 0.01 * exact and exact >= 0.99 * tenth, f"{name}: top value {value} with {rows}, has {exact}")
    places = produced.places[name]
    problems.expect(bool((places >= 0).all()), f"{name}: there are rows without exactly one place")
    pairs = np.divmod(np.unique((codes[produced.ids].astype(np.int64) + 1) * 1000 + places), 1000)  # (code + 1, place), each pair once
    problems.expect(len(pairs[0]) == len(np.unique(pairs[0])), f"{name}: equal values are in different places")
    if name == "c0":
        present = np.flatnonzero(counts)
        expected = {code: place for place, code in enumerate(present)}
        wrong = [values[code] for code, place in zip(pairs[0] - 1, pairs[1], strict=True) if expected.get(code, len(present)) != place]
        problems.expect(not wrong, f"{name}: values not in the place of their order: {wrong[:5]}")
    else:
        used = len(np.unique(places))
        problems.expect(0.9 * work.BUCKETS <= used <= work.BUCKETS, f"{name}: {used} of {work.BUCKETS} buckets are used")


def checksum(raw: Raw, produced: Produced) -> dict[str, Any]:
    """From what was written: rows, labels, and x5 in its raw unit, recovered from the features."""
    facts = produced.statistics["x5"]
    has_value = ~np.isnan(raw.numbers["x5"][produced.ids])
    x5 = np.asarray(produced.numbers["x5"][has_value], np.float64) * facts["std"] + facts["mean"]
    labels = np.bincount(produced.labels, minlength=len(work.CLASSES))
    return {
        "rows": len(produced.ids),
        "labels": {name: int(count) for name, count in zip(work.CLASSES, labels, strict=True)},
        "splits": {name: int((produced.splits == number).sum()) for number, name in enumerate(SHARES)},
        "x5_mean": float(x5.mean()),
        "x5_std": float(x5.std()),
        "x1_clipped": [produced.statistics["x1"]["min"], produced.statistics["x1"]["max"]],
    }
