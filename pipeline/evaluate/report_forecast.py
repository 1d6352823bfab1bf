"""A forecaster's page: errors step by step beside the best naive forecast, some forecasts drawn, and the worst windows."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.evaluate import figures
from pipeline.evaluate.forecast import Forecasts
from pipeline.evaluate.report import Evidence, render_page
from pipeline.schema import Evaluated
from pipeline.svg import MUTED, STYLE, TRAIN, VALIDATION, as_svg

MAX_WORST = 24
MAX_STEPS = 48  # rows of the table; of more steps, some are left out
DRAWN = 4


@dataclass(frozen=True)
class Miss:
    """A window that was forecast badly: its mean absolute error over steps and targets."""

    sample_id: str
    mae: float
    naive_mae: float


def render(evidence: Evidence, result: Evaluated, forecasts: Forecasts) -> str:
    """The page."""
    windows = evidence.facts.windows
    errors = forecasts.predicted - forecasts.true
    names = [target.column for target in windows.targets] if windows else []
    shown = {step.step for step in result.steps}
    every = -(-len(shown) // MAX_STEPS)
    return render_page(
        "report_forecast.html.j2",
        evidence,
        result,
        names=names,
        windows=windows,
        steps=[step for step in result.steps if (step.step - 1) % every == 0 or step.step == len(shown)],
        bias=float(errors.mean()),
        by_step=by_step(result),
        drawn=[draw(evidence, forecasts, row) for row in examples(forecasts)],
        residuals=figures.residuals(errors.ravel(), ", ".join(names)),
        worst=find_worst(evidence, forecasts),
    )


def by_step(result: Evaluated) -> Markup:
    """Mean absolute error at each step of the horizon, mean over targets."""
    steps = sorted({step.step for step in result.steps})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.subplots()
        for name, color, label in (("naive_mae", TRAIN, str(result.baseline.answer)), ("mae", VALIDATION, "model")):
            values = [np.mean([getattr(item, name) for item in result.steps if item.step == step]) for step in steps]
            axes.plot(steps, values, color=color, label=label, linewidth=1.6, marker="o" if len(steps) < 3 else None)
        axes.set(xlabel="steps ahead", ylabel="mean absolute error", ylim=(0, None))
        axes.legend()
        return as_svg(figure, "Error by step")


def examples(forecasts: Forecasts) -> list[int]:
    """Windows of small, middling and large error: at equal shares of all, by error."""
    order = np.argsort(np.abs(forecasts.predicted - forecasts.true).mean(axis=(1, 2)), kind="stable")
    return list(dict.fromkeys(order[np.linspace(0, len(order) - 1, DRAWN).astype(int)].tolist()))


def draw(evidence: Evidence, forecasts: Forecasts, row: int) -> Markup:
    """The first target of one window."""
    steps = np.arange(1, forecasts.true.shape[1] + 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.4), layout="constrained")
        axes = figure.subplots()
        axes.plot(steps, forecasts.naive[forecasts.best_naive][row, :, 0], color=MUTED, linewidth=1, linestyle=":", label="naive")
        axes.plot(steps, forecasts.true[row, :, 0], color=TRAIN, linewidth=1.6, label="true")
        axes.plot(steps, forecasts.predicted[row, :, 0], color=VALIDATION, linewidth=1.6, label="forecast")
        axes.set_title(evidence.names[row].as_py().replace("$", r"\$"), fontsize=8)
        axes.legend(fontsize=7)
        return as_svg(figure, "A forecast")


def find_worst(evidence: Evidence, forecasts: Forecasts) -> list[Miss]:
    """The windows with the largest errors, the largest first; of equal ones the first in the split."""
    errors = np.abs(forecasts.predicted - forecasts.true).mean(axis=(1, 2))
    naive = np.abs(forecasts.naive[forecasts.best_naive] - forecasts.true).mean(axis=(1, 2))
    order = np.argsort(-errors, kind="stable")[:MAX_WORST]
    return [Miss(evidence.names[row].as_py(), float(errors[row]), float(naive[row])) for row in order.tolist() if errors[row]]
