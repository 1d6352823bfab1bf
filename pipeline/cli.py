"""The `pipeline` command: a thin shell over the job modules. Nothing heavy is imported before a stage has to work."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pipeline import config, paths, storage
from pipeline.console import Console
from pipeline.errors import ConfigError, InfrastructureError, Interrupted, LonghaulError
from pipeline.paths import STAGES, Run, Stage
from pipeline.progress import process_age_s
from pipeline.register import job as register_job
from pipeline.stage import Outcome, Request
from pipeline.summary import describe_outcome, print_stage, print_summary

RecipePath = Annotated[Path, typer.Argument(help="A recipe, e.g. conf/digits.yaml.", metavar="RECIPE", show_default=False)]
Root = Annotated[Path, typer.Option("--root", envvar="LONGHAUL_ROOT", help="Where runs and the model registry are kept.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        envvar="LONGHAUL_DATA",
        help="Where prepared data is published and read, if not under --root: s3://bucket/folder.",
        metavar="URL",
    ),
]
Date = Annotated[
    str | None,
    typer.Option("--date", help="Logical date of a scheduled run, ISO 8601 with a zone, e.g. 2026-01-03T00:00:00+00:00."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value: --set train.epochs=3. May be repeated.", metavar="KEY=VALUE"),
]
Force = Annotated[bool, typer.Option("--force", help="Do the work again, even where a finished result is found.")]
ResumeFrom = Annotated[
    str | None,
    typer.Option("--resume-from", help="train: go on from the checkpoints of another run of this recipe.", metavar="RUN"),
]
AllowChanged = Annotated[
    bool,
    typer.Option("--allow-changed", help="train: go on from checkpoints that another configuration, code or data has made."),
]
Start = Annotated[
    str | None,
    typer.Option("--from", help=f"Do this stage and all after it again: {', '.join(STAGES)}.", metavar="STAGE"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the recipe and say what would be done; do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line on stdout; everything for people on stderr.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Raw data to a registered model: prepare, train, evaluate, register.",
    epilog="Exit codes: 0 done, 2 recipe or flag wrong, 3 data wrong, 4 machine or service failed (try again), 5 gate said no, "
    "143 interrupted.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at recipes: their schema, their resolved values, what is wrong with them.")
app.add_typer(config_app, name="config")
schema_app = typer.Typer(no_args_is_help=True, help="Look at raw data: which columns it has, and what they seem to hold.")
app.add_typer(schema_app, name="schema")

model_app = typer.Typer(no_args_is_help=True, help="Look at a recipe's model before it is trained.")
app.add_typer(model_app, name="model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command; exits with the code of what happened."""
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        app(args=None if arguments is None else list(arguments), standalone_mode=True)
    except (LonghaulError, Interrupted) as error:
        fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        told = f"The disk is full: {error}. Nothing was published. Free some space (`df -h`), then run the same command again."
        fail(InfrastructureError(told))
    except KeyboardInterrupt:
        fail(Interrupted("Stopped by Ctrl-C. Finished stages are kept; the same command goes on from there."))


def interrupt(number: int, _frame: object) -> None:
    name = signal.Signals(number).name
    raise Interrupted(f"Stopped by {name}. Finished stages and checkpoints are kept; the same command goes on from there.")


def fail(error: LonghaulError | Interrupted) -> None:
    names = {2: "recipe error", 3: "data error", 4: "infrastructure error", 5: "gate rejected", 143: "interrupted"}
    Console(2).line(f"{names[error.exit_code]}: {error}", style="bold red")
    sys.exit(error.exit_code)


