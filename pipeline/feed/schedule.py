"""Which file a rank reads when, and for which lanes: each once where memory allows. Pure integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.feed.plan import Segment


@dataclass(frozen=True)
class Part:
    """Rows [begin, end) of a file's shuffled order, for one lane."""

    lane: int  # index among the lanes of this rank
    index: int  # which of the lane's segments this is
    begin: int
    end: int
    is_kept: bool  # wanted by a later step than the one that the file is read for


@dataclass(frozen=True)
class Read:
    """One file, and all that is taken from it before it is let go."""

    file: int
    step: int  # the first that needs a row of it
    parts: tuple[Part, ...]


def schedule(lanes: Sequence[Sequence[Segment]], rows_per_step: int, keep_rows: int) -> list[Read]:
    """Reads in the order in which steps need them.

    A lane ends in the middle of a file in which the next lane begins. On one rank, what the first will want much later is taken out
    and kept when the file is read for the second; where that would keep more than `keep_rows` rows, the file is read twice.

    Args:
        lanes: of this rank: each lane's segments from the first step on, in order.
        rows_per_step: rows that a lane gives to a step.
        keep_rows: how many rows may be kept at a time.
    """
    needs = []
    for lane, segments in enumerate(lanes):
        rows_before = 0
        for index, segment in enumerate(segments):
            needs.append((rows_before // rows_per_step, lane, index, segment))
            rows_before += segment.end - segment.begin
    reads: dict[int, tuple[int, int, list[Part]]] = {}  # number of the read -> file, step, parts
    newest: dict[int, int] = {}  # file -> number of its last read
    for step, lane, index, segment in sorted(needs, key=lambda need: need[:3]):
        rows = segment.end - segment.begin
        number = newest.get(segment.file)
        if number is not None and reads[number][1] == step:
            reads[number][2].append(Part(lane, index, segment.begin, segment.end, is_kept=False))
        elif number is not None and rows <= keep_rows:
            keep_rows -= rows
            reads[number][2].append(Part(lane, index, segment.begin, segment.end, is_kept=True))
        else:
            newest[segment.file] = len(reads)
            reads[len(reads)] = (segment.file, step, [Part(lane, index, segment.begin, segment.end, is_kept=False)])
    return [Read(file, step, tuple(parts)) for file, step, parts in reads.values()]


def num_read_twice(reads: Sequence[Read]) -> int:
    return len(reads) - len({read.file for read in reads})
