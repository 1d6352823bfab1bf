"""One self-contained page about a search: what was tried, what it gave, what mattered. No script, nothing loaded from elsewhere."""

from __future__ import annotations

import warnings
from pathlib import Path

import jinja2
import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import Recipe
from pipeline.tune import figures
from pipeline.tune.slots import RETRY_OF, Study
from pipeline.tune.space import describe, show
from pipeline.tune.trial import summary_of

MIN_FOR_IMPORTANCE = 4  # complete trials; of fewer any share would be chance


def render(recipe: Recipe, study: Study, best: FrozenTrial | None) -> str:
    """The page, of a search that may still go on."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(show=show, count=lambda number: f"{number:,}")
    trials, tune = study.trials(), study.tune
    complete = figures.valued(trials)
    tried = [(trial, study.point(trial)) for trial in complete]
    shares = importances(study)
    drawn = {} if best is None else {
        "history": figures.history(trials, tune),
        "by_epoch": figures.by_epoch(trials, tune, best),
        "slices": figures.slices(tried, tune, best),
        "parallel": figures.parallel(tried, tune, best),
        "importance": figures.importance(shares) if shares else "",
    }  # fmt: skip
    states = {state.name.lower(): sum(trial.state == state for trial in trials) for state in TrialState}
    return environment.get_template("report.html.j2").render(
        recipe=recipe,
        tune=tune,
        name=study.name,
        states={name: count for name, count in states.items() if count},
        rows=[row(study, trial, best) for trial in ordered(study, trials)],
        best=best,
        best_point={} if best is None else study.point(best),
        spread=spread(complete),
        figures=drawn,
        tune_yaml=yaml.safe_dump(tune.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True),
        min_for_importance=MIN_FOR_IMPORTANCE,
    )


def importances(study: Study) -> dict[str, float]:
    """Share of the metric's variance by parameter (fANOVA); empty where it cannot be told.

    Source: Hutter, Hoos & Leyton-Brown 2014, "An efficient approach for assessing hyperparameter importance", as Optuna has it.
    """
    loaded = study.load()
    complete = figures.valued(loaded.get_trials(deepcopy=False))
    if len(complete) < MIN_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.tune.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters that were drawn alike every time
        return dict(optuna.importance.get_param_importances(loaded, evaluator=evaluator))


def ordered(study: Study, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Complete ones from the best, then pruned, failed, and those to come, by number."""
    sign = 1 if study.tune.direction == "minimize" else -1
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]

    def key(trial: FrozenTrial) -> tuple[int, float, int]:
        is_complete = trial.state == TrialState.COMPLETE and trial.value is not None
        return states.index(trial.state), sign * (trial.value or 0.0) if is_complete else 0.0, trial.number

    return sorted((trial for trial in trials if trial.state != TrialState.WAITING), key=key)


def row(study: Study, trial: FrozenTrial, best: FrozenTrial | None) -> dict[str, object]:
    known = trial.user_attrs
    note = "the best" if best is not None and trial.number == best.number else ""
    note = f"same parameters as trial {known['same_as']}" if "same_as" in known else note
    note = f"again for trial {known[RETRY_OF]}, whose worker died" if RETRY_OF in known else note
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "result": summary_of(trial),
        "point": describe(study.point(trial)),
        "epochs": known.get("epochs", len(trial.intermediate_values)),
        "best_epoch": known.get("best_epoch", ""),
        "seconds": known.get("seconds", ""),
        "run": known.get("run", ""),
        "note": note,
    }


def spread(complete: list[FrozenTrial]) -> tuple[float, float] | None:
    values = [trial.value for trial in complete if trial.value is not None]
    return (min(values), max(values)) if values else None
