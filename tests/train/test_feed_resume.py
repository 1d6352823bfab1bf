"""A training job killed at a random step: every row of an epoch is used once, and the weights are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from pipeline.feed.dataset import ID_LOG
from pipeline.feed.plan import Plan
from pipeline.manifest import Manifest
from pipeline.paths import Run
from pipeline.schema import Trained, files_of
from tests.conftest import FinishedRun, pipeline
from tests.train.test_ranks import link_prepared, ranks_of, reached, start_training, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]  # several whole trainings

OVERRIDES = ("train.epochs=12", "train.early_stopping=null", "train.checkpoint_steps=1", "train.steps_per_execution=1")


def logged(folder: Path, size: int) -> dict[tuple[int, int], list[int]]:
    """(epoch, step) -> rows of the global batch, of the steps that all ranks of a world had."""
    ranks: list[dict[tuple[int, int], list[int]]] = []
    for rank in range(size):
        (path,) = folder.glob(f"rank-{rank}-*.jsonl")
        whole = [line for line in path.read_text().split("\n")[:-1] if line]  # what a kill cut short has no end
        ranks.append({(line["epoch"], line["step"]): line["ids"] for line in map(json.loads, whole)})
    return {step: [row for rank in ranks for row in rank[step]] for step in set.intersection(*map(set, ranks))}


def published(run: Run) -> Trained:
    return Trained.model_validate(Manifest.model_validate_json((run.stage("train") / "manifest.json").read_text()).facts)


def plan_of(run: Run, recipe) -> Plan:
    manifest = Manifest.model_validate_json((run.stage("prepare") / "manifest.json").read_text())
    settings = recipe.train
    return Plan(tuple(entry.rows or 0 for entry in files_of(manifest, "train")), settings.global_batch, settings.lanes, settings.seed)


def kill_at_a_random_step(finished: FinishedRun, root: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ID_LOG, str(log))
    process, checkpoints = start_training(finished, root, *OVERRIDES)
    wait_for(reached(checkpoints, random.SystemRandom().randint(3, 40)), process, timeout_s=400)
    for rank in ranks_of(process.pid):
        os.kill(rank, signal.SIGKILL)
    process.communicate(timeout=120)
    monkeypatch.delenv(ID_LOG)


def test_ids_before_and_after_a_kill_make_each_epoch_exactly_once_and_the_weights_are_the_same(iris_run, tmp_path, monkeypatch):
    kill_at_a_random_step(iris_run, tmp_path / "killed", tmp_path / "before", monkeypatch)
    sets = [argument for override in OVERRIDES for argument in ("--set", override)]
    again = pipeline("train", iris_run.path, *sets, root=tmp_path / "killed", **{ID_LOG: str(tmp_path / "after")})
    assert again.code == 0, again.err
    whole = link_prepared(iris_run, tmp_path / "whole", OVERRIDES)
    undisturbed = pipeline("train", iris_run.path, *sets, root=tmp_path / "whole")
    assert undisturbed.code == 0, undisturbed.err
    killed = link_prepared(iris_run, tmp_path / "killed", OVERRIDES)
    result = published(killed)
    assert result.weight_digest == published(whole).weight_digest
    before, after = logged(tmp_path / "before", 2), logged(tmp_path / "after", 2)
    assert_each_epoch_is_whole(before, after, position_of(result), plan_of(killed, iris_run.recipe), epochs=12)


@pytest.mark.parametrize("ranks", [1, 3])
def test_ids_make_each_epoch_exactly_once_also_where_another_number_of_ranks_goes_on(iris_run, tmp_path, monkeypatch, ranks):
    kill_at_a_random_step(iris_run, tmp_path / "runs", tmp_path / "before", monkeypatch)
    killed = link_prepared(iris_run, tmp_path / "runs", OVERRIDES)
    changed = (*OVERRIDES, f"train.ranks={ranks}")
    run = link_prepared(iris_run, tmp_path / "runs", changed)  # another recipe, so another run
    sets = [argument for override in changed for argument in ("--set", override)]
    command = ["train", iris_run.path, *sets, "--resume-from", killed.run_id]
    refused = pipeline(*command, root=tmp_path / "runs")
    assert refused.code == 3 and f"train.ranks: 2 -> {ranks}" in refused.err
    again = pipeline(*command, "--allow-changed", root=tmp_path / "runs", **{ID_LOG: str(tmp_path / "after")})
    assert again.code == 0, again.err
    result = published(run)
    assert result.ranks == ranks
    before, after = logged(tmp_path / "before", 2), logged(tmp_path / "after", ranks)
    assert_each_epoch_is_whole(before, after, position_of(result), plan_of(run, iris_run.recipe), epochs=12)


def position_of(result: Trained) -> tuple[int, int]:
    """(epoch, step) that a training went on from."""
    assert result.resumed_from is not None
    words = result.resumed_from.replace(",", "").split()  # "epoch 3, step 2": what the last checkpoint holds
    return int(words[1]) - 1, int(words[3])


def assert_each_epoch_is_whole(before, after, position, plan: Plan, epochs: int) -> None:
    """Steps up to the position as the first job took them, the rest as the second did: no row twice, and as many as the plan says."""
    assert min(after) == position
    steps = {step: rows for step, rows in before.items() if step < position} | after
    assert sorted(steps) == [(epoch, step) for epoch in range(epochs) for step in range(plan.num_steps)]
    for epoch in range(epochs):
        rows = [row for step in range(plan.num_steps) for row in steps[epoch, step]]
        assert len(rows) == len(set(rows)) == plan.num_steps * plan.global_batch
