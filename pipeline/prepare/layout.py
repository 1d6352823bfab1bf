"""Which staged rows go into which prepared file: integers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.schema import SPLITS, SplitName


@dataclass(frozen=True)
class FilePlan:
    """One file to write: rows [start, stop) of some staged partitions of a split, in order."""

    split: SplitName
    index: int
    parts: tuple[tuple[int, int, int], ...]  # (partition, start, stop)

    @property
    def path(self) -> str:
        return f"data/{self.split}/part-{self.index:05d}.parquet"

    @property
    def rows(self) -> int:
        return sum(stop - start for _, start, stop in self.parts)


def plan_files(staged: Mapping[str, Mapping[int, int]], *, row_bytes: Mapping[str, int], file_bytes: int, min_files: int) -> list[FilePlan]:
    """Files of every split, as even as whole rows allow: their row counts differ by one at most.

    Args:
        staged: split -> partition -> rows, at least 0.
        row_bytes: split -> bytes that one staged row becomes, copies included.
        file_bytes: that a file should not exceed.
        min_files: of each split, if it has as many rows.
    """
    plans = []
    for split in SPLITS:
        partitions = sorted((staged.get(split) or {}).items())
        total = sum(rows for _, rows in partitions)
        wanted = max(min_files, -(-total * max(row_bytes[split], 1) // file_bytes))
        num_files = min(wanted, total)
        edges = [index * total // num_files for index in range(num_files + 1)] if num_files else []
        plans += [FilePlan(split, index, cut(partitions, edges[index], edges[index + 1])) for index in range(num_files)]
    return plans


def cut(partitions: list[tuple[int, int]], start: int, stop: int) -> tuple[tuple[int, int, int], ...]:
    """Rows [start, stop) of a sequence of partitions, as pieces of each."""
    pieces, begin = [], 0
    for partition, rows in partitions:
        low, high = max(start, begin), min(stop, begin + rows)
        if low < high:
            pieces.append((partition, low - begin, high - begin))
        begin += rows
    return tuple(pieces)
