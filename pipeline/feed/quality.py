"""How well an order is shuffled, measured on the plan itself. Pure numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.feed.plan import Plan
from pipeline.schema import ShuffleFacts

MEASURED_ROWS = 1_000_000  # of larger splits a smaller one of the same shape is measured: as many files and lanes, fewer rows in each
SORTED_CLASSES = 10


def measure(plan: Plan) -> ShuffleFacts:
    """The shuffle of a plan, as if its rows were stored sorted by a label of ten equally frequent classes: the worst that there is."""
    small = scaled(plan)
    first, second = consumed(small, 0), consumed(small, 1)
    labels = first * SORTED_CLASSES // small.num_rows
    return ShuffleFacts(
        window_rows=sum(sorted(plan.rows_per_file)[-plan.lanes :]),
        rows_left_out=plan.num_rows - plan.num_steps * plan.global_batch,
        order_correlation=round(rank_correlation(first, second), 4),
        label_run=round(mean_run(labels), 3),
        label_run_ideal=round(SORTED_CLASSES / (SORTED_CLASSES - 1), 3),
        classes_per_batch=round(distinct_per_batch(labels, small.global_batch), 2),
        classes_per_batch_ideal=round(SORTED_CLASSES * (1 - (1 - 1 / SORTED_CLASSES) ** small.global_batch), 2),
    )


def scaled(plan: Plan) -> Plan:
    factor = plan.num_rows / MEASURED_ROWS
    if factor <= 1:
        return plan
    rows = tuple(max(min(1, count), round(count / factor)) for count in plan.rows_per_file)
    return replace(plan, rows_per_file=rows) if sum(rows) // plan.lanes >= plan.rows_per_lane_batch else plan


def consumed(plan: Plan, epoch: int) -> NDArray[np.int64]:
    """(steps * G,) row numbers over all files, in the order in which global batches hold them."""
    offsets = np.concatenate([[0], np.cumsum(plan.rows_per_file)]).astype(np.int64)
    orders: dict[int, NDArray[np.int64]] = {}

    def rows_of(lane: int) -> NDArray[np.int64]:
        parts = []
        for segment in plan.segments(epoch, lane):
            if segment.file not in orders:
                orders[segment.file] = plan.row_order(epoch, segment.file)
            parts.append(offsets[segment.file] + orders[segment.file][segment.begin : segment.end])
        return np.concatenate(parts)

    lanes = [rows_of(lane).reshape(plan.num_steps, plan.rows_per_lane_batch) for lane in range(plan.lanes)]
    order: NDArray[np.int64] = np.concatenate(lanes, axis=1).ravel()
    return order


def rank_correlation(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Spearman's, between a row's places in two orders; of the rows that are in both. 0 is what independent orders give."""
    places = np.full(int(max(first.max(), second.max())) + 1, -1, np.int64)
    places[first] = np.arange(len(first))
    earlier = places[second]
    pairs = np.stack([earlier, np.arange(len(second))])[:, earlier >= 0]
    if pairs.shape[1] < 3:
        return 0.0
    ranks = np.argsort(np.argsort(pairs, axis=1), axis=1).astype(np.float64)
    return float(np.corrcoef(ranks)[0, 1])


def mean_run(labels: NDArray[np.int64]) -> float:
    """Mean number of rows after each other with the same label."""
    return len(labels) / (1 + int((np.diff(labels) != 0).sum()))


def distinct_per_batch(labels: NDArray[np.int64], batch: int) -> float:
    """Mean number of labels in a global batch."""
    batches = np.sort(labels.reshape(-1, batch), axis=1)
    return float((1 + (np.diff(batches, axis=1) != 0).sum(axis=1)).mean())
