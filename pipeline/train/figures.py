"""The figures of a training's page, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.schema import Epoch
from pipeline.svg import MUTED, STYLE, TRAIN, VALIDATION, as_svg

COLUMNS = 2
ROW_INCHES = 2.6
NO_CURVES = ("learning_rate", "epsilon")  # shown by themselves


def metric_curves(history: Sequence[Epoch], best_epoch: int) -> Markup:
    """Every metric by epoch, of train and validation rows, the loss first; the epoch whose weights the model has is marked."""
    names = metric_names(history)
    with matplotlib.rc_context(STYLE):
        rows = -(-len(names) // COLUMNS)
        figure = Figure(figsize=(9, ROW_INCHES * rows), layout="constrained")
        all_axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
        for axes, name in zip(all_axes, names, strict=False):
            for key, color, label in ((name, TRAIN, "train"), (f"val_{name}", VALIDATION, "validation")):
                if any(key in epoch.metrics for epoch in history):
                    draw(axes, history, [epoch.metrics.get(key, np.nan) for epoch in history], color, label)
            axes.axvline(best_epoch, color=MUTED, linewidth=1.4, linestyle=":", label="weights kept")
            is_steep = name == "loss" and spans_orders(history)
            axes.set(ylabel=f"{name}, logarithmic" if is_steep else name, yscale="log" if is_steep else "linear")
            axes.legend()
        for axes in list(all_axes):  # what zip left over
            axes.set_visible(False)
        return as_svg(figure, "Metrics by epoch")


def spans_orders(history: Sequence[Epoch], factor: float = 20.0) -> bool:
    """Whether losses fall so far that a linear axis would show their end as a flat line."""
    losses = [value for epoch in history for name, value in epoch.metrics.items() if name in ("loss", "val_loss")]
    return bool(losses) and min(losses) > 0 and max(losses) > factor * min(losses)


def metric_names(history: Sequence[Epoch]) -> list[str]:
    """Without val_, in the order of the first epoch, the loss first."""
    found = {name.removeprefix("val_"): None for epoch in history for name in epoch.metrics if name not in NO_CURVES}
    return sorted(found, key=lambda name: name != "loss")


def pace_curves(history: Sequence[Epoch], rows_per_second: Sequence[float]) -> Markup:
    """Learning rate and throughput by epoch."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, ROW_INCHES), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw(left, history, [epoch.metrics.get("learning_rate", np.nan) for epoch in history], VALIDATION, "learning rate")
        draw(right, history, rows_per_second, VALIDATION, "rows a second")
        left.set(ylabel="learning rate", ylim=(0, None))
        right.set(ylabel="rows a second, all ranks", ylim=(0, None))
        return as_svg(figure, "Learning rate and throughput by epoch")


def draw(axes: Axes, history: Sequence[Epoch], values: Sequence[float], color: str, label: str) -> None:
    epochs = [epoch.epoch for epoch in history]
    axes.plot(epochs, values, color=color, label=label, linewidth=1.6, marker="o" if len(epochs) < 3 else None)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
