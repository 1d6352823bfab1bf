"""What P5 asks of every side, in words and numbers. Standard library only: peers read it in their own environments.

A side is started as `python -m benchmarks.p5.sides.<name> DATA OUT CORES`. It leaves in OUT a folder `train`, `validation`, `test` of
Parquet files with the columns

    id int64 · label, its class's index · x0 … x27 float32, standardised · c0, index among the train rows' sorted values, 50 for others
    and null · c1, a hash bucket

and `report.json`, see `report`. Our own side leaves a run folder instead; `check.py` reads both.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STEPS = (
    "drop rows without a label",
    "drop rows whose x0 is outside [-1e6, 1e6] or missing",
    "clip x1..x4 to the 0.001 and 0.999 quantiles of the train rows",
    "split 80/10/10 by a hash of id",
    "statistics of the train rows: count, nulls, min, max, mean, std, 7 quantiles, distinct, histogram of 40 bins; top 10 of categories",
    "standardise 28 numbers with the train rows' mean and std, missing values to the mean; encode c0 (50 values) and c1 (64 hash buckets)",
    "write Parquet by split: id, label index, features",
)
NUMBERS = tuple(f"x{index}" for index in range(28))
CATEGORIES = {"c0": 50, "c1": 1000}  # column -> values
CLASSES = ("maybe", "no", "yes")
MAX_X0 = 1e6
CLIPPED = NUMBERS[1:5]
CLIP_SHARES = (0.001, 0.999)
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 40
BUCKETS = 64
TOP = 10
TENTHS = {"train": range(0, 8), "validation": range(8, 9), "test": range(9, 10)}  # of hash(id) modulo 10


@dataclass
class Laps:
    """Wall seconds of a side's own steps."""

    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self.started, 3)
        self.started = now


def arguments() -> tuple[Path, Path, int]:
    """(folder of Parquet files, folder to write to, cores) of this process."""
    data, out, cores = sys.argv[1:]
    for split in TENTHS:
        (Path(out) / split).mkdir(parents=True, exist_ok=True)
    return Path(data), Path(out), int(cores)


def edges(low: float, high: float) -> list[float]:
    """(BINS + 1,) from the smallest value to the largest."""
    return [low + (high - low) * index / BINS for index in range(BINS)] + [high]


def report(out: Path, statistics: dict[str, dict[str, Any]], laps: Laps, **versions: str) -> None:
    """Write `report.json`.

    Args:
        out: the side's folder.
        statistics: by column: count, nulls, distinct; of numbers also min, max, mean, std, quantiles (as QUANTILES), edges, counts;
            of categories also top, pairs of value and rows.
        laps: the side's own steps.
        versions: of the engine.
    """
    record = {"statistics": statistics, "seconds": laps.seconds, "versions": {"python": platform.python_version(), **versions}}
    (out / "report.json").write_text(json.dumps(record))
