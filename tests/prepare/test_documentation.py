"""docs/prepare.md is right: its recipe and every example are valid, and nothing that a recipe can say is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from pipeline import config
from pipeline.sections.data import Audit, Drift, Encode, Expect, Scaling, Source, Split
from pipeline.sections.rules import CleanRule

PAGE = Path(__file__).parents[2] / "docs/prepare.md"


def section(title):
    return PAGE.read_text().partition(f"\n## {title}")[2].partition("\n## ")[0]


def first_cells(text):
    """What stands in backticks at the beginning of a table's rows."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def recipe():
    return re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


def checked(model, example):
    return model.model_validate_json(json.dumps(yaml.safe_load(example)))


def test_the_recipe_is_valid(tmp_path):
    (tmp_path / "census.yaml").write_text(recipe())
    assert config.load(tmp_path / "census.yaml").split.by == "stratified"


@pytest.mark.parametrize("example", first_cells(section("Clean")))
def test_each_rule_is_valid_for_the_recipe(tmp_path, example):
    document = yaml.safe_load(recipe())
    document["clean"] = {"rules": [yaml.safe_load(example)]}
    (tmp_path / "census.yaml").write_text(yaml.safe_dump(document))
    config.load(tmp_path / "census.yaml")


def test_every_rule_has_an_example():
    assert {checked(CleanRule, example).name for example in first_cells(section("Clean"))} == set(CleanRule.model_fields)


def test_every_split_has_an_example():
    found = [checked(Split, example) for example in first_cells(section("Split"))]
    assert {split.by for split in found} == set(get_args(Split.model_fields["by"].annotation))


def test_every_method_is_listed():
    assert set(first_cells(section("Normalize"))) == set(get_args(Scaling))
    assert set(first_cells(section("Encode"))) == set(get_args(Encode.model_fields["method"].annotation))


@pytest.mark.parametrize(
    ("title", "model"), [("Source", Source), ("Columns", Expect), ("Audit", Audit), ("Drift", Drift), ("Encode", Encode)]
)
def test_every_key_is_named_in_its_section(title, model):
    text = section(title)
    assert [name for name in model.model_fields if not re.search(rf"`[^`]*\b{name}\b[^`]*`", text)] == []
