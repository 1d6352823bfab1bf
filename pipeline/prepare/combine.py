"""The statistics of several prepare results as those of all their rows, without reading a row: sketches of parts add up exactly."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipeline.attempt import Found, read_published
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import verify_file
from pipeline.paths import MANIFEST
from pipeline.prepare.baseline import STATISTICS, load_statistics
from pipeline.prepare.sketch import Sketch, merge
from pipeline.prepare.summary import summarise
from pipeline.schema import ColumnStatistics
from pipeline.summary import rounded

MAX_TOP = 3
VALUE_CHARACTERS = 16
WIDEST = 10_000


@dataclass(frozen=True)
class Combined:
    """Of the train rows of all results together."""

    results: tuple[Found, ...]
    columns: dict[str, ColumnStatistics]


def combine(folders: Sequence[Path]) -> Combined:
    """What one run over all the rows would say of their columns, if it kept the same ones for training.

    Args:
        folders: run folders, or the prepare folders in them, at least one.

    Raises:
        ConfigError: a folder has no prepare result, or one is given twice.
        DataError: a result is damaged, has no statistics, or has other columns than the first.
    """
    results = [find_result(folder) for folder in folders]
    check_distinct(results)
    first, *others = ((found, read_sketches(found)) for found in results)
    total = dict(first[1])
    for found, sketches in others:
        check_same_columns(first[0], total, found, sketches)
        total = {name: merge(sketch, sketches[name]) for name, sketch in total.items()}
    return Combined(tuple(results), {name: summarise(sketch) for name, sketch in total.items()})


def find_result(folder: Path) -> Found:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder. Give run folders, such as runs/RECIPE/RUN_ID, or the prepare folders in them.")
    for stage_folder in (folder, folder / "prepare"):
        manifest = read_published(stage_folder)
        if manifest is not None and manifest.stage == "prepare":
            return Found(manifest, stage_folder)
        if manifest is not None:
            raise ConfigError(f"{folder} is a result of {manifest.stage}, not of prepare. Give {folder.parent / 'prepare'}.")
    raise ConfigError(
        f"{folder} has no prepare result: neither {MANIFEST} nor prepare/{MANIFEST} is there. Give run folders, such as "
        "runs/RECIPE/RUN_ID; `pipeline prepare RECIPE` makes one."
    )


def check_distinct(results: Sequence[Found]) -> None:
    """A result that a run took over from another one is the same result."""
    seen: dict[str, Found] = {}
    for found in results:
        if (other := seen.setdefault(found.manifest.digest, found)) is not found:
            raise ConfigError(f"{other.folder} and {found.folder} are the same result: its rows would count twice. Leave one out.")


def read_sketches(found: Found) -> dict[str, Sketch]:
    remedy = "Prepare it again: `pipeline prepare RECIPE --force` with the same --root, --date and --set."
    entry = next((entry for entry in found.manifest.files if entry.path == STATISTICS), None)
    if entry is None:
        raise DataError(f"{found.folder} has no {STATISTICS}: an earlier version made it. {remedy}")
    path = found.local_files / entry.path
    verify_file(path, entry, "prepare")
    try:
        return load_statistics(path.read_bytes())
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} does not hold column statistics of this version ({type(error).__name__}: {error}). {remedy}") from error


def check_same_columns(first: Found, expected: Mapping[str, Sketch], found: Found, received: Mapping[str, Sketch]) -> None:
    """Figures of all rows need every row's value."""
    problems = [f"no column {name}" for name in expected if name not in received]
    problems += [f"a column {name} more" for name in received if name not in expected]
    problems += [f"{name} of another kind" for name in expected if name in received and type(expected[name]) is not type(received[name])]
    if problems:
        raise DataError(
            f"{found.folder} and {first.folder} cannot be put together: the former has {', '.join(problems[:10])}. "
            "Give runs whose recipes declare the same columns, or prepare one of them again."
        )


def as_record(combined: Combined) -> dict[str, Any]:
    """For programs: where the rows came from, and every column's figures."""
    return {
        "results": [
            {"folder": str(found.folder), "recipe": found.manifest.recipe, "run_id": found.manifest.run_id, "digest": found.manifest.digest}
            for found in combined.results
        ],
        "columns": {name: column.model_dump(mode="json") for name, column in combined.columns.items()},
    }


def print_table(terminal: Console, combined: Combined) -> None:
    """For people: a row a column. What does not fit goes on in the next line; rich would cut figures off."""
    table = as_table(combined)
    table.width = Measurement.get(terminal, terminal.options.update(max_width=WIDEST), table).maximum
    terminal.print(table, soft_wrap=True)


def as_table(combined: Combined) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    texts = ("column", "most frequent")
    for name in ("column", "values", "missing", "distinct", "mean", "std", "min", "25 %", "median", "75 %", "max", "most frequent"):
        table.add_column(name, justify="left" if name in texts else "right", no_wrap=True)
    for name, column in combined.columns.items():
        values = (column.mean, column.std, column.min, *map(column.quantiles.get, ("0.25", "0.5", "0.75")), column.max)
        numbers = ["" if value is None else rounded(value) for value in values]
        missing = f"{column.nulls / max(column.count + column.nulls, 1):.1%}"
        table.add_row(plain(name), f"{column.count:,}", missing, f"{column.distinct:,}", *numbers, plain(most_frequent(column)))
    return table


def most_frequent(column: ColumnStatistics) -> str:
    """`clerk 50%, baker 30%`."""
    return ", ".join(f"{value[:VALUE_CHARACTERS]} {rows / column.count:.0%}" for value, rows in column.top[:MAX_TOP])


def plain(text: str) -> Text:
    """Neither markup nor what a terminal would obey."""
    return Text("".join(character if character.isprintable() else "\ufffd" for character in text))
