"""Batches as tf.data, cut from whole files. Python runs once for each block of steps, never for a row or a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.feed.plan import Plan, Position, Segment, evaluation_share
from pipeline.feed.reader import Rows, SplitReader
from pipeline.schema import SplitName

Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]  # tensor, label, weight

BLOCK_BYTES = 16 << 20  # rows handed to TensorFlow at a time, about


def training_dataset(reader: SplitReader, plan: Plan, *, rank: int = 0, size: int = 1, start: Position | None = None) -> tf.data.Dataset:
    """A rank's share of every global batch, from a position to the end of its epoch.

    Args:
        reader: the train split.
        plan: made from `reader.rows_per_file`; the same on every rank.
        rank, size: this rank of how many.
        start: first step to give; the beginning of epoch 0 if None.

    Returns:
        (tensor (B, *shape), label (B,) int64 or float32, weight (B,) float32), B = rows_per_lane_batch * lanes of this rank.
    """
    lanes, start = plan.lanes_of(rank, size), start or Position()
    signature = signatures(reader, leading=(None, plan.rows_per_lane_batch * len(lanes)))
    blocks = tf.data.Dataset.from_generator(lambda: epoch_blocks(reader, plan, lanes, start), output_signature=signature)
    return blocks.unbatch().apply(tf.data.experimental.assert_cardinality(plan.num_steps - start.step)).prefetch(4)


def epoch_blocks(reader: SplitReader, plan: Plan, lanes: range, start: Position) -> Iterator[Arrays]:
    """Runs of consecutive steps that need no further file: (S, B, *shape), (S, B), (S, B)."""
    queues = [LaneQueue(deque(plan.segments(start.epoch, lane, start.step))) for lane in lanes]
    files = reader.read(read_order(queues, plan.rows_per_lane_batch))
    limit = max(1, BLOCK_BYTES // (plan.rows_per_lane_batch * len(lanes) * max(reader.tensor.row_bytes, 1)))
    steps_left = plan.num_steps - start.step
    while steps_left:
        for queue in queues:
            queue.fill(files, plan, start.epoch)
        steps = min(steps_left, limit, *(queue.num_rows // plan.rows_per_lane_batch for queue in queues))
        yield join_lanes([queue.take(steps * plan.rows_per_lane_batch) for queue in queues], steps)
        steps_left -= steps


@dataclass
class LaneQueue:
    """One lane's way through an epoch: segments still to read, rows read and not yet given."""

    segments: deque[Segment]
    rows: deque[Rows] = field(default_factory=deque)

    @property
    def num_rows(self) -> int:
        return sum(len(rows) for rows in self.rows)

    def fill(self, files: Iterator[Rows], plan: Plan, epoch: int) -> None:
        """Read on until there is a whole batch's share; whoever is called first reads first, as in `read_order`."""
        while self.num_rows < plan.rows_per_lane_batch and self.segments:
            segment = self.segments.popleft()
            order = plan.row_order(epoch, segment.file)[segment.begin : segment.end]
            self.rows.append(next(files).take(order))

    def take(self, num_rows: int) -> Rows:
        """The next rows, in order."""
        parts: list[Rows] = []
        while num_rows:
            head = self.rows.popleft()
            parts.append(head.take(slice(0, num_rows)))
            if len(head) > num_rows:
                self.rows.appendleft(head.take(slice(num_rows, None)))
            num_rows -= len(parts[-1])
        return concatenate(parts)


def read_order(queues: Sequence[LaneQueue], rows_per_step: int) -> list[int]:
    """Files in the order in which `epoch_blocks` will want them: by the step that needs them, then by lane."""
    needs = []
    for lane, queue in enumerate(queues):
        rows_before = 0
        for index, segment in enumerate(queue.segments):
            needs.append((rows_before // rows_per_step, lane, index, segment.file))
            rows_before += segment.end - segment.begin
    return [file for *_, file in sorted(needs)]


def join_lanes(lanes: Sequence[Rows], steps: int) -> Arrays:
    """Per lane (S * b, …) -> (S, lanes * b, …): every step holds each lane's rows in lane order."""

    def joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([array.reshape(steps, len(array) // steps, *array.shape[1:]) for array in arrays], axis=1)

    return joined([lane.tensor for lane in lanes]), joined([lane.label for lane in lanes]), joined([lane.weight for lane in lanes])


def concatenate(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("tensor", "label", "weight")))


def evaluation_dataset(prepared: Found, split: SplitName, batch: int, *, rank: int = 0, size: int = 1) -> tf.data.Dataset:
    """A rank's share of a split: every row once, in the files' order; the last batch may be smaller.

    Nothing is padded: evaluating takes no collective, so ranks need not take the same number of steps.
    """
    reader = SplitReader.open(prepared, split)
    share = evaluation_share(reader.rows_per_file, rank, size)

    def parts() -> Iterator[Arrays]:
        for segment, rows in zip(share, reader.read([segment.file for segment in share]), strict=True):
            part = rows.take(slice(segment.begin, segment.end))
            yield part.tensor, part.label, part.weight

    dataset = tf.data.Dataset.from_generator(parts, output_signature=signatures(reader, leading=(None,)))
    num_batches = -(-sum(segment.end - segment.begin for segment in share) // batch)
    return dataset.rebatch(batch).apply(tf.data.experimental.assert_cardinality(num_batches)).prefetch(2)


def signatures(reader: SplitReader, leading: tuple[int | None, ...]) -> tuple[tf.TensorSpec, tf.TensorSpec, tf.TensorSpec]:
    return (
        tf.TensorSpec((*leading, *reader.tensor.shape), reader.tensor.dtype),
        tf.TensorSpec(leading, reader.label_dtype),
        tf.TensorSpec(leading, tf.float32),
    )
