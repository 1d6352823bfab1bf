"""The report's figures, as SVG text to put into the page: the same bytes each time."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.evaluate.classification import Calibration
from pipeline.schema import Epoch, ErrorRange
from pipeline.summary import rounded
from pipeline.svg import MUTED, STYLE, TRAIN, VALIDATION, as_svg

MAX_DOTS = 1000  # rows; of more, predicted against true is drawn as counts
MAX_NUMBERED = 20  # classes; a larger confusion matrix has colours only


def learning_curves(history: Sequence[Epoch], best_epoch: int) -> Markup:
    """Loss and the metric beside it by epoch, of train and validation rows; the epoch whose weights the model has is marked."""
    names = ("loss", "accuracy" if "accuracy" in history[0].metrics else "mae")
    names = ("critic_loss", "generator_loss") if "critic_loss" in history[0].metrics else names
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3), layout="constrained")
        epochs = [epoch.epoch for epoch in history]
        for axes, name in zip(figure.subplots(1, 2), names, strict=True):
            for key, color, label in ((name, TRAIN, "train"), (f"val_{name}", VALIDATION, "validation")):
                values = [epoch.metrics.get(key, np.nan) for epoch in history]
                axes.plot(epochs, values, color=color, label=label, linewidth=1.6, marker="o" if len(epochs) < 3 else None)
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.axvline(best_epoch, color=MUTED, linewidth=0.8, linestyle=":", label="weights kept")
            axes.legend()
        return as_svg(figure, f"{names[0].capitalize()} and {names[1]} by epoch")


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """Counts of [true][predicted], coloured by the share of the true class."""
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size, is_numbered = min(2.4 + 0.26 * len(classes), 8.5), len(classes) <= MAX_NUMBERED
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        if is_numbered:
            axes.set_xticks(range(len(classes)), [shortened(name) for name in classes], rotation=45 if max(map(len, classes)) > 3 else 0)
            axes.set_yticks(range(len(classes)), [shortened(name) for name in classes])
            for (true, predicted), count in np.ndenumerate(counts):
                color = "white" if shares[true, predicted] > 0.5 else "#2b303b"
                if count:
                    axes.text(predicted, true, str(count), ha="center", va="center", color=color)
        return as_svg(figure, "Confusion matrix")


def reliability(calibration: Calibration) -> Markup:
    """How often the model is right against how sure it is; on the diagonal the two agree. Below: how many rows."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        sure, ranges = [item.confidence for item in calibration.bins], [item.accuracy for item in calibration.bins]
        upper.vlines(sure, [interval.low for interval in ranges], [interval.high for interval in ranges], color=VALIDATION, alpha=0.35)
        upper.plot(sure, [interval.value for interval in ranges], color=VALIDATION, marker="o", markersize=4)
        upper.set(ylabel="share right", ylim=(-0.03, 1.03), xlim=(-0.03, 1.03))
        left, widths = [item.low for item in calibration.bins], [item.high - item.low for item in calibration.bins]
        lower.bar(left, [item.count for item in calibration.bins], widths, align="edge", color=TRAIN, edgecolor="white")
        lower.set(xlabel="highest probability", ylabel="rows")
        return as_svg(figure, "Reliability diagram")


def predicted_against_true(true: NDArray[np.float64], predicted: NDArray[np.float64], label: str) -> Markup:
    """A dot for each row; of many rows, counts in hexagons. On the diagonal the prediction is right."""
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        if len(true) <= MAX_DOTS:
            axes.scatter(true, predicted, s=9, color=VALIDATION, alpha=0.5, linewidths=0)
        else:
            visible = ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.25, 1, 256)))  # its palest are white
            hexagons = axes.hexbin(true, predicted, gridsize=40, bins="log", mincnt=1, cmap=visible, linewidths=0)
            figure.colorbar(hexagons, ax=axes, label="rows")
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"{shortened(label)}, true", ylabel="predicted")
        return as_svg(figure, "Predicted against true")


def residuals(errors: NDArray[np.float64], label: str) -> Markup:
    """How many rows have which error; the middle 98 % of them, so that a few far ones do not hide the shape."""
    low, high = np.quantile(errors, [0.01, 0.99])
    inside = errors[(errors >= low) & (errors <= high)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.hist(inside, bins=min(40, 4 + int(len(inside) ** 0.5)), color=TRAIN, edgecolor="white", linewidth=0.4)
        axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"predicted − true, {shortened(label)}", ylabel="rows")
        return as_svg(figure, "Residuals")


def errors_by_range(ranges: Sequence[ErrorRange], label: str) -> Markup:
    """Mean absolute error and bias in each range of the true value, from the lowest."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes, places = figure.subplots(), np.arange(len(ranges))
        axes.bar(places, [item.mae for item in ranges], 0.7, color=TRAIN, label="mean absolute error")
        axes.plot(places, [item.bias for item in ranges], color=VALIDATION, marker="o", markersize=4, linewidth=1, label="bias")
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xticks(places, [f"{rounded(item.low)}\nto {rounded(item.high)}" for item in ranges], fontsize=8)
        axes.set(xlabel=f"{shortened(label)}, true", ylabel="error")
        axes.legend()
        return as_svg(figure, "Error by true value")


def shortened(name: str, limit: int = 14) -> str:
    # A dollar sign would begin mathematics in matplotlib.
    text = name if len(name) <= limit else f"{name[: limit - 1]}…"
    return text.replace("$", r"\$")
