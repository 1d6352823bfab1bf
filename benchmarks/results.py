"""The record of a run: a JSON file and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.bench import CACHE, RESULTS, Benchmark, Figures, NotMeasured
from benchmarks.measure import FIGURES
from benchmarks.runner import Measured, Plan

FORMAT = 1
QUIET_CORES = 0.1  # above, other work on the machine has changed the wall times


def record(benchmark: Benchmark, plan: Plan, measured: Measured, before: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a reader needs to judge the figures.

    Args:
        benchmark: what was run.
        plan: which parts of it.
        measured: what was found.
        before: the machine, described before the first run.
    """
    values, missing = evaluate(benchmark, measured.figures)
    return {
        "format": FORMAT,
        "id": benchmark.id,
        "title": benchmark.title,
        "is_full": plan.is_full,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": machine.revision(),
        "machine": {**before, "others_cores": busiest(measured)},
        "work": {
            "steps": list(benchmark.steps),
            "sizes": {size: {"rows": rows, **measured.facts.get(size, {})} for size, rows in plan.sizes.items()},
            "fairness": list(benchmark.fairness),
        },
        "sides": {
            size: {
                side: {
                    "about": next(known.about for known in benchmark.sides if known.name == side),
                    "median": {name: round(median(run[name] for run in runs), 3) for name in FIGURES},
                    "repetitions": runs,
                    "own": measured.own[size][side],
                    "checksum": measured.checksums.get(size, {}).get(side),
                }
                for side, runs in sides.items()
            }
            for size, sides in measured.runs.items()
        },
        "versions": measured.versions,
        "ratios": values,
        "targets": targets(benchmark, values),
        "not_measured": missing,
    }


def busiest(measured: Measured) -> float:
    """Cores that other work kept busy, in the run that had most of it."""
    return max((run["others_cores"] for sides in measured.runs.values() for runs in sides.values() for run in runs), default=0.0)


def evaluate(benchmark: Benchmark, figures: Figures) -> tuple[dict[str, float], dict[str, str]]:
    """(values by name, why the others have none)."""
    values, missing = {}, {}
    for name, value in benchmark.values.items():
        try:
            values[name] = round(value(figures), 4)
        except NotMeasured as reason:
            missing[name] = f"no {reason}"
    return values, missing


def targets(benchmark: Benchmark, values: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": values[name], "bound": str(bound), "holds": bound.holds(values[name])}
        for name, bound in benchmark.targets.items()
        if name in values
    }


def save(found: Mapping[str, Any]) -> Path:
    """A full run replaces the committed record; any other goes to the cache, so that it cannot pass for one."""
    folder = RESULTS if found["is_full"] else CACHE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['id']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def show(console: Console, found: Mapping[str, Any]) -> None:
    """Medians of every side, fastest first, then what is made of them."""
    sides = Table("rows", "side", "wall s", "CPU s", "PSS MiB", "others", "runs", title=f"{found['id']}  {found['title']}")
    for column in (sides.columns[0], *sides.columns[2:]):
        column.justify = "right"
    for size, by_side in found["sides"].items():
        for side, facts in sorted(by_side.items(), key=lambda item: item[1]["median"]["wall_s"]):
            sides.add_row(f"{found['work']['sizes'][size]['rows']:,}", side, *cells(facts))
        sides.add_section()
    console.print(sides)
    values = Table("value", "measured", "target", "holds")
    for name, value in found["ratios"].items():
        target = found["targets"].get(name, {"bound": "", "holds": None})
        verdict = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[target["holds"]]
        values.add_row(name, f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}", target["bound"], verdict)
    if found["ratios"]:
        console.print(values)
    others = found["machine"]["others_cores"]
    if others > QUIET_CORES:
        console.print(f"Other work kept up to {others:.1f} cores busy: wall times and their ratios are not to be quoted.", style="yellow")
    if found["not_measured"]:
        console.print(f"not measured: {', '.join(found['not_measured'])}", style="dim")


def cells(facts: Mapping[str, Any]) -> list[str]:
    """Wall seconds (with their range), CPU seconds, memory, what else was running, repetitions."""
    middle, walls = facts["median"], [run["wall_s"] for run in facts["repetitions"]]
    spread = f" ({min(walls):.1f} to {max(walls):.1f})" if len(walls) > 1 else ""
    wall, memory = f"{middle['wall_s']:.1f}{spread}", f"{middle['peak_pss_mib']:,.0f}"
    return [wall, f"{middle['cpu_s']:.1f}", memory, f"{middle['others_cores']:.2f}", str(len(walls))]
