"""Runs a benchmark: every side in turn, repetition after repetition, each result checked before its figures count."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import environments, machine
from benchmarks.bench import CACHE, Benchmark, Checked, Figures, Job, Side
from benchmarks.measure import measure

Say = Callable[[str], None]
READ_BYTES = 1 << 24


@dataclass(frozen=True)
class Plan:
    """What of a benchmark is run."""

    sizes: dict[str, int]  # name -> rows
    sides: tuple[Side, ...]
    repetitions: int
    is_full: bool  # all sides and sizes as declared: the record is worth keeping
    limits: Mapping[str, int] = field(default_factory=dict)  # size -> repetitions, at most

    def sides_of(self, size: str) -> list[Side]:
        return [side for side in self.sides if side.sizes is None or size in side.sizes]

    def repetitions_of(self, size: str) -> int:
        return min(self.repetitions, self.limits.get(size, self.repetitions))


def plan(
    benchmark: Benchmark, *, rows: int | None = None, sizes: Sequence[str] = (), sides: Sequence[str] = (), repetitions: int = 3
) -> Plan:
    """Everything, or the part that was asked for.

    Args:
        benchmark: whose parts.
        rows: one size of so many rows, named like the first.
        sizes: names; empty for all.
        sides: names; empty for all.
        repetitions: of every side, at most; a full run has at least three, or as many as the benchmark has of a size.

    Raises:
        ValueError: a name that the benchmark does not have.
    """
    for kind, wanted, known in (("size", sizes, list(benchmark.sizes)), ("side", sides, [side.name for side in benchmark.sides])):
        if unknown := sorted(set(wanted) - set(known)):
            raise ValueError(f"{benchmark.id} has no {kind} {', '.join(unknown)}. It has: {', '.join(known)}.")
    declared = {name: count for name, count in benchmark.sizes.items() if name in sizes or not sizes}
    chosen = tuple(side for side in benchmark.sides if side.name in sides or not sides)
    is_full = rows is None and not sizes and not sides and repetitions >= 3
    return Plan(declared if rows is None else {next(iter(benchmark.sizes)): rows}, chosen, repetitions, is_full, benchmark.repetitions)


def turns(sides: Sequence[Side], repetitions: int) -> list[tuple[int, Side]]:
    """(repetition, side) in the order they run: interleaved, and each repetition starts with another side."""
    order = []
    for repetition in range(repetitions):
        first = repetition % max(1, len(sides))
        rotated = [*sides[first:], *sides[:first]]
        order += [(repetition, side) for side in rotated if repetition < (side.repetitions or repetitions)]
    return order


@dataclass
class Measured:
    """All that a run of a benchmark found."""

    runs: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)  # [size][side] -> repetitions
    own: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    facts: dict[str, dict[str, float]] = field(default_factory=dict)
    checksums: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def figures(self) -> Figures:
        """With what sides said of themselves as `own.<name>`."""
        both = {
            size: {
                side: [{**run, **named(own)} for run, own in zip(runs, self.own[size][side], strict=True)] for side, runs in sides.items()
            }
            for size, sides in self.runs.items()
        }
        return Figures(both, self.facts)

    def add(self, size: str, side: str, figures: dict[str, float], checked: Checked) -> None:
        self.runs.setdefault(size, {}).setdefault(side, []).append(figures)
        self.own.setdefault(size, {}).setdefault(side, []).append(checked.own)
        if checked.checksum:
            self.checksums.setdefault(size, {})[side] = checked.checksum
        if checked.versions:
            self.versions[side] = checked.versions


def named(own: dict[str, float]) -> dict[str, float]:
    return {f"own.{name}": value for name, value in own.items()}


def run(benchmark: Benchmark, wanted: Plan, say: Say) -> Measured:
    """Raises SideFailed and CheckFailed; what the failing side wrote stays where the message says."""
    folder = CACHE / benchmark.id.lower()
    inputs = {size: benchmark.make_data(folder / "data", rows, say) for size, rows in wanted.sizes.items()}
    pythons = {name: environments.interpreter(name, say) for name in {side.environment for side in wanted.sides}}
    found = Measured()
    for size, rows in wanted.sizes.items():
        data = inputs[size]
        found.facts[size] = benchmark.facts(data, rows)
        for repetition, side in turns(wanted.sides_of(size), wanted.repetitions_of(size)):
            job = Job(rows, data, folder / "runs" / size / side.name, machine.cores())
            figures, checked = run_side(benchmark, side, job, pythons[side.environment])
            found.add(size, side.name, figures, checked)
            say(f"{size:<6} {side.name:<16} {repetition + 1}  " + "  ".join(f"{name} {value:,.1f}" for name, value in figures.items()))
            if benchmark.agree is not None:
                benchmark.agree(found.checksums.get(size, {}))
    return found


def run_side(benchmark: Benchmark, side: Side, job: Job, python: Path) -> tuple[dict[str, float], Checked]:
    """One run, measured, then checked; what it wrote is deleted."""
    logs = job.out.parent / f"{side.name}.logs"
    for folder in (job.out, logs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    command = [str(part).format(python=python) for part in side.command(job)]
    settle(job.data)
    figures = measure(command, logs, benchmark.timeout_s, side.variables(job))
    checked = benchmark.check(side, job, (logs / "stdout").read_text()) if side.has_result else Checked({})
    shutil.rmtree(job.out)
    return figures, checked


def settle(data: Path) -> None:
    """The same start for all: the input in the page cache, nothing of the run before still to be written."""
    os.sync()
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass
