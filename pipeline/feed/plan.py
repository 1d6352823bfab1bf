"""Who reads what, as arithmetic: no I/O, no TensorFlow.

An epoch's order is a seeded permutation of the files and of the rows in each file. Its T rows are cut into L lanes of
floor(T / L); global batch t takes rows [t * G/L, (t + 1) * G/L) of every lane; rank r of n serves lanes
floor(r * L / n) to floor((r + 1) * L / n) - 1. So the global batches do not depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError


@dataclass(frozen=True)
class Position:
    """The next step to take: both from 0. Any number of ranks can continue from it."""

    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Segment:
    """Rows [begin, end) of a file's shuffled order."""

    file: int  # index into rows_per_file
    begin: int
    end: int


@dataclass(frozen=True)
class Plan:
    """The order of a split's rows for training.

    Args:
        rows_per_file: (F,) rows in each file, in the manifest's order; zeros are fine.
        global_batch: G, rows of one optimizer step over all ranks; a multiple of `lanes`.
        lanes: L >= 1, streams that every global batch draws from in equal shares.
        seed: of the order; the same seed gives the same batches.

    Raises:
        DataError: there are fewer rows than one global batch.
        ValueError: G is not a positive multiple of L.
    """

    rows_per_file: tuple[int, ...]
    global_batch: int
    lanes: int
    seed: int

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.global_batch < 1 or self.global_batch % self.lanes:
            raise ValueError(f"global_batch={self.global_batch} is not a positive multiple of lanes={self.lanes}.")
        if self.num_steps == 0:
            largest = self.num_rows // self.lanes * self.lanes or "the number of rows"
            raise DataError(
                f"{self.num_rows} train rows do not fill one global batch of {self.global_batch} rows in {self.lanes} lanes. "
                f"Set train.global_batch to {largest} or less, or prepare more rows."
            )

    @property
    def num_rows(self) -> int:
        return sum(self.rows_per_file)

    @property
    def rows_per_lane_batch(self) -> int:
        """Rows that one lane gives to one global batch."""
        return self.global_batch // self.lanes

    @property
    def num_steps(self) -> int:
        """Steps of an epoch, the same on every rank; fewer than G + L rows are left out, others each epoch."""
        return self.num_rows // self.lanes // self.rows_per_lane_batch

    def lanes_of(self, rank: int, size: int) -> range:
        """The lanes that a rank serves.

        Raises:
            ValueError: more ranks than lanes.
        """
        if size > self.lanes:
            raise ValueError(f"{size} ranks cannot share {self.lanes} lanes: set train.lanes to {size} or more.")
        return range(rank * self.lanes // size, (rank + 1) * self.lanes // size)

    def file_order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch, 0]).permutation(len(self.rows_per_file))

    def row_order(self, epoch: int, file: int) -> NDArray[np.int64]:
        """(rows of the file,) the file's shuffled order, as row numbers in the file."""
        return np.random.default_rng([self.seed, epoch, file + 1]).permutation(self.rows_per_file[file])

    def segments(self, epoch: int, lane: int, first_step: int = 0) -> list[Segment]:
        """What one lane reads in an epoch from a step on, in order: exactly (num_steps - first_step) * rows_per_lane_batch rows."""
        start = lane * (self.num_rows // self.lanes)
        begin = start + first_step * self.rows_per_lane_batch
        end = start + self.num_steps * self.rows_per_lane_batch
        return cut(self.rows_per_file, self.file_order(epoch).tolist(), begin, end)


def cut(rows_per_file: Sequence[int], order: Sequence[int], begin: int, end: int) -> list[Segment]:
    """The parts of files that positions [begin, end) of their concatenation, in `order`, fall on."""
    segments, position = [], 0
    for file in order:
        low, high = max(begin, position), min(end, position + rows_per_file[file])
        if low < high:
            segments.append(Segment(file, low - position, high - position))
        position += rows_per_file[file]
    return segments


def evaluation_share(rows_per_file: Sequence[int], rank: int, size: int) -> list[Segment]:
    """A rank's contiguous share of a split: every row on exactly one rank, shares differ by at most one row."""
    total = sum(rows_per_file)
    return cut(rows_per_file, range(len(rows_per_file)), rank * total // size, (rank + 1) * total // size)


@dataclass(frozen=True)
class EvaluationPlan:
    """Every row of a split once, in batches of one size and the same number of them on every rank.

    What a rank's share does not fill is filled up with rows of weight 0. For evaluations that take collectives or want one shape;
    Keras' own loss divides by all rows of a batch, those of weight 0 too, so `evaluation_dataset` pads only where it is asked to.

    Args:
        rows_per_file: (F,) rows in each file, in the manifest's order; zeros are fine.
        batch: rows of one step of one rank, >= 1.
        size: ranks, >= 1; any number, also more than rows.
    """

    rows_per_file: tuple[int, ...]
    batch: int
    size: int

    @property
    def num_steps(self) -> int:
        """Steps of every rank: those of the largest share."""
        largest = -(-sum(self.rows_per_file) // self.size)
        return -(-largest // self.batch)

    def share(self, rank: int) -> list[Segment]:
        return evaluation_share(self.rows_per_file, rank, self.size)

    def num_padded(self, rank: int) -> int:
        """Rows of weight 0 at the end of a rank's last steps."""
        return self.num_steps * self.batch - sum(segment.end - segment.begin for segment in self.share(rank))
