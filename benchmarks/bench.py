"""What a benchmark is: one work, several sides that do it, what is compared, and the bounds that we want to hold.

A benchmark is `benchmarks/<id>/benchmark.py` with `BENCHMARK = Benchmark(...)`; nothing else has to be told about it. It only declares;
`runner.py` runs, `measure.py` measures, `results.py` writes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"  # inputs and what sides write; may be deleted at any time
RESULTS = ROOT / "benchmarks" / "results"
OURS = "longhaul"
WORK_ENVIRONMENT = "work"  # .venv; every other name is a file of peers/


@dataclass(frozen=True)
class Job:
    """One run of one side."""

    rows: int
    data: Path
    out: Path  # empty; for all that the side writes
    cores: int


@dataclass(frozen=True)
class Side:
    """One way to do the work, as a process of its own."""

    name: str
    command: Callable[[Job], Sequence[str | Path]]  # `{python}` stands for the environment's interpreter
    about: str
    environment: str = WORK_ENVIRONMENT
    variables: Callable[[Job], Mapping[str, str]] = lambda job: {}
    sizes: tuple[str, ...] | None = None  # None: all
    repetitions: int | None = None  # at most; for sides so slow that chance does not matter
    has_result: bool = True  # False: it does a part of the work only, so there is nothing to check


@dataclass(frozen=True)
class Checked:
    """A side's result after it passed: what must agree with the other sides', and what the side says of itself."""

    checksum: dict[str, Any]
    own: dict[str, float] = field(default_factory=dict)  # figures that the side took itself, e.g. seconds of its steps
    versions: dict[str, str] = field(default_factory=dict)


class CheckFailed(Exception):
    """A side did other work than was asked; its figures mean nothing."""


class NotMeasured(Exception):
    """A figure that this run does not have."""


@dataclass(frozen=True)
class Figures:
    """All repetitions: [size][side] -> figures of each repetition, and facts of each size, such as its bytes."""

    runs: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __call__(self, size: str, side: str, figure: str = "wall_s") -> float:
        """The median over repetitions. Raises NotMeasured."""
        found = [run[figure] for run in self.runs.get(size, {}).get(side, ()) if figure in run]
        if not found:
            raise NotMeasured(f"{figure} of {side}, {size}")
        return median(found)

    def fact(self, size: str, name: str) -> float:
        if name not in self.facts.get(size, {}):
            raise NotMeasured(f"{name} of {size}")
        return self.facts[size][name]


@dataclass(frozen=True)
class Bound:
    """What a value should keep, inclusive."""

    kind: Literal["at_least", "at_most"]
    limit: float

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.kind == "at_least" else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.kind == 'at_least' else '<='} {self.limit:g}"


def at_least(limit: float) -> Bound:
    return Bound("at_least", limit)


def at_most(limit: float) -> Bound:
    return Bound("at_most", limit)


@dataclass(frozen=True)
class Benchmark:
    """One id."""

    id: str
    title: str
    steps: tuple[str, ...]  # of the work, for the record
    sizes: Mapping[str, int]  # name -> rows; the first is what --rows and --quick replace
    quick_rows: int
    sides: tuple[Side, ...]
    make_data: Callable[[Path, int, Callable[[str], None]], Path]  # (cache, rows, say) -> folder
    facts: Callable[[Path, int], dict[str, float]]  # (data, rows) -> columns, bytes …
    check: Callable[[Side, Job, str], Checked]  # the third is the side's stdout; raises CheckFailed
    values: Mapping[str, Callable[[Figures], float]]
    targets: Mapping[str, Bound]  # of some of `values`
    fairness: tuple[str, ...] = ()  # what is not equal, and whom it favours
    agree: Callable[[Mapping[str, Mapping[str, Any]]], None] | None = None  # checksums by side; raises CheckFailed; None: one side
    repetitions: Mapping[str, int] = field(default_factory=dict)  # of each side of a size, at most; for sizes that take long
    timeout_s: int = 3600


def known_ids() -> list[str]:
    return sorted(path.parent.name.upper() for path in (ROOT / "benchmarks").glob("p*/benchmark.py"))


def load(benchmark_id: str) -> Benchmark:
    """Raises KeyError for an id that is not one of `known_ids`."""
    if benchmark_id.upper() not in known_ids():
        raise KeyError(benchmark_id)
    found = importlib.import_module(f"benchmarks.{benchmark_id.lower()}.benchmark").BENCHMARK
    if not isinstance(found, Benchmark):
        raise TypeError(f"benchmarks/{benchmark_id.lower()}/benchmark.py: expected BENCHMARK = Benchmark(...), found {found!r}")
    return found
