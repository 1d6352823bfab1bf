"""Whole trainings in half precision on two ranks, with a gradient that overflows on one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.schema import Trained
from tests.conftest import PROJECT, Command, FinishedRun, pipeline
from tests.train.test_ranks import link_prepared

pytestmark = pytest.mark.e2e

STEP, EPOCHS = 7, 4


def train(finished: FinishedRun, folder: Path, precision: str, step: int) -> tuple[Command, list[list[dict[str, Any]]]]:
    """`pipeline train` of a model whose gradient is infinite in one step of rank 1; each rank's steps."""
    (folder / "planted.py").write_text((PROJECT / "tests" / "train" / "planted.py").read_text())  # beside the recipe
    values = yaml.safe_load(finished.path.read_text())
    values["model"] = {"name": "planted:build", "step": step, "rank": 1}
    values["train"] |= {"epochs": EPOCHS, "precision": precision, "early_stopping": None, "steps_per_execution": 1}
    values["train"]["callbacks"] = {"custom": [{"name": "planted:Steps", "arguments": {"folder": str(folder)}}]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    run = link_prepared(finished, folder, other=path)
    command = pipeline("train", path, "--json", root=folder)
    told = [[json.loads(line) for line in (folder / f"steps-{rank}.jsonl").read_text().splitlines()] for rank in range(2)]
    assert command.code or (run.stage("train") / "manifest.json").exists()
    return command, told


@pytest.mark.slow
def test_float16_ranks_skip_the_step_that_overflowed_on_one_halve_the_scale_and_end_with_equal_weights(iris_run, tmp_path):
    command, (first, second) = train(iris_run, tmp_path, "float16", STEP)
    assert command.code == 0, command.err
    assert first == second  # scale, updates and weights, after every step
    before, planted, after = first[STEP - 1 : STEP + 2]
    assert (planted["updates"], planted["weights"]) == (before["updates"], before["weights"])
    assert planted["scale"] == before["scale"] / 2
    assert after["updates"] == planted["updates"] + 1 and after["weights"] != planted["weights"]
    facts = Trained.model_validate(json.loads(Path(json.loads(command.out)["folder"], "manifest.json").read_text())["facts"])
    assert len(first) == EPOCHS * facts.steps_per_epoch
    losses = [epoch.metrics["val_loss"] for epoch in facts.history]
    assert losses[-1] < losses[0]


def test_bfloat16_ranks_have_equal_weights_and_an_overflow_on_one_stops_both(iris_run, tmp_path):
    command, (first, second) = train(iris_run, tmp_path, "bfloat16", STEP)  # nothing scales the loss, so no step can be skipped
    assert command.code == 3 and "Lower train.optimizer.learning_rate" in command.err
    assert first == second and len({line["weights"] for line in first[:STEP]}) == STEP
    assert STEP < len(first) < EPOCHS * 5  # by the end of that epoch, of 5 steps each, though the loss itself may be a number
