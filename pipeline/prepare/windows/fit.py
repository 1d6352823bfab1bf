"""Scalers and encoders of windows, from the train steps: each counted once, however many windows it is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.encode import feature_names, fit_encoder, time_names
from pipeline.prepare.scale import fit_scaler
from pipeline.prepare.sketch import CategorySketch, NumberSketch
from pipeline.prepare.summary import summarise
from pipeline.prepare.tally import Tally
from pipeline.prepare.windows.cut import BOUNDARY, HOLE
from pipeline.prepare.windows.pack import Channels
from pipeline.prepare.windows.prepared import WindowPacking
from pipeline.prepare.windows.stage import SeriesLayout
from pipeline.schema import SPLITS, CategoryEncoder, NumberScaler, TimeEncoder, WindowFacts
from pipeline.sections.data import Encode


def fit_windows(recipe: Recipe, layout: SeriesLayout, tally: Tally, work: Path) -> tuple[WindowPacking, dict[str, Any]]:
    """The packing, and the facts of the manifest that it is made from. No Spark job.

    Raises:
        DataError: more windows are lost to missing steps than allowed, or a column has no value in any train step.
    """
    check_holes(layout, tally)
    scalers = tuple(scaler(recipe, tally, name) for name in layout.numbers)
    encoders = tuple(encoder(recipe, tally, name) for name in layout.texts)
    times = tuple(TimeEncoder(column=name, cycles=recipe.columns[name].cycles) for name in recipe.names("time"))
    channels = Channels(layout.windows, layout.columns, scalers, encoders, times)
    windows = layout.windows
    facts = WindowFacts(
        history=windows.history,
        horizon=windows.horizon,
        gap=windows.gap,
        stride=windows.stride,
        period_s=windows.period_s,
        season=windows.season,
        scale=windows.scale,
        targets=scalers[: len(layout.columns.targets)],
        rows=tally.windows["rows"],
        train_steps=tally.windows["train steps"],
        gaps=tally.windows["gaps"],
        lost={reason: tally.windows[f"lost {reason}"] for reason in (HOLE, BOUNDARY)},
    )
    found: dict[str, Any] = {
        "tensor": channels.tensor,
        "label_shape": channels.label_shape,
        "target": scalers[0],
        "scalers": scalers[len(facts.targets) :],
        "encoders": encoders,
        "times": times,
        "features": tuple(channel_names(channels)),
        "statistics": {name: summarise(sketch) for name, sketch in tally.sketches.items()},
        "windows": facts,
    }
    return WindowPacking(channels, recipe.augment, str(work)), found


def check_holes(layout: SeriesLayout, tally: Tally) -> None:
    """Raises DataError if more windows than `max_holes` would have missing steps."""
    lost, made = tally.windows[f"lost {HOLE}"], sum(tally.kept(name) for name in SPLITS)
    windows = layout.windows
    if lost > windows.max_holes * (lost + made):
        raise DataError(
            f"{lost} of {lost + made} windows ({lost / (lost + made):.2%}) would have missing steps: {tally.windows['gaps']} gaps in the "
            f"rows, and steps without a value. windows.max_holes allows {windows.max_holes:.2%}. Say how steps are filled "
            "(windows: {fill: forward, max_fill: N}), mend the source, or raise windows.max_holes if this loss is right."
        )


def scaler(recipe: Recipe, tally: Tally, name: str) -> NumberScaler:
    sketch = tally.sketches.get(name)
    if not isinstance(sketch, NumberSketch):
        raise DataError(f"Column {name} has no value in any train step. Give train more time in `split`, or mend the source.")
    return fit_scaler(name, recipe.normalize.get(name, "standard"), sketch)


def encoder(recipe: Recipe, tally: Tally, name: str) -> CategoryEncoder:
    options, sketch = recipe.encode.get(name, Encode()), tally.sketches.get(name)
    if not isinstance(sketch, CategorySketch) or not sketch.count:
        raise DataError(f"Column {name} has no value in any train step. Expected texts: set role: ignore, or mend the source.")
    if options.method == "vocabulary" and not sketch.is_complete:
        raise DataError(f"Column {name} has about {sketch.distinct} values: too many for encode: vocabulary of windows. Use encode: hash.")
    return fit_encoder(name, options, sketch.value_counts, is_complete=sketch.is_complete)


def channel_names(channels: Channels) -> Iterator[str]:
    """What each channel of the tensor is, in order."""
    groups = {"past": channels.past, "known": channels.columns.known, "static": channels.columns.static}
    for group, places in groups.items():
        yield from (channels.scalers[place].column for place in places)
        yield from (name for found in channels.encoders_of(group) for name in feature_names(found))
        if group == "known":
            yield from (name for found in channels.times for name in time_names(found))
    if channels.widths["marker"]:
        yield "(horizon)"
