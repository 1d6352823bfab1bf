"""What every side does with its batches, and what it reports. Standard library and numpy only: peers run it in their own environments."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

EPOCHS = 3  # the first warms up: tracing, page cache, opening
MASK = (1 << 63) - 1


def arguments() -> tuple[str, Path, Path, int]:
    """(kind, folder of rows, folder to write to, cores) of this process, which is then bound to so many cores."""
    kind, data, out, cores = sys.argv[1:5]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    return kind, Path(data), Path(out), int(cores)


def consume(epoch: Callable[[int], Iterable[tuple[Any, Any]]], out: Path, *, epochs: int = EPOCHS, **versions: str) -> None:
    """Take all batches of some epochs and write `report.json`.

    Args:
        epoch: number -> its batches as (tensor (B, *shape), label (B,)), numpy or with `.numpy()`.
        out: the side's folder.
        epochs: how many; the first is not timed.
        versions: of what the side ran on.
    """
    seconds, cpu, sums = [], [], {}
    for number in range(epochs):
        started, used = time.perf_counter(), time.process_time()
        sums = checksum(epoch(number))
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    timed, worked = median(seconds[1:]), median(cpu[1:])
    own = {"rows_per_s": sums["rows"] / timed, "epoch_s": timed, "epoch_cpu_s": worked, "first_epoch_s": seconds[0]}
    report(out, own, sums, **versions)


def report(out: Path, own: dict[str, float], checksum: dict[str, Any], **versions: str) -> None:
    record = {"own": own, "checksum": checksum, "versions": {"python": platform.python_version(), **versions}}
    (out / "report.json").write_text(json.dumps(record))


def checksum(batches: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Which rows came: how many, the sum of their numbers and of the numbers' squares; and of each row's first value."""
    rows, total, squares, first = 0, 0, 0, 0.0
    for tensor, label in batches:
        numbers, values = as_numpy(label), as_numpy(tensor)
        rows += len(numbers)
        total += int(numbers.sum())
        squares = (squares + int((numbers * numbers).sum())) & MASK
        first += float(values.reshape(len(values), -1)[:, 0].sum(dtype=np.float64))
    return {"rows": rows, "ids": total, "squares": squares, "first": round(first, 3)}


def as_numpy(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else array.numpy()


def expected(rows: int) -> dict[str, int]:
    """Of all rows, each once."""
    last = rows - 1
    return {"rows": rows, "ids": last * rows // 2, "squares": (last * rows * (2 * last + 1) // 6) & MASK}