@app.command(
    epilog="Examples:\n\n- `pipeline run conf/digits.yaml`\n\n- `pipeline run conf/digits.yaml --set train.epochs=3`\n\n"
    "- `pipeline run conf/digits.yaml --from train` (again from training on)\n\n- `pipeline run conf/digits.yaml --dry-run`"
)
def run(
    recipe: RecipePath,
    root: Root = Path("runs"),
    data: Data = None,
    date: Date = None,
    overrides: Overrides = None,
    force: Force = False,
    start: Start = None,
    dry_run: DryRun = False,
    allow_changed: AllowChanged = False,
) -> None:
    """Run all four stages; what is finished and intact is found again."""
    if start is not None and start not in STAGES:
        raise ConfigError(f"--from {start}: expected one of {', '.join(STAGES)}.")
    console = Console()
    checked, this_run = open_run(recipe, root, date, overrides, data)
    console.line(f"{checked.name}  run {this_run.run_id}  in {this_run.folder}", style="bold")
    again = STAGES if force else STAGES[STAGES.index(start) :] if start else ()
    if dry_run:
        for stage in STAGES:
            console.line(f"{stage:<9} {describe_outcome(this_run, stage, again=stage in again)}")
        return
    outcomes: dict[Stage, Outcome] = {}
    for stage in STAGES:
        outcomes[stage] = job(stage)(
            Request(checked, this_run, console, force=stage in again, allow_changed=allow_changed, registered=register_job.trained_folder)
        )
        print_stage(console, stage, outcomes[stage])
    print_summary(console, recipe, this_run, outcomes)


def job(stage: Stage) -> Callable[[Request], Outcome]:
    """What does a stage's work; loaded when it has to, since most commands need one."""
    run: Callable[[Request], Outcome] = importlib.import_module(f"pipeline.{stage}.job").run
    return run


def one_stage(
    stage: Stage,
    recipe: Path,
    root: Path,
    data: str | None,
    date: str | None,
    overrides: list[str] | None,
    force: bool,
    as_json: bool,
    **more: Any,
) -> None:
    """`more`: what a stage's Request may have besides."""
    console = Console(2 if as_json else 1)
    checked, this_run = open_run(recipe, root, date, overrides, data)
    began = time.monotonic() - process_age_s()
    request = Request(checked, this_run, console, force, registered=register_job.trained_folder, began=began, **more)
    outcome = job(stage)(request)
    print_stage(console, stage, outcome)
    if as_json:
        print(json.dumps(as_record(stage, this_run, outcome)), flush=True)


def as_record(stage: Stage, this_run: Run, outcome: Outcome) -> dict[str, Any]:
    manifest = outcome.manifest
    return {
        "stage": stage,
        "run_id": this_run.run_id,
        "folder": str(outcome.found.folder),
        "digest": manifest.digest,
        "content_digest": manifest.content_digest,
        "reused_from": outcome.reused_from,
    }


STAGE_HELP: dict[Stage, str] = {
    "prepare": "Raw data to prepared Parquet, on Spark (local, or the cluster that spark-submit names).",
    "train": "Prepared data to a model, on `train.ranks` Horovod ranks; goes on from the last checkpoint.",
    "evaluate": "The whole test split through the model: metrics with intervals, predictions, report.",
    "register": "The model to the registry, if it passes the recipe's gate (exit 5 if not).",
}


def add_stage_command(stage: Stage) -> None:
    """One command a stage; they differ in what they run."""

    @app.command(stage, help=STAGE_HELP[stage], epilog=f"Example: `pipeline {stage} conf/iris.yaml --root runs`")
    def command(
        recipe: RecipePath,
        root: Root = Path("runs"),
        data: Data = None,
        date: Date = None,
        overrides: Overrides = None,
        force: Force = False,
        as_json: AsJson = False,
    ) -> None:
        one_stage(stage, recipe, root, data, date, overrides, force, as_json)


def add_train_command() -> None:
    @app.command("train", help=STAGE_HELP["train"], epilog="Example: `pipeline train conf/iris.yaml --root runs`")
    def command(
        recipe: RecipePath,
        root: Root = Path("runs"),
        data: Data = None,
        date: Date = None,
        overrides: Overrides = None,
        force: Force = False,
        resume_from: ResumeFrom = None,
        allow_changed: AllowChanged = False,
        as_json: AsJson = False,
    ) -> None:
        changes = {"resume_from": resume_from, "allow_changed": allow_changed}
        one_stage("train", recipe, root, data, date, overrides, force, as_json, **changes)


for _stage in STAGES:
    add_train_command() if _stage == "train" else add_stage_command(_stage)


