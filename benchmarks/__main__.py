"""The command: `python -m benchmarks P5 --quick`."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from benchmarks import machine, results, runner
from benchmarks.bench import ROOT, CheckFailed, known_ids, load
from benchmarks.measure import SideFailed


def main() -> int:
    arguments = parse()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if arguments.list:
        for name in known_ids():
            found = load(name)
            console.print(f"{name}  {found.title}")
            for side in found.sides:
                console.print(f"      {side.name:<16} {side.about}", style="dim")
        return 0
    for name in arguments.ids or known_ids():
        try:
            run_one(name, arguments, console)
        except (SideFailed, CheckFailed, ValueError) as error:
            console.print(f"{name.upper()}: {error}", style="red", markup=False)
            return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description="Side by side against peers; see docs/benchmarks.md.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="of --list; all if none")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("--rows", type=int, help="one size of so many rows; the record is not kept with the project")
    parser.add_argument("--quick", action="store_true", help="few rows, one repetition: does everything still run?")
    parser.add_argument("--sizes", nargs="+", default=[], metavar="SIZE", help="some of the sizes")
    parser.add_argument("--sides", nargs="+", default=[], metavar="SIDE", help="some of the sides")
    parser.add_argument("--repetitions", type=int, help="of each side; 3 if not said")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.ids if name.upper() not in known_ids()]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known_ids())}")
    if arguments.rows is not None and arguments.rows < 1000:
        parser.error(f"--rows {arguments.rows}: expected at least 1000")
    if arguments.repetitions is not None and arguments.repetitions < 1:
        parser.error(f"--repetitions {arguments.repetitions}: expected at least 1")
    return arguments


def run_one(name: str, arguments: argparse.Namespace, console: Console) -> None:
    benchmark = load(name)
    rows = arguments.rows or (benchmark.quick_rows if arguments.quick else None)
    repetitions = arguments.repetitions or (1 if arguments.quick else 3)
    wanted = runner.plan(benchmark, rows=rows, sizes=arguments.sizes, sides=arguments.sides, repetitions=repetitions)
    before = machine.describe()
    measured = runner.run(benchmark, wanted, lambda line: console.print(line, style="dim", markup=False))
    found = results.record(benchmark, wanted, measured, before)
    results.show(console, found)
    console.print(f"written to {results.save(found).relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
