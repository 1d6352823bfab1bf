"""The best recipe is the recipe that was written, comments and all, with other values in their places."""

from __future__ import annotations

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config, recipe_file
from pipeline.recipe_file import with_values
from pipeline.tune.best_recipe import with_value, write_best
from tests.tune.conftest import IRIS

TEXT = """# head
a: 1            # one
train:          # two
  optimizer: {name: adamw, learning_rate: 0.002}   # three
  epochs: 3

model: {name: mlp}
items:
  - 1
  - {x: 2}
# tail
"""
KEYS = [
    "a",
    "train.optimizer.learning_rate",
    "train.optimizer.momentum",
    "train.epochs",
    "train.loss.name",
    "model.width",
    "items",
    "new.deep.key",
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
    st.lists(st.integers(0, 9), max_size=3), st.dictionaries(st.sampled_from(["k", "yes", "a b"]), st.text(max_size=3), max_size=2),
)  # fmt: skip


@given(st.sampled_from(KEYS), VALUES)
def test_an_edit_changes_that_value_alone_and_keeps_every_comment(key, value):
    edited = with_value(TEXT, key.split("."), value)
    wanted = copy.deepcopy(yaml.safe_load(TEXT))
    target = wanted
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value
    assert yaml.safe_load(edited) == wanted
    assert all(comment in edited for comment in ("# head", "# one", "# two", "# three", "# tail"))


def test_the_best_recipe_loads_as_what_was_trained(tmp_path):
    overrides = ["train.epochs=7", "train.early_stopping=null"]
    document = recipe_file.read(IRIS, overrides)
    point = {"train.optimizer.learning_rate": 1e-07, "model.depth": 2, "train.optimizer.clip_norm": 1.5}
    write_best(tmp_path / "best.yaml", IRIS, document, overrides, point, "# Found.\n")
    places = dict.fromkeys(point, "")
    assert config.load(tmp_path / "best.yaml").resolved() == config.check(with_values(document, point, places), IRIS.parent).resolved()
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith("# Found.\n") and "two layers of 32 overfit" in text


def test_a_recipe_that_an_edit_cannot_follow_is_written_resolved(tmp_path):
    source = tmp_path / "anchored.yaml"
    source.write_text(IRIS.read_text().replace("petal_length: {kind: number}", "petal_length: &n {kind: number}").replace(
        "petal_width: {kind: number}", "petal_width: *n"))  # fmt: skip
    document = recipe_file.read(source)
    point = {"columns.petal_width.expect.min": 0.0}
    write_best(tmp_path / "best.yaml", source, document, [], point, "")
    columns = config.load(tmp_path / "best.yaml").columns
    assert (columns["petal_width"].expect.min, columns["petal_length"].expect.min) == (0.0, None)


@pytest.mark.parametrize("value", ["yes", "null", "1.0", "2026-01-03", "#x", "a: b", "", "plain_word"])
def test_text_stays_text(value):
    assert yaml.safe_load(with_value("a: 1\n", ["a"], value)) == {"a": value}