@app.command(epilog="Example: `pipeline doctor`")
def doctor(root: Root = Path("runs")) -> None:
    """What this machine has and what is wrong, a line each, with the command that mends it."""
    from pipeline.doctor import diagnose

    console, findings = Console(), diagnose(root)
    for finding in findings:
        mark, style = {True: ("ok  ", ""), False: ("FAIL", "bold red"), None: ("note", "yellow")}[finding.ok]
        console.line(f"{mark} {finding.name:<22} {finding.detail}", style=style)
        if finding.remedy:
            console.line(f"     {'':<22} -> {finding.remedy}", style=style)
    if broken := [finding.name for finding in findings if finding.ok is False]:
        raise InfrastructureError(f"{', '.join(broken)}: see above for the commands that mend it.")


@app.command(epilog="Examples:\n\n- `pipeline statistics runs/iris/*`\n\n- `pipeline statistics runs/iris/202601* --json`")
def statistics(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or prepare folders in them.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Column statistics of several runs' train rows together: what one run over all of them would give. No row is read."""
    from pipeline.prepare import combine

    console, combined = Console(2 if as_json else 1), combine.combine(folders)
    combine.print_table(console.rich, combined)
    if as_json:
        print(json.dumps(combine.as_record(combined)), flush=True)


@app.command(
    epilog="Examples:\n\n- `pipeline plan conf/digits.yaml --ranks 8`\n\n- `pipeline plan conf/digits.yaml --ranks 4 --epoch 3 --json`"
)
def plan(
    recipe: RecipePath,
    root: Root = Path("runs"),
    data: Data = None,
    date: Date = None,
    overrides: Overrides = None,
    ranks: Annotated[int | None, typer.Option(help="How many; the recipe's if not said.", min=1)] = None,
    epoch: Annotated[int, typer.Option(help="From 0; each has another order.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Who reads what: lanes, files and rows of every rank, and how well the order is shuffled. Needs prepared data; reads no row."""
    from pipeline.feed import job as feed_job

    console = Console(2 if as_json else 1)
    checked, this_run = open_run(recipe, root, date, overrides, data)
    found = feed_job.plan(Request(checked, this_run, console), ranks=ranks, epoch=epoch)
    first, *others = feed_job.lines(found)
    console.line(first)
    console.rich.print(feed_job.table(found))
    for line in others:
        console.line(line)
    if as_json:
        print(json.dumps(found), flush=True)


@app.command(
    epilog="Examples:\n\n- `pipeline tune conf/iris.yaml`, with a section `tune` in the recipe\n\n"
    "- `pipeline tune conf/iris.yaml --workers 2`\n\n"
    "- `pipeline tune conf/iris.yaml --set tune.trials=40` (goes on with the search, for more trials)\n\n"
    "- `pipeline tune conf/iris.yaml --json | jq .best.parameters`"
)
def tune(
    recipe: RecipePath,
    root: Root = Path("runs"),
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(help="Trials at a time on this machine, each with all of its ranks.", min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Search the recipe's `tune` space on validation rows; write a report and the best recipe. The same command goes on after a stop."""
    from pipeline.tune import job as tune_job

    console = Console(2 if as_json else 1)
    found = tune_job.run(tune_job.Asked(recipe, root, tuple(overrides or ()), workers, register_job.trained_folder), console)
    if as_json:
        print(json.dumps(found), flush=True)


@app.command(epilog="Example: `pipeline models`")
def models() -> None:
    """Every model of models/: what data it takes, and what a recipe may set."""
    from pipeline.train import look

    look.print_models(Console().rich)


@model_app.command(
    "show",
    epilog="Examples:\n\n- `pipeline model show conf/digits.yaml` (after prepare)\n\n"
    "- `pipeline model show conf/digits.yaml --fact num_outputs=10` (before)",
)
def model_show(
    recipe: RecipePath,
    root: Root = Path("runs"),
    data: Data = None,
    date: Date = None,
    overrides: Overrides = None,
    fact: Annotated[
        list[str] | None,
        typer.Option("--fact", help="What is not known before prepare: num_outputs=10. May be repeated.", metavar="NAME=VALUE"),
    ] = None,
) -> None:
    """Layers, parameters, arithmetic and memory of a recipe's model; nothing is trained."""
    from pipeline.train import look

    checked, this_run = open_run(recipe, root, date, overrides, data)
    look.show_model(Request(checked, this_run, Console()), fact or ())


@app.command(epilog="Example: `pipeline verify conf/iris.yaml --ranks 2`, after `pipeline prepare conf/iris.yaml`")
def verify(
    recipe: RecipePath,
    root: Root = Path("runs"),
    data: Data = None,
    date: Date = None,
    overrides: Overrides = None,
    ranks: Annotated[int, typer.Option(help="Compared with one rank.", min=2)] = 2,
    epochs: Annotated[int, typer.Option(help="Of each of the two trainings.", min=1)] = 1,
) -> None:
    """Does training on several ranks give what one gives? Trains both ways on the prepared data and prints every difference."""
    from pipeline.train import look

    checked, this_run = open_run(recipe, root, date, overrides, data)
    look.compare_ranks(Request(checked, this_run, Console()), ranks, epochs)


@config_app.command("schema", epilog="Example: `pipeline config schema > recipe.schema.json`")
def config_schema() -> None:
    """The JSON Schema of a recipe, for editors."""
    print(json.dumps(config.Recipe.model_json_schema(by_alias=True), indent=2))


@config_app.command("show", epilog="Example: `pipeline config show conf/digits.yaml --set train.epochs=3`")
def config_show(recipe: RecipePath, overrides: Overrides = None) -> None:
    """The recipe as it will run, with every default."""
    print(yaml.safe_dump(config.load(recipe, overrides or ()).resolved(), sort_keys=False), end="")


@config_app.command("validate", epilog="Example: `pipeline config validate conf/*.yaml`")
def config_validate(recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", show_default=False)]) -> None:
    """Check recipes; every mistake of every file is listed."""
    console, mistakes = Console(), []
    for recipe in recipes:
        try:
            console.line(f"ok   {recipe}  {config.load(recipe).digest[:8]}")
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


@schema_app.command(
    "infer",
    epilog="Examples:\n\n- `pipeline schema infer data/churn.csv --label churned > conf/churn.yaml`, then add name, model and register\n\n"
    "- `pipeline schema infer 'data/2026-*.txt' --format csv --separator ';' --rows 100000`",
)
def schema_infer(
    source: Annotated[str, typer.Argument(help="A local file, a folder, or a glob in quotes.", metavar="SOURCE", show_default=False)],
    format: Annotated[str | None, typer.Option(help="csv, jsonl, parquet or orc; as the files' names end if not said.")] = None,
    separator: Annotated[str | None, typer.Option(help="Of CSV, one character or `tab`; found in the file if not said.")] = None,
    label: Annotated[str | None, typer.Option(help="The column to learn.", metavar="NAME")] = None,
    rows: Annotated[int, typer.Option(help="How many rows to look at, from the first.", min=1)] = 10_000,
) -> None:
    """The source and columns sections of a recipe, as the first rows of raw data suggest them, each line with its reason."""
    from pipeline.prepare import infer

    print(infer.infer(source, format=format, separator=separator, label=label, limit=rows), end="")


def open_run(recipe: Path, root: Path, date: str | None, overrides: list[str] | None, data: str | None = None) -> tuple[config.Recipe, Run]:
    """The checked recipe and its run. A store that is named is asked for access first. Raises ConfigError, InfrastructureError."""
    checked = config.load(recipe, overrides or ())
    place = None if data is None else storage.remote(data)
    try:
        identifier = paths.run_id(checked.digest, None if date is None else datetime.fromisoformat(date))
    except ValueError as error:
        raise ConfigError(f"--date {date}: {error} Expected ISO 8601 with a zone, for example 2026-01-03T00:00:00+00:00.") from None
    if place is not None:
        storage.check_access(place)
    return checked, Run(Path(os.path.abspath(root)), checked.name, identifier, place)


if __name__ == "__main__":
    main()
