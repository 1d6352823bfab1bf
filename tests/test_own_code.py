"""Builders and callbacks of the user's own: found beside the recipe, checked like ours, without being imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import config, user_code
from pipeline.errors import ConfigError
from tests.conftest import PROJECT

RECIPE = """\
name: tiny
source: {format: csv, path: "bundled:iris"}
columns:
  petal_length: {kind: number}
  species: {kind: category, role: label}
model: {name: "mine:net", width: 8}
train: {callbacks: {custom: [{name: "mine:Watch"}]}}
register: {name: tiny}
"""
CODE = """\
raise RuntimeError("imported")


def net(num_features: int, num_outputs: int, *, width: int = 4):
    return None
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def test_a_builder_beside_the_recipe_is_taken_without_importing_it(recipe):
    assert config.load(recipe).folder == recipe.parent


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model={name: 'mine:other'}", "mine.py has no function other(...)"),
        ("model={name: 'yours:net'}", "there is no module yours in the recipe's folder"),
        ("model={name: 'mine:net', widht: 8}", "model mine:net has no argument 'widht'. Expected: width. Did you mean 'width'?"),
        ("model={name: 'mine:net', width: wide}", "model.width: expected int, received 'wide'"),
        ("model={name: dcgan}", "model dcgan is not for task: classification. Expected one of: cnn"),
        ("train.callbacks={custom: [{name: 'yours:Watch'}]}", "there is no module yours; expected MODULE:CLASS in the recipe's folder"),
    ],
)
def test_what_is_wrong_with_own_code_is_told_before_anything_runs(recipe, override, says):
    with pytest.raises(ConfigError) as caught:
        config.load(recipe, [override])
    assert says in str(caught.value)


def test_a_module_is_found_in_the_folder_then_among_packages_and_nowhere_else(tmp_path):
    (tmp_path / "mine.py").write_text("")
    assert user_code.locate("mine", tmp_path) == tmp_path / "mine.py"
    found = user_code.locate("keras.layers", tmp_path)
    assert found is not None and found.name == "__init__.py" and "keras" in str(found)
    assert user_code.locate("mine", tmp_path / "elsewhere") is None
    with pytest.raises(ModuleNotFoundError, match="No module mine"):
        user_code.load("mine", tmp_path / "elsewhere")


def test_what_a_model_offers_several_of_must_be_in_the_data():
    with pytest.raises(ConfigError, match="model rnn needs one of vocabulary_size or sequence_shape or num_features"):
        config.load(PROJECT / "conf" / "digits.yaml", ["model={name: rnn}"])


def test_an_option_of_a_closed_choice_is_checked(recipe):
    with pytest.raises(ConfigError, match=r"model.cell: expected Literal\['lstm', 'gru'\], received 'elman'"):
        config.load(recipe, ["model={name: rnn, cell: elman}"])
