"""`pipeline plan`: who would read what, from the prepared data's manifest alone. No row is read."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from pipeline.attempt import Found
from pipeline.config import Recipe
from pipeline.errors import ConfigError
from pipeline.feed import quality
from pipeline.feed.budget import MB, of_rank
from pipeline.feed.plan import EvaluationPlan, Plan
from pipeline.feed.schedule import num_read_twice, schedule
from pipeline.schema import files_of, prepared
from pipeline.stage import Request, upstream

FIRST = 4  # files that are named


def plan(request: Request, *, ranks: int | None = None, epoch: int = 0) -> dict[str, Any]:
    """What every rank reads in an epoch.

    Args:
        request: recipe and run; the run is prepared.
        ranks: how many; the recipe's if None.
        epoch: from 0.

    Raises:
        DataError: the run is not prepared, or has too few rows for one step.
        ConfigError: more ranks than lanes, or too little memory.
    """
    recipe, found = request.recipe, upstream(request, "prepare")
    size, settings = ranks or recipe.train.ranks, recipe.train
    files = files_of(found.manifest, "train")
    train = Plan(tuple(entry.rows or 0 for entry in files), settings.global_batch, settings.lanes, settings.seed)
    if size > train.lanes:
        raise ConfigError(f"{size} ranks cannot share {train.lanes} lanes: set train.lanes to {size} or more.")
    validation = tuple(entry.rows or 0 for entry in files_of(found.manifest, "validation"))
    evaluation = EvaluationPlan(validation, settings.global_batch, size)
    return {
        "recipe": recipe.name,
        "rows": train.num_rows,
        "files": len(files),
        "global_batch": train.global_batch,
        "lanes": train.lanes,
        "seed": train.seed,
        "steps": train.num_steps,
        "epoch": epoch,
        "shuffle": quality.measure(train).model_dump(),
        "validation": {"rows": sum(validation), "steps": evaluation.num_steps, "batch": evaluation.batch},
        "ranks": [of_one(recipe, found, train, epoch, rank, size) for rank in range(size)],
    }


def of_one(recipe: Recipe, found: Found, train: Plan, epoch: int, rank: int, size: int) -> dict[str, Any]:
    files, facts, settings = files_of(found.manifest, "train"), prepared(found.manifest), recipe.feed
    lanes, is_cached = train.lanes_of(rank, size), settings.cache == "memory"
    rows, shape = train.rows_per_lane_batch, facts.label_shape
    budget = of_rank(files, facts.tensor, rows, len(lanes), settings.memory_mb, is_cached=is_cached, label_shape=shape)
    reads = schedule([train.segments(epoch, lane) for lane in lanes], train.rows_per_lane_batch, budget.keep_rows)
    return {
        "rank": rank,
        "lanes": [lanes[0], lanes[-1]],
        "rows_per_step": train.rows_per_lane_batch * len(lanes),
        "rows": train.rows_per_lane_batch * len(lanes) * train.num_steps,
        "files": [files[read.file].path for read in reads],
        "files_read_twice": num_read_twice(reads),
        "window_mb": round(budget.window_bytes / MB, 2),
        "memory_mb": settings.memory_mb,
    }


def table(found: dict[str, Any]) -> Table:
    """One line a rank."""
    shown = Table(box=None, pad_edge=False)
    for name in ("rank", "lanes", "rows a step", "rows an epoch", "files", "read twice", "window MB", "first files"):
        shown.add_column(name, justify="left" if name == "first files" else "right")
    for rank in found["ranks"]:
        low, high = rank["lanes"]
        names = [path.rpartition("/")[2].removesuffix(".parquet") for path in rank["files"]]
        more = " …" if len(names) > FIRST else ""
        shown.add_row(
            str(rank["rank"]),
            str(low) if low == high else f"{low} to {high}",
            f"{rank['rows_per_step']:,}",
            f"{rank['rows']:,}",
            str(len(names)),
            str(rank["files_read_twice"]),
            f"{rank['window_mb']:,.1f}",
            " ".join(names[:FIRST]) + more,
        )
    return shown


def lines(found: dict[str, Any]) -> list[str]:
    """What is said above and below the table."""
    shuffle, validation = found["shuffle"], found["validation"]
    batch = f"global batch {found['global_batch']} in {found['lanes']} lanes, seed {found['seed']}"
    left_out = f"{shuffle['rows_left_out']} rows left out, others each epoch"
    runs = f"runs of {shuffle['label_run']:.2f} (ideal {shuffle['label_run_ideal']:.2f})"
    labels = f"{shuffle['classes_per_batch']:.1f} of 10 labels a batch (ideal {shuffle['classes_per_batch_ideal']:.1f})"
    return [
        f"{found['recipe']}: {found['rows']:,} train rows in {found['files']} files; {batch}",
        f"every rank takes {found['steps']:,} steps an epoch, on any number of ranks; {left_out}",
        f"shuffle: from {shuffle['window_rows']:,} rows at a time; rank correlation of two epochs {shuffle['order_correlation']:.3f}",
        f"on rows stored by label: {runs}, {labels}",
        f"validation: {validation['rows']:,} rows, each once, in at most {validation['steps']:,} steps of {validation['batch']} on a rank",
    ]
