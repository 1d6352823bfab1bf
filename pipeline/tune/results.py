"""What a search leaves in its folder: report.html, trials.json, and best.yaml, which can be run."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pipeline.console import Console
from pipeline.errors import LonghaulError, error_for_exit_code
from pipeline.summary import short, typed
from pipeline.tune.best_recipe import write_best, write_whole
from pipeline.tune.job import Search, num_done
from pipeline.tune.report import render
from pipeline.tune.slots import RETRY_OF, Study
from pipeline.tune.space import describe
from pipeline.tune.trial import summary_of

BEST, REPORT, TRIALS = "best.yaml", "report.html", "trials.json"


def write_results(search: Search, console: Console) -> dict[str, Any]:
    """The files, a few lines for a person, and the record for `--json`.

    Raises:
        LonghaulError: no trial was completed; the report is there all the same. Of the kind that the last trial failed with.
    """
    study, folder = search.study, search.study.folder
    trials, best = study.trials(), best_of(study)
    write_whole(folder / TRIALS, json.dumps([as_record(study, trial) for trial in trials], indent=1, ensure_ascii=False))
    write_whole(folder / REPORT, render(search.checked, study, best))
    states = Counter(trial.state.name.lower() for trial in trials)
    console.line("")
    console.line(f"tune      {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}")
    console.line(f"report    {short(folder / REPORT)}")
    if best is None:
        if failed := [trial for trial in trials if "exit_code" in trial.user_attrs]:
            raise none_completed(failed[-1])
        left: dict[str, Any] = {"best": None}
    else:
        header = f"# Trial {best.number} of the search {study.name}: {search.tune.metric} {best.value:.6g}. Written by `pipeline tune`.\n"
        point = study.point(best)
        write_best(folder / BEST, search.asked.recipe, search.document, search.asked.overrides, point, header)
        console.line(f"best      {search.tune.metric} {best.value:.4f} in trial {best.number}: {describe(point)}")
        console.line(f"next      {typed()} run {short(folder / BEST)}    prepares nothing again; trains, evaluates on test rows, registers")
        left = {"best": as_record(study, best), "recipe": str(folder / BEST)}
    done = num_done(study)
    if done < search.tune.num_trials:
        console.line(f"left      {search.tune.num_trials - done} trials; the same command goes on with them", style="yellow")
    return {"study": study.name, "folder": str(folder), "trials": dict(states), **left, "report": str(folder / REPORT)}


def none_completed(failed: FrozenTrial) -> LonghaulError:
    code = int(failed.user_attrs["exit_code"])
    error = error_for_exit_code(code, f"No trial was completed. The last, trial {failed.number}: {failed.user_attrs['error']}")
    if not isinstance(error, LonghaulError):
        raise error
    return error


def best_of(study: Study) -> FrozenTrial | None:
    """The completed trial with the best metric; of equal ones the first."""
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE and trial.value is not None]
    sign = 1 if study.tune.direction == "minimize" else -1
    return min(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def as_record(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    kept = ("run", "best_epoch", "epochs", "seconds", "weight_digest", "same_as", "error", RETRY_OF)
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "parameters": study.point(trial),
        "summary": summary_of(trial),
        **{name: trial.user_attrs[name] for name in kept if name in trial.user_attrs},
        "by_epoch": {str(epoch): value for epoch, value in trial.intermediate_values.items()},
    }
