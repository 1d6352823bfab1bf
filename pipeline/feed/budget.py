"""How a rank's memory is divided between the shuffle window, reading ahead, and blocks on their way to TensorFlow. Pure integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.manifest import FileEntry
from pipeline.schema import Tensor

BESIDE_BYTES = 12  # of a row's weight and label of one number
BLOCK_BYTES = 8 << 20  # rows handed to TensorFlow at a time, about: large enough that Python's share is small
BLOCKS = 4  # one being filled, one waiting, one being cut by TensorFlow, one being let go
MAX_QUEUED = 4  # files that Petastorm keeps ready at most
MB = 1 << 20


@dataclass(frozen=True)
class Budget:
    """What a rank may hold, in bytes and files."""

    window_bytes: int  # a file in each lane
    queued_files: int  # decoded files that Petastorm may keep ready
    block_steps: int  # steps handed over at a time, at most
    prefetched_steps: int  # batches that tf.data may keep ready
    keep_rows: int  # rows kept for another lane instead of reading their file again
    total_bytes: int  # all of the above, at most


def divide(*, file_bytes: Sequence[int], row_bytes: int, num_lanes: int, batch: int, memory_mb: int, is_cached: bool = False) -> Budget:
    """Divide `memory_mb` of one rank.

    Args:
        file_bytes: (F,) bytes of each file's rows in memory.
        row_bytes: of one row; where rows differ, their mean.
        num_lanes: lanes of this rank.
        batch: rows of this rank in one step.
        memory_mb: feed.memory_mb.
        is_cached: every file stays in memory once it is read, and is the window too.

    Raises:
        ConfigError: it is too little for one file in each lane and reading ahead.
    """
    largest = max(file_bytes, default=0)
    batch_bytes = max(1, batch * row_bytes)
    block_steps = max(1, BLOCK_BYTES // batch_bytes)
    prefetched = min(16, max(2, BLOCK_BYTES // batch_bytes))
    window = sum(file_bytes) if is_cached else sum(sorted(file_bytes)[-num_lanes:])
    fixed = window + (BLOCKS * block_steps + prefetched) * batch_bytes
    least = fixed + files_in_flight(1) * largest
    limit = memory_mb * MB
    if least > limit:
        held = "all files, which feed.cache: memory keeps" if is_cached else f"a file in each of its {num_lanes} lanes"
        way_out = "set feed.cache: none" if is_cached else "lower prepare.file_mb and prepare again, lower train.lanes, or use more ranks"
        raise ConfigError(
            f"feed.memory_mb={memory_mb} is less than the {-(-least // MB)} MB that a rank's feed needs: {window / MB:.1f} MB for {held}, "
            f"{files_in_flight(1)} files of up to {largest / MB:.1f} MB on their way, and {(fixed - window) / MB:.1f} MB of batches. "
            f"Set feed.memory_mb to {-(-least // MB)} or more, or {way_out}."
        )
    queued = 1
    while queued < MAX_QUEUED and fixed + files_in_flight(queued + 1) * largest <= limit:
        queued += 1
    used = fixed + files_in_flight(queued) * largest
    keep_rows = (limit - used) // max(1, row_bytes)
    return Budget(window, queued, block_steps, prefetched, keep_rows, min(limit, used + sum(file_bytes)))


def files_in_flight(queued: int) -> int:
    """Decoded files outside the window: two readers at a hand-over, each with its queue and one being decoded, and one being cut."""
    return 2 * (queued + 1) + 1


def bytes_per_file(files: Sequence[FileEntry], tensor: Tensor, label_shape: Sequence[int] = ()) -> tuple[int, ...]:
    """(F,) bytes of each file's rows in memory; of encoded images about what they take on disk."""
    beside = BESIDE_BYTES + (4 * math.prod(label_shape) if label_shape else 0)
    if tensor.encoding:
        return tuple(entry.bytes + beside * (entry.rows or 0) for entry in files)
    return tuple((tensor.row_bytes + beside) * (entry.rows or 0) for entry in files)


def of_rank(
    files: Sequence[FileEntry],
    tensor: Tensor,
    rows_per_lane: int,
    num_lanes: int,
    memory_mb: int,
    *,
    is_cached: bool,
    label_shape: Sequence[int] = (),
) -> Budget:
    """The budget of a rank with so many lanes, each of which gives `rows_per_lane` rows to a step. Raises ConfigError."""
    sizes = bytes_per_file(files, tensor, label_shape)
    return divide(
        file_bytes=sizes,
        row_bytes=-(-sum(sizes) // max(1, sum(entry.rows or 0 for entry in files))),
        num_lanes=num_lanes,
        batch=rows_per_lane * num_lanes,
        memory_mb=memory_mb,
        is_cached=is_cached,
    )
