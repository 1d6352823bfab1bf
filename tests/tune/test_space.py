"""What a recipe may search, how a point becomes a recipe, and what is refused before anything starts."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from pipeline import config, recipe_file
from pipeline.errors import ConfigError
from pipeline.sections.tuning import Parameter
from pipeline.tune.space import decode, describe, distribution, encode, trial_document
from tests.tune.conftest import IRIS, SPACE, make_tune


def parameter(**values) -> Parameter:
    return Parameter.model_validate_json(json.dumps(values))


def load_with(tmp_path, **tune):
    path = tmp_path / "iris.yaml"
    path.write_text(IRIS.read_text() + yaml.safe_dump({"tune": tune}, sort_keys=False))
    return config.load(path)


def test_whole_ends_give_whole_numbers_and_fractions_fractions():
    assert distribution(parameter(low=1, high=4)) == IntDistribution(1, 4)
    assert distribution(parameter(low=0.0, high=4)) == FloatDistribution(0.0, 4.0)
    assert parameter(low=0.1, high=0.5, step=0.1).points() == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.floats(0, 1)), min_size=2, max_size=6))
def test_choices_come_back_as_what_they_were(choices):
    if len({json.dumps(choice) for choice in choices}) < len(choices):
        return
    tune = make_tune(parameters={"model.x": {"choices": choices}})
    for choice in choices:
        stored = encode({"model.x": choice}, tune)["model.x"]
        back = decode({"model.x": stored}, tune)["model.x"]
        assert (type(back), back) == (type(choice), choice)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 1}, "expected low and high, or choices"),
        ({"low": 2, "high": 1}, "low below high"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low above 0"),
        ({"choices": [1, 1]}, "all different"),
        ({"choices": [1, 2], "log": True}, "do not go with choices"),
        ({"low": 0.0, "high": 1.0, "step": 2.0}, "expected a step"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        parameter(**values)


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"parameters": {"train.optimizer.lerning_rate": {"low": 0.1, "high": 0.2}}}, "Did you mean 'learning_rate'"),
        ({"parameters": {"model.width": {"choices": [8, "wide"]}}}, "model.width: expected int, received 'wide'"),
        ({"parameters": {"train.optimizer.learning_rate": {"low": -0.1, "high": 0.2}}}, "expected greater than 0"),
        ({"parameters": {"clean.max_dropped": {"low": 0.1, "high": 0.2}}}, "expected a key below model or train"),
        ({"parameters": SPACE, "metric": "loss"}, "expected a metric that begins with val_"),
        ({"parameters": SPACE, "metric": "test_accuracy"}, "expected a metric that begins with val_"),
        ({"parameters": SPACE, "metric": "val_acuracy"}, "Did you mean 'val_accuracy'"),
        ({"parameters": SPACE, "sampler": "grid"}, "sampler: grid needs choices, or a step"),
        ({"parameters": {"train.loss": {"choices": ["focal", "cross_entropy"]}}}, "val_loss means another thing in each trial"),
        ({"parameters": SPACE, "storage": "postgresql://me:secret@host/db"}, "tune.storage"),
    ],
)
def test_a_search_that_cannot_work_is_refused_with_its_line(tmp_path, tune, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_with(tmp_path, **tune)
    assert "iris.yaml:" in str(caught.value)


def test_a_search_changes_neither_the_recipes_identity_nor_its_trials(tmp_path):
    recipe = load_with(tmp_path, parameters=SPACE)
    assert recipe.digest == config.load(IRIS).digest


def test_a_trial_is_the_recipe_with_its_values_and_without_the_search(tmp_path):
    load_with(tmp_path, parameters=SPACE)
    document = recipe_file.read(tmp_path / "iris.yaml")
    point = {"train.optimizer.learning_rate": 0.05, "model.width": 4}
    recipe = config.check(trial_document(document, point, 3), tmp_path)
    assert (recipe.train.optimizer.learning_rate, recipe.model.arguments["width"], recipe.tune) == (0.05, 4, None)
    assert recipe.train.optimizer.weight_decay == 0.05 and "tune" in document.values
    assert describe(point) == "train.optimizer.learning_rate=0.05  model.width=4"
