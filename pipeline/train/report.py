"""One self-contained HTML page about a training: how it learnt, how fast, what stopped it. No script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import jinja2
import yaml

from pipeline import stage
from pipeline.config import Recipe
from pipeline.schema import Epoch, Prepared, RankPace, Trained
from pipeline.summary import rounded
from pipeline.train import figures

TEMPLATES = Path(__file__).parent
SETTINGS = ("model", "transfer", "train", "feed")  # the sections of a recipe that decide a training


@dataclass(frozen=True)
class RankTotal:
    """One rank over all epochs that this attempt saw. Shares are of the time of its steps, 0 to 1."""

    rank: int
    rows: int
    steps_s: float
    validation_s: float
    exchange: float  # sending gradients and waiting for the slowest rank's
    feed: float  # waiting for rows
    cores: float  # CPU seconds in a second
    memory_mb: float

    @property
    def own(self) -> float:
        """The rest: computing."""
        return max(0.0, 1 - self.exchange - self.feed)


def render(recipe: Recipe, data: Prepared, trained: Trained, *, run_id: str, started_at: str) -> str:
    """The page.

    Args:
        recipe: as it was run.
        data: facts of what was trained on.
        trained: facts of the training; shows no part that they do not have.
        run_id: of the run.
        started_at: ISO time, UTC.
    """
    loader = jinja2.FileSystemLoader(TEMPLATES, encoding="utf-8")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, rounded=rounded, count=lambda number: f"{number:,}")
    speeds, ranks = [rows_per_second(epoch, trained.global_batch) for epoch in trained.history], rank_totals(trained.history)
    return environment.get_template("report.html.j2").render(
        recipe=recipe,
        data=data,
        trained=trained,
        run_id=run_id,
        started_at=f"{started_at[:16].replace('T', ' ')} UTC",
        ending=what_stopped(recipe, trained),
        best=trained.history[trained.best_epoch - 1] if trained.history else None,
        metric_names=figures.metric_names(trained.history),
        speeds=speeds,
        speed=median(speeds) if speeds else None,
        ranks=ranks,
        verdict=verdict(ranks),
        metric_curves=figures.metric_curves(trained.history, trained.best_epoch) if trained.history else "",
        pace_curves=figures.pace_curves(trained.history, speeds) if trained.history else "",
        settings=yaml.safe_dump(shown_settings(recipe), sort_keys=False, allow_unicode=True),
        software=stage.software(),
    )


def shown_settings(recipe: Recipe) -> dict[str, object]:
    return {name: section for name, section in recipe.resolved().items() if name in SETTINGS and section is not None}


def what_stopped(recipe: Recipe, trained: Trained) -> str:
    """Why there is no further epoch, from what happened; every reason has its own sign in the history."""
    done, settings = len(trained.history), recipe.train
    if done >= settings.epochs:
        return f"It ran all {settings.epochs} epochs of train.epochs."
    stopping = settings.early_stopping
    if stopping is not None and done - trained.best_epoch >= stopping.patience:
        return (
            f"Early stopping: {stopping.metric} was best in epoch {trained.best_epoch} and did not improve in the {stopping.patience} "
            f"epochs after it (train.early_stopping). {settings.epochs} epochs were allowed."
        )
    if trained.privacy is not None and is_spent(trained):
        return (
            f"The privacy budget: another epoch would have exceeded epsilon {trained.privacy.epsilon_budget:g} "
            f"(train.privacy.epsilon_budget); {trained.privacy.epsilon:.3f} is spent. {settings.epochs} epochs were allowed."
        )
    if settings.callbacks.time_limit_s is not None:
        limit_s = settings.callbacks.time_limit_s
        return f"The time limit of {limit_s} s (train.callbacks.time_limit_s), after {done} of {settings.epochs} epochs."
    return f"A callback ended it after {done} of {settings.epochs} epochs."


def is_spent(trained: Trained) -> bool:
    """Whether one more epoch does not fit into the privacy budget."""
    from pipeline.train.accounting import affordable_epochs

    found = trained.privacy
    return found is not None and len(trained.history) >= affordable_epochs(found.noise_multiplier, found.delta, found.epsilon_budget)


def rows_per_second(epoch: Epoch, global_batch: int) -> float:
    """Of all ranks, in training steps; where no rank's pace is known, validation counts as well."""
    if not epoch.ranks:
        return epoch.steps * global_batch / max(epoch.seconds, 1e-9)
    return sum(pace.rows for pace in epoch.ranks) / max(*(pace.steps_s for pace in epoch.ranks), 1e-9)


def rank_totals(history: Sequence[Epoch]) -> list[RankTotal]:
    """Ranks side by side, rank 0 first; none where no pace was measured. A resume on other ranks restarts the count."""
    epochs = [epoch.ranks for epoch in history if epoch.ranks]
    epochs = [ranks for ranks in epochs if len(ranks) == len(epochs[-1])]
    return [rank_total(rank, paces) for rank, paces in enumerate(zip(*epochs, strict=True))]


def rank_total(rank: int, paces: Sequence[RankPace]) -> RankTotal:
    steps_s = max(sum(pace.steps_s for pace in paces), 1e-9)
    validation_s = sum(pace.validation_s for pace in paces)
    return RankTotal(
        rank=rank,
        rows=sum(pace.rows for pace in paces),
        steps_s=steps_s,
        validation_s=validation_s,
        exchange=min(1.0, sum(pace.exchange_s for pace in paces) / steps_s),
        feed=min(1.0, sum(pace.feed_s for pace in paces) / steps_s),
        cores=sum(pace.cpu_s for pace in paces) / (steps_s + validation_s),
        memory_mb=max(pace.memory_mb for pace in paces),
    )


def verdict(ranks: Sequence[RankTotal]) -> str | None:
    """What to look at first, or None with one rank or none."""
    if len(ranks) < 2:
        return None
    waited = [rank.exchange for rank in ranks]
    slowest = min(ranks, key=lambda rank: rank.exchange)
    if max(waited) - min(waited) > 0.1:
        return (
            f"Rank {slowest.rank} is the one that the others wait for: it spends {percent(min(waited))} of its steps in the exchange of "
            f"gradients, another rank {percent(max(waited))}. Look for what else runs on its host, or give it fewer lanes."
        )
    if min(waited) > 0.3:
        return f"Every rank spends {percent(min(waited))} of its steps or more exchanging gradients: use fewer ranks, or larger batches."
    return "No rank waits much longer than another."


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
