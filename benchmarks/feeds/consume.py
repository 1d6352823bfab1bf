"""What every side does with its batches, and what it reports. Standard library and numpy only: peers run it in their own environments."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

MASK = (1 << 63) - 1


@dataclass(frozen=True)
class Timed:
    """One epoch: wall and CPU seconds, and what came."""

    wall_s: float
    cpu_s: float
    sums: dict[str, Any]


def arguments() -> tuple[str, Path, Path, int]:
    """(kind, folder of rows, folder to write to, cores) of this process, which is then bound to so many cores."""
    kind, data, out, cores = sys.argv[1:5]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    return kind, Path(data), Path(out), int(cores)


def consume(
    epoch: Callable[[int], Iterable[tuple[Any, ...]]], out: Path, *, epochs: int = 3, is_alone: bool = True, **versions: str
) -> None:
    """Take all batches of some epochs in Python and write `report.json`.

    Args:
        epoch: number -> its batches as numpy (tensor (B, *shape), label (B,)).
        out: the side's folder.
        epochs: how many; the first is not timed.
        is_alone: no other process works for this one, so its CPU seconds are all there are.
        versions: of what the side ran on.
    """
    runs = [timed(lambda number=number: checksum(epoch(number))) for number in range(epochs)]
    own = {name: value for name, value in figures(runs[1:]).items() if is_alone or "cpu" not in name}
    report(out, {**own, **{f"python.{name}": value for name, value in own.items()}}, [runs[-1].sums], **versions)


def timed(take: Callable[[], dict[str, Any]]) -> Timed:
    started, used = time.perf_counter(), time.process_time()
    sums = take()
    return Timed(time.perf_counter() - started, time.process_time() - used, sums)


def figures(runs: Sequence[Timed]) -> dict[str, float]:
    """Medians."""
    wall_s, cpu_s = median(run.wall_s for run in runs), median(run.cpu_s for run in runs)
    rows = runs[-1].sums["rows"]
    return {"rows_per_s": rows / wall_s, "rows_per_cpu_s": rows / cpu_s, "epoch_s": wall_s, "epoch_cpu_s": cpu_s}


def report(out: Path, own: dict[str, float], checksums: Sequence[dict[str, Any]], **versions: str) -> None:
    """`checksums` of the epochs that are to be checked; the first stands in the record."""
    record = {"own": own, "checksums": list(checksums), "versions": {"python": platform.python_version(), **versions}}
    (out / "report.json").write_text(json.dumps(record))


def checksum(batches: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """Which rows came: how many, the sum of their numbers and of the numbers' squares; and of each row's first value."""
    rows, total, squares, first = 0, 0, 0, 0.0
    for tensor, label, *_ in batches:
        numbers, values = as_numpy(label), as_numpy(tensor)
        rows += len(numbers)
        total += int(numbers.sum())
        squares = (squares + int((numbers * numbers).sum())) & MASK
        first += float(values.reshape(len(values), -1)[:, 0].sum(dtype=np.float64))
    return {"rows": rows, "ids": total, "squares": squares, "first": round(first, 3)}


def as_numpy(array: Any) -> Any:
    """A view, also of a tensor, whose own `.numpy()` would copy."""
    return np.asarray(array)


def expected(rows: int) -> dict[str, int]:
    """Of all rows, each once."""
    last = rows - 1
    return {"rows": rows, "ids": last * rows // 2, "squares": (last * rows * (2 * last + 1) // 6) & MASK}
