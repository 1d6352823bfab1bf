"""A stage as an Airflow task: one command of the work environment, by argument list, with its exit code as Airflow understands it."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import child
from airflow.sdk import BaseOperator, Context, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from recipes import PROJECT

from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError, GateRejected, error_for_exit_code

PIPELINE = "LONGHAUL_PIPELINE"  # the work environment's command; default <project>/.venv/bin/pipeline
ROOT = "LONGHAUL_ROOT"  # where runs are kept; default <project>/runs

# What a stage tells the next ones: names and digests, never data.
RESULT_KEYS = ("stage", "run_id", "folder", "digest", "content_digest", "reused_from")

# A run may change how a model is made, not what it is called, what it must show, or when it runs: those stay with the recipe.
# No quote, bracket, space, shell or template character; `$` alone would let a last line break pass.
KEY = r"[A-Za-z_][A-Za-z0-9_-]*"
OVERRIDE = rf"^(?!(?:name|register|schedule)[.=]){KEY}(?:\.{KEY})*=[A-Za-z0-9_.,:/@+-]+$(?!\n)"


def params_of(recipe: Recipe) -> dict[str, Param]:
    """What can be set when a run is started by hand. Airflow checks the values against these schemas."""
    return {
        "epochs": Param(recipe.train.epochs, type="integer", minimum=1, maximum=1_000_000, description="train.epochs of this run"),
        "force": Param(False, type="boolean", description="Run stages again that have an intact result of the same request."),
        "overrides": Param(
            [],
            type="array",
            maxItems=50,
            items={"type": "string", "pattern": OVERRIDE, "maxLength": 200},
            description="Other settings of the recipe as key.sub=value, one a line. Not: name, register, schedule.",
        ),
    }


class Stage(BaseOperator):
    """`pipeline <stage> <recipe>` for the run's logical date.

    Exit codes 2, 3 and 5 (recipe, data, gate) fail the task at once, since the same again would end the same; every other one is retried.
    Nothing is a template.
    """

    template_fields: Sequence[str] = ()
    ui_color = "#e8f0fe"

    def __init__(self, *, stage: str, recipe_path: str, **kwargs: Any) -> None:
        """Args: recipe_path: relative to the project's folder."""
        super().__init__(task_id=stage, **kwargs)
        self.stage = stage
        self.recipe_path = recipe_path
        self._told_to_stop = False

    def execute(self, context: Context) -> dict[str, Any]:
        command = command_line(self.stage, self.recipe_path, date_of(context), context["params"], os.environ)
        self.log.info("%s", shlex.join(command))
        env = without_airflow(os.environ)
        try:
            ended = child.run(command, cwd=PROJECT, env=env, on_line=self._log_line, told_to_stop=lambda: self._told_to_stop)
        except OSError as error:
            raise AirflowFailException(
                f"Cannot start {command[0]}: {error.strerror}. Expected the pipeline command. Run `make setup`, or set {PIPELINE}."
            ) from error
        if ended.code:
            raise failure(self.stage, self.recipe_path, ended)
        result = read_result(ended.stdout)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = result
        return result

    def on_kill(self) -> None:
        """Called in a signal handler: only say so; `child.run` sees it within POLL_S and ends the process group."""
        self._told_to_stop = True

    def _log_line(self, line: str) -> None:
        self.log.info("%s", line)


def command_line(stage: str, recipe_path: str, date: datetime, params: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """The argument list of one stage. All four of a run get the same settings: the run's id depends on them.

    Raises:
        AirflowFailException: a parameter that is not one of ours; it would be ignored, and something else than asked for trained.
    """
    if unknown := sorted(set(params) - {"epochs", "force", "overrides"}):
        raise AirflowFailException(
            f"Unknown parameters {unknown}. Expected epochs, force, overrides. Other settings go into overrides as key.sub=value."
        )
    pipeline = environment.get(PIPELINE) or str(PROJECT / ".venv" / "bin" / "pipeline")
    root = environment.get(ROOT) or str(PROJECT / "runs")
    command = [pipeline, stage, recipe_path, "--root", root, "--date", date.isoformat(), "--json"]
    for override in (f"train.epochs={int(params['epochs'])}", *params["overrides"]):
        command += ["--set", override]
    return [*command, "--force"] if params["force"] else command


def date_of(context: Context) -> datetime:
    """The run's logical date in UTC; of a run without one (by hand, or by an asset) the time after which it was to run."""
    run = context["dag_run"]
    return datetime.fromisoformat((run.logical_date or run.run_after).isoformat()).astimezone(UTC)


def without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less Airflow's own: settings, connections, variables, the supervisor's channel. Stages need none of it."""
    return {name: value for name, value in environment.items() if not name.lstrip("_").startswith("AIRFLOW")}


def failure(stage: str, recipe_path: str, ended: child.Ended) -> AirflowException:
    """The exception of an exit code that is not 0: AirflowFailException where a retry would end the same."""
    kind = type(error_for_exit_code(ended.code, ""))
    how = f"was ended by {signal.Signals(-ended.code).name}" if ended.code < 0 else f"ended with exit code {ended.code}"
    is_final = issubclass(kind, (ConfigError, DataError, GateRejected))
    advice = "A retry would end the same" if is_final else "A retry may succeed, and finds what is already done"
    text = "\n".join((f"{stage} of {recipe_path} {how} ({kind.__name__}). {advice}. Its last lines:", *ended.last_lines))
    return AirflowFailException(text) if is_final else AirflowException(text)


def read_result(stdout: str) -> dict[str, Any]:
    """The stage's own account of its result, cut down to what belongs into XCom.

    Raises:
        AirflowFailException: it is not there; the command is not the one we expect.
    """
    last_line = next(iter(stdout.strip().splitlines()[-1:]), "")
    try:
        values = json.loads(last_line)
        return {key: values[key] for key in RESULT_KEYS}
    except (ValueError, KeyError, TypeError) as error:
        raise AirflowFailException(
            f"The stage ended well but its last line of stdout is not the expected JSON ({error!r}): {last_line[:200]!r}. "
            f"Expected the keys {', '.join(RESULT_KEYS)}. Is {PIPELINE} the command of this project's version?"
        ) from error


def relative_to_project(path: Path) -> str:
    return str(path.relative_to(PROJECT))
