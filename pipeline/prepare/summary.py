"""What a manifest and a report say of a column, from its sketch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.prepare.sketch import CategorySketch, NumberSketch, Sketch
from pipeline.schema import ColumnStatistics, Histogram

QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")
_BINS = 40


def summarise(sketch: Sketch) -> ColumnStatistics:
    """Statistics of either kind of column."""
    common = {"count": sketch.count, "nulls": sketch.nulls, "distinct": sketch.distinct}
    if isinstance(sketch, CategorySketch):
        return ColumnStatistics(**common, top=_most_frequent(sketch.value_counts))
    if not sketch.count:
        return ColumnStatistics(**common)
    values = {_number_text(value): rows for value, rows in sketch.value_counts.items()} if sketch.is_complete else {}
    found = sketch.quantiles([float(name) for name in QUANTILES])
    return ColumnStatistics(
        **common,
        top=_most_frequent(values),
        mean=sketch.mean,
        std=sketch.std,
        min=sketch.min,
        max=sketch.max,
        quantiles=dict(zip(QUANTILES, found.tolist(), strict=True)),
        histogram=_histogram(sketch),
    )


def _most_frequent(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:10])


def _number_text(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _histogram(sketch: NumberSketch) -> Histogram:
    low, high = sketch.quantiles([0.005, 0.995]).tolist()
    if low == high:
        low, high = sketch.min, sketch.max
    if low == high:
        margin = max(0.5, abs(low) / 1000)
        return Histogram(edges=(low - margin, low + margin), counts=(sketch.count,))
    values, counts = sketch.weighted_values()
    edges = np.linspace(low, high, min(_BINS, len(values)) + 1)
    bins = np.searchsorted(edges[1:-1], values, side="right")
    rows = np.bincount(bins, counts, minlength=len(edges) - 1).astype(np.int64)
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(rows.tolist()))
