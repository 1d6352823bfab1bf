"""Raw data to a registered model with one command, as a person types it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from pipeline.attempt import read_published
from pipeline.schema import Evaluated, Registered, Trained, prepared
from tests.conftest import FinishedRun, pipeline

pytestmark = pytest.mark.e2e

NOISE = ("WARN", "INFO ", "I0000", "W0000", "oneDNN", "cpu_feature_guard", "FutureWarning", "incubator", "Traceback")


@pytest.fixture
def copy_of(tmp_path: Path):
    """A finished run in a folder of its own, to be changed."""

    def copy(finished: FinishedRun) -> FinishedRun:
        root = tmp_path / "runs"
        shutil.copytree(finished.root, root, symlinks=True)
        return FinishedRun(root, finished.recipe, finished.path, finished.command)

    return copy


def facts(finished: FinishedRun, stage: str) -> dict:
    manifest = read_published(finished.run.stage(stage))
    assert manifest is not None
    return manifest.facts


def test_digits_end_in_a_registered_model_of_at_least_97_percent(digits_run):
    trained = Trained.model_validate(facts(digits_run, "train"))
    evaluated = Evaluated.model_validate(facts(digits_run, "evaluate"))
    assert trained.ranks == 2
    assert evaluated.metrics["accuracy"].value >= 0.97
    assert Registered.model_validate(facts(digits_run, "register")).version == 1


def test_every_raw_digit_is_accounted_for_and_every_test_digit_is_evaluated(digits_run):
    manifest = read_published(digits_run.run.stage("prepare"))
    found = prepared(manifest)
    assert found.accounting.rows_in == 1797 == found.accounting.rows_out + sum(found.accounting.dropped.values())
    assert found.splits["train"].rows == 4 * found.splits["train"].sources
    assert facts(digits_run, "evaluate")["rows"] == found.splits["test"].rows == found.splits["test"].sources
    assert sum(split.sources for split in found.splits.values()) == found.accounting.rows_out


def test_iris_reaches_90_percent_through_the_same_code(iris_run):
    assert Evaluated.model_validate(facts(iris_run, "evaluate")).metrics["accuracy"].value >= 0.9
    assert prepared(read_published(iris_run.run.stage("prepare"))).accounting.rows_in == 150


def test_the_run_ends_with_what_a_person_wants_to_know_and_no_library_noise(digits_run):
    said = digits_run.command.out + digits_run.command.err
    for wanted in ("1,797", "95% interval", "version 1", "alias champion", "report.html", "next ", "best epoch"):
        assert wanted in said
    assert not [word for word in NOISE if word in said]
    assert len(said.splitlines()) < 60
    report = next(line.split()[1] for line in said.splitlines() if line.startswith("report"))
    assert Path(report).is_file()


def test_a_second_run_reuses_every_stage_and_is_quick(digits_run):
    before = {stage: read_published(digits_run.run.stage(stage)) for stage in ("prepare", "train", "evaluate", "register")}
    started = time.monotonic()
    again = pipeline("run", digits_run.path, root=digits_run.root)
    assert again.code == 0 and time.monotonic() - started < 15
    for stage in before:
        assert f"{stage:<9} reused from run {digits_run.run.run_id}" in again.out
    assert before == {stage: read_published(digits_run.run.stage(stage)) for stage in before}


def test_a_changed_value_redoes_what_it_touches_and_reuses_the_rest(iris_run, copy_of):
    mine = copy_of(iris_run)
    changed = pipeline("run", mine.path, "--set", "train.epochs=3", "--set", "register.gate={}", root=mine.root)
    assert changed.code == 0, changed.err
    assert f"prepare   reused from run {mine.run.run_id}" in changed.out
    assert "3 epochs" in changed.out and "iris version 2" in changed.out
    assert len(list((mine.root / "iris").iterdir())) == 2


def test_from_a_stage_on_the_run_is_done_again(iris_run, copy_of):
    mine = copy_of(iris_run)
    before = {stage: read_published(mine.run.stage(stage)).attempt for stage in ("prepare", "train", "evaluate", "register")}
    again = pipeline("run", mine.path, "--from", "evaluate", root=mine.root)
    assert again.code == 0, again.err
    after = {stage: read_published(mine.run.stage(stage)).attempt for stage in before}
    assert [stage for stage in before if before[stage] != after[stage]] == ["evaluate", "register"]


@pytest.mark.slow
def test_forced_the_whole_run_is_done_again_with_the_same_content(iris_run, copy_of):
    mine = copy_of(iris_run)
    before = read_published(mine.run.stage("prepare"))
    again = pipeline("run", mine.path, "--force", root=mine.root)
    assert again.code == 0 and "reused from" not in again.out, again.err
    after = read_published(mine.run.stage("prepare"))
    assert before.attempt != after.attempt and before.content_digest == after.content_digest
    assert Trained.model_validate(facts(mine, "train")).weight_digest == Trained.model_validate(facts(iris_run, "train")).weight_digest


def test_a_dry_run_says_what_would_be_done_and_does_nothing(iris_run, tmp_path):
    said = pipeline("run", iris_run.path, "--dry-run", root=tmp_path / "new")
    assert said.code == 0 and said.out.count("would be done") == 4
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("stage", ["prepare", "train"])
def test_a_file_that_does_not_match_its_manifest_stops_the_run(iris_run, copy_of, stage):
    mine = copy_of(iris_run)
    manifest = read_published(mine.run.stage(stage))
    damaged = mine.run.stage(stage) / manifest.attempt / manifest.files[0].path
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    stopped = pipeline("run", mine.path, root=mine.root)
    assert stopped.code == 3 and damaged.name in stopped.err and "its manifest says" in stopped.err and "--force" in stopped.err


def test_each_stage_runs_alone_and_tells_programs_what_it_made(iris_run):
    for stage in ("prepare", "train", "evaluate", "register"):
        command = pipeline(stage, iris_run.path, "--json", root=iris_run.root)
        record = json.loads(command.out)
        assert command.code == 0 and record["stage"] == stage and record["reused_from"] == iris_run.run.run_id
        assert record["digest"] == read_published(iris_run.run.stage(stage)).digest


def test_a_model_that_its_gate_refuses_is_not_registered(iris_run, copy_of):
    mine = copy_of(iris_run)
    refused = pipeline("run", mine.path, "--set", "register.gate.accuracy.min=1.01", root=mine.root)
    assert refused.code == 5 and "gate rejected" in refused.err and "1.01" in refused.err
    assert "train     reused" in refused.out
    assert not (mine.root / "iris").joinpath(f"manual-{refused.out.split('manual-')[1][:8]}", "register", "manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "conf/nowhere.yaml"], 2, "cannot be read"),
        (["run", "conf/iris.yaml", "--set", "train.epoch=3"], 2, "Did you mean 'epochs'?"),
        (["run", "conf/iris.yaml", "--from", "trian"], 2, "expected one of prepare, train, evaluate, register"),
        (["run", "conf/iris.yaml", "--date", "2026-01-03"], 2, "has no time zone"),
        (["train", "conf/iris.yaml"], 3, "Run `pipeline prepare RECIPE`"),
        (["run"], 2, "Missing argument"),
        (["config", "validate", "conf/iris.yaml", "pyproject.toml"], 2, "pyproject.toml"),
    ],
    ids=["no recipe", "typo", "no such stage", "date without zone", "nothing prepared", "no argument", "not yaml"],
)
def test_a_mistake_ends_with_its_exit_code_and_what_to_do(tmp_path, arguments, code, says):
    command = pipeline(*arguments, root=tmp_path)
    assert command.code == code and says in command.err
    assert "Traceback" not in command.err and not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("command", ["run", "prepare", "train", "evaluate", "register", "doctor", "config validate"])
def test_help_has_an_example(tmp_path, command):
    said = pipeline(*command.split(), "--help", root=tmp_path)
    assert said.code == 0 and f"pipeline {command}" in said.out and "Example" in said.out


def test_the_schema_and_the_resolved_recipe_are_machine_readable(tmp_path):
    import yaml

    schema = json.loads(pipeline("config", "schema", root=tmp_path).out)
    assert "epochs" in schema["$defs"]["Train"]["properties"]
    shown = yaml.safe_load(pipeline("config", "show", "conf/iris.yaml", "--set", "train.epochs=3", root=tmp_path).out)
    assert shown["train"]["epochs"] == 3 and shown["train"]["lanes"] == 4
