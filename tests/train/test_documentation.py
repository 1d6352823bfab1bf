"""docs/training.md and docs/models.md against the code."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from pipeline import model_arguments
from pipeline.sections.objective import LOSSES, TRAIN_METRICS, Callbacks, LearningRate, Optimizer
from pipeline.sections.training import Train
from tests.conftest import PROJECT

TRAINING = (PROJECT / "docs" / "training.md").read_text()
MODELS = (PROJECT / "docs" / "models.md").read_text()


def test_the_example_is_a_valid_section():
    (block,) = re.findall(r"```yaml\n(.*?)```", TRAINING, re.DOTALL)
    Train.model_validate_json(json.dumps(yaml.safe_load(block)["train"]))


@pytest.mark.parametrize("name", model_arguments.available())
def test_every_model_is_listed(name):
    assert f"| `{name}`" in MODELS or f", `{name}` |" in MODELS


@pytest.mark.parametrize("task", LOSSES)
def test_every_loss_and_metric_is_named(task):
    for name in (*LOSSES[task], *TRAIN_METRICS[task]):
        assert re.search(rf"\b{name}\b", TRAINING), name


@pytest.mark.parametrize("section", [Optimizer, LearningRate, Callbacks], ids=lambda section: section.__name__)
def test_every_choice_of_a_name_and_every_callback_is_named(section):
    choices = [str(value) for value in section.model_fields["name"].annotation.__args__] if "name" in section.model_fields else []
    for name in choices or section.model_fields:
        assert re.search(rf"\b{name}\b", TRAINING), name
