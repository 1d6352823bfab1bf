"""Whole files -> blocks of consecutive steps, in numpy: where rows are shuffled and lanes are joined. No TensorFlow, no I/O of its own.

Rows are gathered by `np.take`, which copies whole rows outside the interpreter lock: 4 times as fast as indexing and more as `tf.gather` on
128-byte rows (docs/feed.md). A block lies in memory as its batches will, at an aligned address, so that TensorFlow can take slices of it as
they are: a row is copied once or twice between Parquet and the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.feed.buffers import Buffers
from pipeline.feed.columns import Rows
from pipeline.feed.plan import Plan
from pipeline.feed.schedule import Read, schedule

DIRECT_BYTES = 16 << 10  # of one lane's rows of a step: so many are gathered to their place; fewer are gathered together first and copied


class Block(NamedTuple):
    """Consecutive steps of one rank: tensor (S, B, *shape), label and weight (S, B), ids (S, B) row numbers, if asked for."""

    epoch: int
    first_step: int
    tensor: NDArray[Any]
    label: NDArray[Any]
    weight: NDArray[np.float32]
    ids: NDArray[np.int64] | None  # over the split's files in the manifest's order


def epoch_reads(plan: Plan, lanes: range, epoch: int, first_step: int, keep_rows: int) -> list[Read]:
    """What a rank reads in an epoch from a step on."""
    return schedule([plan.segments(epoch, lane, first_step) for lane in lanes], plan.rows_per_lane_batch, keep_rows)


def epoch_blocks(
    plan: Plan,
    lanes: range,
    epoch: int,
    first_step: int,
    *,
    files: Iterator[tuple[Rows, Read]],
    block_steps: int,
    buffers: Buffers,
    has_ids: bool,
) -> Iterator[Block]:
    """The steps of one epoch, at most `block_steps` at a time and never more than the files read so far allow.

    Args:
        plan: of all ranks.
        lanes: of this rank.
        epoch, first_step: where to begin.
        files: as `epoch_reads` wants them; no more is taken than this epoch's.
        block_steps: limit of a block.
        buffers: where blocks lie.
        has_ids: whether blocks say which rows they hold.
    """
    share = plan.rows_per_lane_batch
    pending = [Lane() for _ in lanes]
    offsets = np.concatenate([[0], np.cumsum(plan.rows_per_file)])
    step = first_step
    while step < plan.num_steps:
        while min(lane.num_rows for lane in pending) < share:
            deal(*next(files), partial(plan.row_order, epoch), offsets, pending)  # no name for the rows, which would keep them
        steps = min(plan.num_steps - step, block_steps, *(lane.num_rows // share for lane in pending))
        yield join(epoch, step, (steps, share), pending, buffers, has_ids=has_ids)
        step += steps


@dataclass
class Supply:
    """Rows that a lane has: `order` says which rows of a file, None that they are already in order."""

    rows: Rows
    ids: NDArray[np.int64]
    order: NDArray[np.int64] | None
    taken: int = 0

    def __len__(self) -> int:
        return len(self.ids) - self.taken


@dataclass
class Lane:
    """One lane's way through an epoch: what is there, by its place in the lane's order; later parts may be there before earlier ones."""

    supplies: dict[int, Supply] = field(default_factory=dict)
    current: int = 0

    @property
    def num_rows(self) -> int:
        """Rows that can be given now, without a gap."""
        total, index = 0, self.current
        while index in self.supplies:
            total += len(self.supplies[index])
            index += 1
        return total

    def take(self, num_rows: int) -> Iterator[tuple[Supply, int, int]]:
        """The next rows, as ranges of the supplies that hold them; what is used up is let go."""
        while num_rows:
            supply = self.supplies[self.current]
            count = min(num_rows, len(supply))
            yield supply, supply.taken, supply.taken + count
            supply.taken += count
            num_rows -= count
            if not len(supply):
                del self.supplies[self.current]
                self.current += 1


def deal(rows: Rows, read: Read, row_order: Callable[[int], NDArray[np.int64]], offsets: NDArray[np.int64], lanes: Sequence[Lane]) -> None:
    """Give every lane its part of a file. What is wanted only later is copied out, so that the file's memory can go."""
    order, first_id = row_order(read.file), offsets[read.file]
    for part in read.parts:
        chosen = order[part.begin : part.end]
        supply = Supply(rows.take(chosen), chosen + first_id, None) if part.is_kept else Supply(rows, chosen + first_id, chosen)
        lanes[part.lane].supplies[part.index] = supply


def join(epoch: int, first_step: int, places: tuple[int, int], lanes: Sequence[Lane], buffers: Buffers, *, has_ids: bool) -> Block:
    """The next steps: (S, share) places for rows of each lane, in lane order."""
    sample = next(iter(lanes[0].supplies.values())).rows
    steps, share = places
    whole = steps, share * len(lanes)
    tensor, label, weight = (buffers.empty((*whole, *array.shape[1:]), array.dtype) for array in sample.arrays)
    ids = buffers.empty(whole, np.dtype(np.int64)) if has_ids else None
    for place, lane in enumerate(lanes):
        columns = slice(place * share, (place + 1) * share)
        done = 0
        for supply, begin, end in lane.take(steps * share):
            for target, values in zip((tensor, label, weight), supply.rows.arrays, strict=True):
                gather(target[:, columns], done, values, supply.order, begin, end)
            if ids is not None:
                spread(ids[:, columns], supply.ids[begin:end], done)
            done += end - begin
    return Block(epoch, first_step, tensor, label, weight, ids)


def gather(target: NDArray[Any], done: int, values: NDArray[Any], order: NDArray[np.int64] | None, begin: int, end: int) -> None:
    """Rows [begin, end) of an order of `values` (R, …) to (S, share, …) as if it were (S * share, …), from row `done` on."""
    if order is None:
        spread(target, values[begin:end], done)
    elif target[0].nbytes < DIRECT_BYTES or target.dtype.hasobject:
        spread(target, np.take(values, order[begin:end], axis=0), done)
    else:
        for step, first, rows in runs(done, end - begin, target.shape[1]):
            index = order[begin : begin + rows]
            np.take(values, index, axis=0, out=target[step, first : first + rows], mode="clip")  # "raise" would copy once more
            begin += rows


def runs(begin: int, count: int, share: int) -> Iterator[tuple[int, int, int]]:
    """Places [begin, begin + count) of rows of `share` as (row, first column, number of columns)."""
    while count:
        step, first = divmod(begin, share)
        rows = min(share - first, count)
        yield step, first, rows
        begin, count = begin + rows, count - rows


def spread(target: NDArray[Any], values: NDArray[Any], begin: int) -> None:
    """Write rows into (S, share, …) as if it were (S * share, …), from row `begin` on."""
    share, position = target.shape[1], 0
    while position < len(values):
        step, offset = divmod(begin + position, share)
        if offset == 0 and len(values) - position >= share:  # whole steps at once
            steps = (len(values) - position) // share
            target[step : step + steps] = values[position : position + steps * share].reshape(steps, share, *values.shape[1:])
            position += steps * share
        else:
            count = min(share - offset, len(values) - position)
            target[step, offset : offset + count] = values[position : position + count]
            position += count
