"""The report's figures: how the search went, what mattered, where the good trials lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from pipeline.sections.tuning import Parameter, Tune
from pipeline.svg import MUTED, STYLE, TRAIN, VALIDATION, as_svg
from pipeline.tune.space import Point, show

BEST_COLOR = "#c2410c"
Tried = tuple[FrozenTrial, Point]


def valued(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]


def values_of(trials: Sequence[FrozenTrial]) -> NDArray[np.float64]:
    return np.asarray([trial.value for trial in trials], np.float64)


def history(trials: Sequence[FrozenTrial], tune: Tune) -> Markup:
    """Every trial's metric in the order of their numbers, and the best so far."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes, complete = figure.subplots(), valued(trials)
        better = np.minimum if tune.direction == "minimize" else np.maximum
        numbers, values = [trial.number for trial in complete], values_of(complete)
        axes.plot(numbers, better.accumulate(values), color=VALIDATION, drawstyle="steps-post", label="best so far")
        axes.scatter(numbers, values, s=16, color=TRAIN, label="complete")
        pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.value is not None]
        label = "pruned, at its end" if pruned else None
        axes.scatter([trial.number for trial in pruned], values_of(pruned), s=16, color=MUTED, marker="x", label=label)
        for index, trial in enumerate(trial for trial in trials if trial.state == TrialState.FAIL):
            axes.axvline(trial.number, color=BEST_COLOR, linewidth=0.8, linestyle=":", label="failed" if index == 0 else None)
        axes.set(xlabel="trial", ylabel=tune.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        return as_svg(figure, f"{tune.metric} by trial")


def by_epoch(trials: Sequence[FrozenTrial], tune: Tune, best: FrozenTrial) -> Markup:
    """Every trial's metric over its epochs; the best one in colour."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for trial in sorted(trials, key=lambda trial: trial.number == best.number):
            epochs = sorted(trial.intermediate_values)
            is_best = trial.number == best.number
            color, width = (VALIDATION, 1.8) if is_best else (MUTED, 0.8)
            values = [trial.intermediate_values[epoch] for epoch in epochs]
            axes.plot(epochs, values, color=color, linewidth=width, marker="o" if len(epochs) < 3 else None, markersize=3)
        axes.set(xlabel="epoch", ylabel=tune.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return as_svg(figure, f"{tune.metric} by epoch")


def importance(shares: Mapping[str, float]) -> Markup:
    """How much of the metric's variance each parameter explains, the most important on top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.7 + 0.3 * len(shares)), layout="constrained")
        axes, ordered = figure.subplots(), sorted(shares.items(), key=lambda item: item[1])
        axes.barh([name for name, _ in ordered], [share for _, share in ordered], 0.6, color=VALIDATION)
        axes.set(xlabel="share of the variance", xlim=(0, 1))
        return as_svg(figure, "Importance of the parameters")


def slices(tried: Sequence[Tried], tune: Tune, best: FrozenTrial) -> Markup:
    """One panel for each parameter: its values against the metric."""
    columns = min(3, len(tune.parameters))
    rows = math.ceil(len(tune.parameters) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3 * columns, 2.6 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
        for axes, (key, parameter) in zip(panels, tune.parameters.items(), strict=False):
            draw_slice(axes, key, parameter, tried, best)
        for axes in list(panels):
            axes.set_visible(False)
        figure.supylabel(tune.metric, fontsize=9)
        return as_svg(figure, "Metric by parameter")


def draw_slice(axes: Axes, key: str, parameter: Parameter, tried: Sequence[Tried], best: FrozenTrial) -> None:
    places = [place(point[key], parameter) for _, point in tried]
    colors = [BEST_COLOR if trial.number == best.number else TRAIN for trial, _ in tried]
    axes.scatter(places, [float(trial.value or 0) for trial, _ in tried], s=16, c=colors)
    axes.set_xlabel(key)
    if parameter.choices is not None:
        axes.set_xticks(range(len(parameter.choices)), [shortened(choice) for choice in parameter.choices])
        axes.set_xlim(-0.5, len(parameter.choices) - 0.5)
    elif parameter.log:
        axes.set_xscale("log")


def parallel(tried: Sequence[Tried], tune: Tune, best: FrozenTrial) -> Markup:
    """A line for each complete trial through its parameters, from left to right, to its metric; dark lines are good ones."""
    values = np.asarray([float(trial.value or 0) for trial, _ in tried])
    low, high = float(values.min()), float(values.max())
    spread = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    goodness = 1 - spread if tune.direction == "minimize" else spread
    keys = list(tune.parameters)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes, colors = figure.subplots(), matplotlib.colormaps["Blues"]
        for index in np.argsort(goodness):
            trial, point = tried[index]
            heights = [height(point[key], tune.parameters[key]) for key in keys]
            color = BEST_COLOR if trial.number == best.number else colors(0.2 + 0.7 * goodness[index])
            axes.plot(range(len(keys) + 1), [*heights, spread[index]], color=color, linewidth=1.2)
        for index, (bottom, top) in enumerate([*(ends(tune.parameters[key]) for key in keys), (f"{low:.4g}", f"{high:.4g}")]):
            axes.axvline(index, color=MUTED, linewidth=0.8)
            axes.text(index, -0.06, bottom, ha="center", va="top", fontsize=8)
            axes.text(index, 1.06, top, ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(keys) + 1), [*(key.rpartition(".")[2] for key in keys), tune.metric])
        axes.tick_params(axis="x", pad=14, length=0)
        axes.set(ylim=(-0.05, 1.05), yticks=[])
        axes.spines[:].set_visible(False)
        return as_svg(figure, "Parallel coordinates of the trials")


def place(value: Any, parameter: Parameter) -> float:
    """Where a value is drawn: itself, or the position of a choice."""
    return float(value) if parameter.choices is None else float(parameter.choices.index(value))


def height(value: Any, parameter: Parameter) -> float:
    """0 to 1 from one end of a parameter to the other."""
    if parameter.choices is not None:
        return parameter.choices.index(value) / (len(parameter.choices) - 1)
    low, high = parameter.range
    low, high, at = (math.log(number) if parameter.log else number for number in (low, high, value))
    return (at - low) / (high - low)


def ends(parameter: Parameter) -> tuple[str, str]:
    if parameter.choices is not None:
        return shortened(parameter.choices[0]), shortened(parameter.choices[-1])
    low, high = parameter.range
    return show(low), show(high)


def shortened(choice: Any, limit: int = 12) -> str:
    # A dollar sign would begin mathematics in matplotlib.
    text = show(choice)
    return (text if len(text) <= limit else f"{text[: limit - 1]}…").replace("$", r"\$")
