"""What a run says about itself: a line a stage, and the table at the end."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.attempt import read_published
from pipeline.console import Console
from pipeline.paths import Place, Remote, Run, Stage
from pipeline.schema import UNLABELLED, Evaluated, Prepared, Registered, Trained
from pipeline.stage import Outcome


def print_stage(console: Console, stage: Stage, outcome: Outcome) -> None:
    """`prepare   1,797 rows … in 12.3 s`, or where the result was found again."""
    if outcome.reused_from is None:
        console.line(f"{stage:<9} {result(stage, outcome)}  in {outcome.manifest.seconds:.1f} s")
    else:
        text = f"reused from run {outcome.reused_from}, finished {age(outcome)}  {short(outcome.found.folder)}"
        console.line(f"{stage:<9} {text}", style="green")


def describe_outcome(run: Run, stage: Stage, *, again: bool) -> str:
    """What `--dry-run` says of a stage: whether this run has it, as far as can be told without looking at the source."""
    published = read_published(run.published(stage))
    if published is None:
        return "would be done (or found in another run with the same key)"
    if again:
        return "would be done again"
    return f"has a result of {published.started_at}; would be checked and reused if nothing it read has changed"


def result(stage: Stage, outcome: Outcome) -> str:
    facts = outcome.manifest.facts
    return {"prepare": prepared_text, "train": trained_text, "evaluate": evaluated_text, "register": registered_text}[stage](facts)


def prepared_text(facts: dict[str, Any]) -> str:
    found = Prepared.model_validate(facts)
    dropped = sum(found.accounting.dropped.values())
    splits = ", ".join(f"{name} {split.rows:,}" for name, split in found.splits.items())
    return f"{found.accounting.rows_in:,} rows in, {dropped:,} dropped, {found.accounting.augmented:,} augmented: {splits}"


def trained_text(facts: dict[str, Any]) -> str:
    found = Trained.model_validate(facts)
    resumed = f", resumed from {found.resumed_from}" if found.resumed_from else ""
    return f"{found.ranks} ranks, {len(found.history)} epochs of {found.steps_per_epoch} steps, best epoch {found.best_epoch}{resumed}"


def evaluated_text(facts: dict[str, Any]) -> str:
    found = Evaluated.model_validate(facts)
    return f"{found.rows:,} test rows, {found.headline} {measured(found)}"


def registered_text(facts: dict[str, Any]) -> str:
    found = Registered.model_validate(facts)
    return f"{found.model} version {found.version} as {found.alias}"


def measured(found: Evaluated) -> str:
    """The metric that a line has room for: `0.9890 (95% interval 0.9719 to 0.9957)`."""
    metric = found.metrics[found.headline]
    return f"{rounded(metric.value)} ({found.confidence:.0%} interval {rounded(metric.low)} to {rounded(metric.high)})"


def baseline(found: Evaluated) -> str:
    answer = "the most frequent class" if found.task == "classification" else "the train mean"
    if found.naive or found.task in UNLABELLED:
        return f"{found.baseline.answer}: {rounded(found.baseline.metrics[found.headline])}"
    return f"always {answer}: {rounded(found.baseline.metrics[found.headline])}"


def rounded(value: float) -> str:
    """A finite number to four significant digits, at least its whole part: `0.9890`, `-1.500`, `45,123`, `1.235e+20`."""
    scientific = f"{value:.3e}"
    exponent = int(scientific.partition("e")[2])
    return f"{value:,.{max(0, 3 - exponent)}f}" if -4 <= exponent < 15 else scientific


def print_summary(console: Console, recipe: Path, run: Run, outcomes: Mapping[Stage, Outcome]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("stage", "rows", "time", "output"):
        is_number = name in ("rows", "time")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name != "output", overflow="fold")
    for stage, outcome in outcomes.items():
        seconds = f"{outcome.manifest.seconds:.1f} s" if outcome.reused_from is None else "reused"
        table.add_row(stage, num_rows(stage, outcomes), seconds, escape(short(outcome.found.folder)))
    evaluated = Evaluated.model_validate(outcomes["evaluate"].manifest.facts)
    registered = Registered.model_validate(outcomes["register"].manifest.facts)
    report = outcomes["evaluate"].found.local_files / evaluated.report
    console.line("")
    console.rich.print(table, soft_wrap=True)
    console.line("")
    console.line(f"{evaluated.headline:<9} {measured(evaluated)}, on {evaluated.rows:,} test rows; {baseline(evaluated)}")
    console.line(f"model     {registered.model} version {registered.version}, alias {registered.alias}, in {run.registry}")
    console.line(f"report    {short(report)}")
    if (page := Trained.model_validate(outcomes["train"].manifest.facts).report) is not None:
        console.line(f"training  {short(outcomes['train'].found.local_files / page)}")
    console.line(f"next      {typed()} run {short(recipe)} --set train.seed=2    try a change; what it does not touch is found again")
    console.line(f"          {typed('mlflow')} ui --backend-store-uri {run.registry}    look at the registry on http://127.0.0.1:5000")


def typed(name: str = "pipeline") -> str:
    """How a person types a command of this environment: by name if their shell finds it, else by path."""
    command = Path(sys.executable).parent / name
    return name if shutil.which(name) == str(command) else short(command)


def num_rows(stage: Stage, outcomes: Mapping[Stage, Outcome]) -> str:
    """Rows that a stage worked on: raw rows, train rows with copies, test rows; registering has none."""
    prepared = Prepared.model_validate(outcomes["prepare"].manifest.facts)
    rows = {"prepare": prepared.accounting.rows_in, "train": prepared.splits["train"].rows, "evaluate": prepared.splits["test"].rows}
    return f"{rows[stage]:,}" if stage in rows else ""


def age(outcome: Outcome) -> str:
    started = datetime.fromisoformat(outcome.manifest.started_at)
    minutes = int((datetime.now(UTC) - started).total_seconds() / 60)
    return f"{minutes} min ago" if minutes < 120 else f"{outcome.manifest.started_at}"


def short(path: Place) -> str:
    """Relative to where the person is, if that is shorter."""
    if isinstance(path, Remote):
        return str(path)
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
