"""What a training's manifest says of its feed: the shuffle, the memory, the time that steps waited, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.attempt import Found
from pipeline.config import Recipe
from pipeline.feed import quality
from pipeline.feed.budget import MB, Budget, of_rank
from pipeline.feed.fitting import refuse_what_does_not_fit
from pipeline.feed.plan import Plan
from pipeline.feed.schedule import num_read_twice, schedule
from pipeline.feed.stall import advice
from pipeline.schema import FeedFacts, files_of, prepared


def budget_of(recipe: Recipe, found: Found, plan: Plan, size: int) -> Budget:
    """The memory of the rank with the most lanes.

    Raises:
        ConfigError: feed.memory_mb is too little for it, or feed.augment does not go with the rows.
    """
    num_lanes = max(len(plan.lanes_of(rank, size)) for rank in range(size))
    files, facts = files_of(found.manifest, "train"), prepared(found.manifest)
    refuse_what_does_not_fit(recipe.feed.augment, facts.tensor, plan.rows_per_lane_batch)
    is_cached, shape = recipe.feed.cache == "memory", facts.label_shape
    return of_rank(files, facts.tensor, plan.rows_per_lane_batch, num_lanes, recipe.feed.memory_mb, is_cached=is_cached, label_shape=shape)


def feed_facts(recipe: Recipe, found: Found, plan: Plan, history: Sequence[Mapping[str, Any]]) -> FeedFacts:
    """Of a training that has ended; `history` holds its epochs."""
    budget = budget_of(recipe, found, plan, recipe.train.ranks)
    lanes = [plan.segments(0, lane) for lane in plan.lanes_of(0, recipe.train.ranks)]
    timed = [epoch for epoch in history if epoch.get("stalled") is not None]
    seconds = sum(epoch["seconds"] for epoch in timed)
    stalled = sum(epoch["stalled"] * epoch["seconds"] for epoch in timed) / seconds if seconds else 0.0
    window_mb, limit_mb = round(budget.window_bytes / MB, 2), recipe.feed.memory_mb
    return FeedFacts(
        shuffle=quality.measure(plan),
        files=len(plan.rows_per_file),
        files_read_twice=num_read_twice(schedule(lanes, plan.rows_per_lane_batch, budget.keep_rows)),
        window_mb=window_mb,
        limit_mb=limit_mb,
        stalled=round(stalled, 4),
        advice=advice(stalled, stalled * seconds, cache=recipe.feed.cache, window_mb=window_mb, memory_mb=limit_mb),
    )
