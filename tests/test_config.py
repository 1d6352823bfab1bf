"""Recipes are refused before anything starts, with file, line, received and expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.errors import ConfigError

CONF = Path(__file__).parent.parent / "conf"
RECIPES = sorted(CONF.glob("*.yaml"))
GOOD = """\
name: tiny
source: {format: csv, path: "bundled:iris"}
columns:
  petal_length: {kind: number}
  species: {kind: category, role: label}
model: {name: mlp}
register: {name: tiny}
"""


def refusal(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(str(tmp_path) + "/", "")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_valid(path):
    assert config.load(path, source_exists=False).name == path.stem


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_resolved_recipe_read_again_is_the_same_recipe(path):
    recipe = config.load(path, source_exists=False)
    assert config.Recipe.model_validate_json(json.dumps(recipe.resolved())) == recipe


@pytest.mark.parametrize(
    ("line", "place", "says"),
    [
        ("trian: {epochs: 3}", 8, "unknown key 'trian' in the recipe. Expected one of: name, description, task, source"),
        ("train: {epochs: 3, epoch: 4}", 8, "unknown key 'epoch' in train. Expected one of: epochs, global_batch"),
        ("train: {epochs: many}", 8, 'train.epochs: expected a valid integer, received "many" (text)'),
        ("train: {epochs: 0}", 8, "train.epochs: expected greater than 0, received 0 (whole number)"),
        ("train: {epochs: true}", 8, "train.epochs: expected a valid integer, received true (true/false)"),
        (
            "train:\n  optimizer:\n    learning_rate: '0.1'",
            10,
            'train.optimizer.learning_rate: expected a valid number, received "0.1" (text)',
        ),
        ("train: {global_batch: 100, lanes: 16}", 8, "global_batch=100 does not divide over 16 lanes; use a multiple of 16"),
        ("train: {ranks: 9}", 8, "ranks=9 is more than lanes=8"),
        ("split: {train: 0.9}", 8, "they add up to 1.1"),
        ("clean: {rules: [drop_duplicate]}", 8, "unknown key 'drop_duplicate'"),
        (
            "clean: {rules: [{drop_nulls: [petal_lenght]}]}",
            8,
            "column 'petal_lenght' is not one of ['petal_length', 'species']. Did you mean 'petal_length'?",
        ),
        ("normalize: {species: standard}", 8, "column 'species' is not one of ['petal_length']"),
        ("augment: {copies: 2}", 8, "copies: N and operations: [...] go together"),
        ("name: other", 8, "duplicate key 'name'; it was first set at recipe.yaml:1"),
        ("description: 2026-01-03", 8, "a value of YAML type timestamp is not accepted"),
        ("description: !!python/object/apply:os.system [id]", 8, "YAML type python/object/apply:os.system is not accepted"),
        ("description: [", 9, "not valid YAML"),
        ("schedule: {cron: every day}", 8, "schedule.cron"),
    ],
    ids=lambda value: str(value)[:30].replace("\n", " "),
)
def test_a_mistake_is_named_with_its_line(tmp_path, line, place, says):
    message = refusal(tmp_path, GOOD + line + "\n")
    assert message.startswith(f"recipe.yaml:{place}: ")
    assert says in message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("bundled:iris", "no/such.csv", "recipe.yaml:2: no such file or folder: no/such.csv"),
        ("bundled:iris", "bundled:irises", "recipe.yaml:2: bundled:irises is not known"),
        ("bundled:iris", "s3://bucket/rows.csv", "recipe.yaml:2: scheme s3:// is not read; expected a local path or a URL of s3a://"),
        ("name: mlp", "name: mpl", "recipe.yaml:6: there is no models/mpl.py. Expected one of: "),
        (
            "name: mlp",
            "name: mlp, widht: 3",
            "recipe.yaml:6: model mlp has no argument 'widht'. Expected: width, depth, dropout, activation. Did you mean 'width'?",
        ),
        ("name: mlp", "name: mlp, width: wide", "recipe.yaml:6: model.width: expected int, received 'wide'"),
        ("name: mlp", "name: cnn", "recipe.yaml:6: model cnn needs image_shape, pixel_mean, pixel_std"),
        ("role: label", "role: feature", "recipe.yaml:3: expected 1 column with role: label, received 0"),
        ("kind: number", "kind: image", "recipe.yaml:4: columns.petal_length: shape: [height, width, channels] goes with kind: image"),
        ("name: tiny\n", "", "name is missing"),
        ("name: tiny\n", "name: ../../etc\n", "recipe.yaml:1: name: expected"),
    ],
    ids=lambda value: str(value)[:30].strip(),
)
def test_what_does_not_fit_together_is_named_with_its_line(tmp_path, old, new, says):
    assert says in refusal(tmp_path, GOOD.replace(old, new, 1))


def test_all_mistakes_are_told_at_once(tmp_path):
    message = refusal(tmp_path, GOOD + "train: {epochs: 0, lanes: x}\nsplit: {trian: 1}\n")
    assert len(message.splitlines()) == 3


def test_a_missing_recipe_says_where_recipes_are(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read \(No such file or directory\).*conf/"):
        config.load(tmp_path / "nowhere.yaml")


def test_an_override_is_checked_like_the_file_and_named_as_typed(tmp_path):
    (tmp_path / "recipe.yaml").write_text(GOOD)
    assert config.load(tmp_path / "recipe.yaml", ["train.epochs=3"]).train.epochs == 3
    for override, says in [
        ("train.epochs=0", "--set train.epochs=0: train.epochs: expected greater than 0"),
        ("train.epoch=3", "--set train.epoch=3: unknown key 'epoch' in train"),
        ("train.epochs", "expected key.sub=value"),
        ("name.sub=3", "'name' is not a section"),
    ]:
        with pytest.raises(ConfigError) as caught:
            config.load(tmp_path / "recipe.yaml", [override])
        assert says in str(caught.value)


def test_a_run_by_hand_and_a_scheduled_one_have_different_ids_and_the_zone_does_not_matter():
    from datetime import UTC, datetime, timedelta, timezone

    from pipeline.paths import run_id

    when = datetime(2026, 1, 3, tzinfo=UTC)
    assert run_id("1a2b3c4d5e", None) == "manual-1a2b3c4d"
    assert run_id("1a2b3c4d5e", when) == "20260103T000000Z-1a2b3c4d"
    assert run_id("1a2b3c4d5e", when.astimezone(timezone(timedelta(hours=9)))) == "20260103T000000Z-1a2b3c4d"
    with pytest.raises(ValueError, match="has no time zone"):
        run_id("1a2b3c4d5e", datetime(2026, 1, 3))
