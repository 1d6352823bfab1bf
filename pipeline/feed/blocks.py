"""Whole files -> blocks of consecutive steps, in numpy: where rows are shuffled and lanes are joined. No TensorFlow, no I/O of its own.

Rows are gathered by `np.take`, which copies whole rows outside the interpreter lock: 4 times as fast as indexing and more as `tf.gather` on
128-byte rows (docs/feed.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.feed.columns import Rows
from pipeline.feed.plan import Plan
from pipeline.feed.schedule import Read, schedule

ALIGNMENT = 64  # bytes; TensorFlow takes such memory as it is and copies any other


class Block(NamedTuple):
    """Consecutive steps of one rank: tensor (S, B, *shape), label and weight (S, B), ids (S, B) row numbers over the split's files."""

    epoch: int
    first_step: int
    tensor: NDArray[Any]
    label: NDArray[Any]
    weight: NDArray[np.float32]
    ids: NDArray[np.int64]


ReadFiles = Callable[[Sequence[int]], Iterator[Rows]]


def epoch_reads(plan: Plan, lanes: range, epoch: int, first_step: int, keep_rows: int) -> list[Read]:
    """What a rank reads in an epoch from a step on."""
    return schedule([plan.segments(epoch, lane, first_step) for lane in lanes], plan.rows_per_lane_batch, keep_rows)


def epoch_blocks(
    plan: Plan, lanes: range, epoch: int, first_step: int, *, reads: Sequence[Read], files: Iterator[Rows], block_steps: int
) -> Iterator[Block]:
    """The steps of one epoch, at most `block_steps` at a time and never more than the files read so far allow.

    Args:
        plan: of all ranks.
        lanes: of this rank.
        epoch, first_step: where to begin.
        reads: as `epoch_reads` gave them.
        files: the rows of their files, in that order.
        block_steps: limit of a block.
    """
    share = plan.rows_per_lane_batch
    pending = [Lane() for _ in lanes]
    offsets = np.concatenate([[0], np.cumsum(plan.rows_per_file)])
    upcoming = iter(reads)
    step = first_step
    while step < plan.num_steps:
        while min(lane.num_rows for lane in pending) < share:
            read = next(upcoming)
            deal(read, next(files), plan.row_order(epoch, read.file), int(offsets[read.file]), pending)
        steps = min(plan.num_steps - step, block_steps, *(lane.num_rows // share for lane in pending))
        yield join(epoch, step, steps, share, pending)
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


def deal(read: Read, rows: Rows, order: NDArray[np.int64], first_id: int, lanes: Sequence[Lane]) -> None:
    """Give every lane its part of a file. What is wanted only later is copied out, so that the file's memory can go."""
    for part in read.parts:
        chosen = order[part.begin : part.end]
        supply = Supply(rows.take(chosen), chosen + first_id, None) if part.is_kept else Supply(rows, chosen + first_id, chosen)
        lanes[part.lane].supplies[part.index] = supply


def join(epoch: int, first_step: int, steps: int, share: int, lanes: Sequence[Lane]) -> Block:
    """The next `steps` steps: every step holds `share` rows of each lane, in lane order."""
    sample = next(iter(lanes[0].supplies.values())).rows
    batch = share * len(lanes)
    tensor = empty((steps, batch, *sample.tensor.shape[1:]), sample.tensor.dtype)
    label = empty((steps, batch, *sample.label.shape[1:]), sample.label.dtype)
    weight, ids = empty((steps, batch), np.dtype(np.float32)), empty((steps, batch), np.dtype(np.int64))
    for place, lane in enumerate(lanes):
        columns = slice(place * share, (place + 1) * share)
        done = 0
        for supply, begin, end in lane.take(steps * share):
            where = supply.order[begin:end] if supply.order is not None else slice(begin, end)
            rows = supply.rows.take(where)
            for target, values in ((tensor, rows.tensor), (label, rows.label), (weight, rows.weight), (ids, supply.ids[begin:end])):
                spread(target[:, columns], values, done)
            done += end - begin
    return Block(epoch, first_step, tensor, label, weight, ids)


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


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Like np.empty, at an address that TensorFlow accepts without a copy."""
    if dtype.hasobject:
        return np.empty(shape, dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    begin = -memory.ctypes.data % ALIGNMENT
    return memory[begin : begin + size].view(dtype).reshape(shape)
