"""What a recipe expects of its columns: rows that break it, columns that break it, and recipes that say what cannot be."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.prepare.columns import RAW, REASON
from pipeline.prepare.sketch import category_sketch
from pipeline.prepare.validate import check_columns, drop_invalid
from pipeline.sections.rules import CleanRule
from tests.prepare.conftest import many_rows, published, write_csv
from tests.prepare.frames import TABLE, dropped, frame, make_recipe


def expecting(**expectations):
    return {name: {**column, "expect": expectations[name]} if name in expectations else column for name, column in TABLE.items()}


# Rows


@pytest.mark.spark
def test_rows_that_break_an_expectation_are_invalid_and_missing_values_break_none(spark):
    recipe = make_recipe(
        expecting(
            x={"min": 0, "max": 10, "integer": True},
            job={"values": ["cook", "smith"]},
            town={"pattern": r"\p{Lu}[a-z&&[^q]]+"},
            label={"values": ["a", "b"]},
        )
    )
    changes = {
        "good": {}, "lowest": {"x": 0.0}, "highest": {"x": 10.0}, "below": {"x": -1.0}, "above": {"x": 11.0}, "part": {"x": 2.5},
        "other": {"job": "Cook"}, "small": {"town": "rome"}, "longer": {"town": "Rome!"}, "line": {"town": "Rome\n"}, "q": {"town": "Aq"},
        "label": {"label": "c"}, "missing": {"x": None, "job": None, "town": None}, "two": {"x": -1.5, "job": "Cook"},
    }  # fmt: skip
    table = [{"x": 5.0, "job": "cook", "town": "Rome", "id": name, **change} for name, change in changes.items()]
    table.append({"id": "unreadable", "x": -1.0, "_rule": "unreadable"})
    found = {row["id"]: row for row in drop_invalid(frame(spark, recipe, table), recipe).collect()}
    reasons = {
        "below": "x: -1.0 is below 0",
        "above": "x: 11.0 is above 10",
        "part": "x: 2.5 is not a whole number",
        "other": "job: Cook is not one of cook, smith",
        "small": r"town: rome does not match \p{Lu}[a-z&&[^q]]+",
        "longer": r"town: Rome! does not match \p{Lu}[a-z&&[^q]]+",
        "line": "town: Rome\n" + r" does not match \p{Lu}[a-z&&[^q]]+",
        "q": r"town: Aq does not match \p{Lu}[a-z&&[^q]]+",
        "label": "label: c is not one of a, b",
        "two": "x: -1.5 is below 0",
    }
    assert dropped(found) == {**dict.fromkeys(reasons, "invalid"), "unreadable": "unreadable"}
    assert {name: found[name][REASON] for name in reasons} == reasons
    assert json.loads(found["other"][RAW])["job"] == "Cook"


@pytest.mark.spark
def test_a_pattern_that_only_java_refuses_is_refused_before_any_row_is_read(spark):
    pattern = "(?P<a>x)"
    recipes = {
        "columns.job.expect.pattern": make_recipe(expecting(job={"pattern": pattern})),
        "clean.rules.0.pattern": make_recipe(clean={"rules": [{"keep_pattern": {"column": "job", "pattern": pattern}}]}),
    }
    for place, recipe in recipes.items():
        with pytest.raises(
            ConfigError, match=f"^{place}: '{re.escape(pattern)}' is not a regular expression of Java's: Unknown inline modifier"
        ):
            drop_invalid(frame(spark, recipe, [{}]), recipe)


# Columns


def check(recipe, **nulls):
    check_columns(recipe, None, nulls, 200, {"job": category_sketch(pa.array(list("abcdef")))})  # type: ignore[arg-type]  # no unique column


def test_limits_that_are_just_kept_are_no_problem():
    check(make_recipe(expecting(x={"max_nulls": 0.1}, job={"max_distinct": 6, "max_nulls": 0})), x=20)


def test_every_limit_of_a_column_that_does_not_hold_is_told_with_value_and_limit():
    message = (
        "The data is not what columns.*.expect says: x has no value in 10.50% of the rows, at most 10.00% may lack one; "
        "job has 6 different values, at most 5 may be there. Mend the source, or the expectation."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check(make_recipe(expecting(x={"max_nulls": 0.1}, job={"max_distinct": 5}, z={"max_nulls": 1})), x=21, z=200)


@pytest.mark.spark
def test_unique_is_asked_of_values_of_kept_rows_alone(spark):
    recipe = make_recipe(expecting(id={"unique": True}, x={"unique": True}, job={"unique": True}))
    table = [
        {"x": 1.0, "job": "a"},
        {"x": 2.0, "job": "b"},
        {"x": 2.0, "_rule": "unreadable"},
        {"id": "r0", "x": 9.0, "_rule": "drop_nulls"},
        {},
        {},
    ]
    check_columns(recipe, frame(spark, recipe, table), {}, 4, {})
    twice = [
        {"id": name, "x": x, "job": name}
        for name, x in (("p", 3.0), ("p", 2.0), ("q", 1.0), ("q", 3.0), ("r", 4.0), ("r", 4.5), ("s", 5.0), ("s", 6.0))
    ]
    message = "id should be unique, but 'p', 'q', 'r' stand there more than once; x should be unique, but '3.0' stand"
    with pytest.raises(DataError, match=message):
        check_columns(recipe, frame(spark, recipe, twice), {}, 8, {})


@pytest.mark.spark
def test_expectations_of_a_column_that_is_ignored_are_not_asked(spark):
    columns = expecting(job={"values": ["cook"], "unique": True, "max_nulls": 0})
    columns["job"]["role"] = "ignore"
    recipe = make_recipe(columns)
    table = frame(spark, make_recipe(), [{"job": "smith"}, {"job": "smith"}]).drop("job")
    assert dropped({row["id"]: row for row in drop_invalid(table, recipe).collect()}) == {}
    check_columns(recipe, table, {}, 2, {})


@pytest.mark.spark
def test_a_run_whose_columns_break_their_limits_fails_and_publishes_nothing(prepare, table_recipe, tmp_path):
    columns = {
        "x": {"kind": "number", "expect": {"max": 8.5, "unique": True, "max_nulls": 0.02}},
        "label": {"kind": "category", "role": "label", "expect": {"max_distinct": 1}},
    }
    lines = [*many_rows(), ",even", ",odd", "0.142857,odd", "9,odd", "9.5,even"]
    with pytest.raises(DataError) as refused:
        prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines), columns=columns, clean={"max_dropped": 0.05}))
    assert "x has no value in 3.17% of the rows, at most 2.00%" in str(refused.value)  # 2 of 63: two are invalid
    assert "x should be unique, but '0.142857' stand" in str(refused.value)
    assert "label has 2 different values, at most 1" in str(refused.value)
    assert not published(tmp_path / "runs")


# Recipes

RECIPE = {
    "name": "table",
    "source": {"format": "csv", "path": "bundled:iris"},
    "columns": {**TABLE, "sex": {"kind": "category", "role": "sensitive"}},
    "model": {"name": "mlp"},
    "register": {"name": "table"},
}
IMAGES = {
    "source": {"format": "images", "path": "bundled:digits"},
    "columns": {"image": {"kind": "image", "shape": [8, 8, 1]}, "label": {"kind": "category", "role": "label"}},
    "model": {"name": "cnn"},
}


def refusal(tmp_path, **sections):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **sections}, sort_keys=False))
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    return str(refused.value)


def load(tmp_path, **sections):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **sections}, sort_keys=False))
    return config.load(path)


@pytest.mark.parametrize(
    ("column", "expect", "says"),
    [
        ("job", {"min": 0, "integer": True}, "'job': min, integer does not go with kind: category"),
        ("x", {"values": ["1"], "pattern": "1"}, "'x': values, pattern does not go with kind: number"),
        ("seen", {"max": 0}, "'seen': max does not go with kind: time"),
        ("seen", {"pattern": "2026.*"}, "'seen': pattern does not go with kind: time"),
        ("id", {"max_distinct": 3}, "'id': max_distinct is not counted of a key"),
        ("x", {"min": 3, "max": 2}, "columns.x.expect: expected min up to max, received min: 3 and max: 2"),
        ("job", {"pattern": "("}, "columns.job.expect.pattern: pattern '(' is not a regular expression"),
    ],
    ids=lambda value: str(value),
)
def test_an_expectation_that_no_column_of_the_kind_can_have_is_refused(tmp_path, column, expect, says):
    columns = {**RECIPE["columns"], column: {**TABLE[column], "expect": expect}}
    assert says in refusal(tmp_path, columns=columns)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"drop_nulls": ["jb"]}, "column 'jb' is not one of ['id', 'x', 'z', 'job', 'town', 'seen', 'label', 'sex']. Did you mean 'job'?"),
        ({"keep_range": {"column": "job", "min": 0}}, "column 'job' is not one of ['x', 'z', 'seen']"),
        ({"keep_range": {"column": "x", "min": 2, "max": 1}}, "expected min up to max, received min: 2 and max: 1"),
        ({"keep_values": {"column": "x", "values": ["1"]}}, "column 'x' is not one of ['id', 'job', 'town', 'label', 'sex']"),
        ({"keep_pattern": {"column": "seen", "pattern": ".*"}}, "column 'seen' is not one of ['id', 'job', 'town', 'label', 'sex']"),
        ({"clip": {"columns": ["seen"], "min": 0}}, "column 'seen' is not one of ['x', 'z']"),
        ({"clip": {"columns": ["x"], "min": 1, "max": 0}}, "expected min up to max, received min: 1 and max: 0"),
        ({"clip_outliers": {"columns": ["job"]}}, "column 'job' is not one of ['x', 'z']"),
        ({"drop_outliers": {"columns": ["x", "job"]}}, "column 'job' is not one of ['x', 'z']"),
        ({"tidy": {"columns": ["x"]}}, "column 'x' is not one of ['id', 'job', 'town', 'label', 'sex']"),
        ({"replace": {"column": "x", "values": {"1": "2"}}}, "column 'x' is not one of ['id', 'job', 'town', 'label', 'sex']"),
        ({"fill_nulls": {"columns": ["job"], "by": "median"}}, "column 'job' is not one of ['x', 'z']"),
        ({"fill_nulls": {"columns": ["x"], "by": "forward", "order": "z"}}, "column 'z' is not one of ['seen']"),
        ({"fill_nulls": {"columns": ["x"], "by": "forward", "order": "seen", "series": "y"}}, "column 'y' is not one of ['id', 'x',"),
        (
            {"fill_nulls": {"columns": ["x"], "value": "none"}},
            "column 'x' expects a number (of a time: seconds since 1970) for a value, received 'none'",
        ),
        ({"fill_nulls": {"columns": ["seen"], "value": "2026-01-01"}}, "column 'seen' expects a number (of a time: seconds since 1970)"),
        ({"fill_nulls": {"columns": ["job"], "value": 0}}, "column 'job' expects text (in quotes) for a value, received 0.0"),
        ({"fill_nulls": {"columns": ["x"], "value": float("nan")}}, "value"),
        ({"drop_near_duplicates": {"digits": 16}}, "digits: expected 1 to 15, received 16"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_rule_that_cannot_do_anything_with_its_column_is_refused(tmp_path, rule, says):
    assert says in refusal(tmp_path, clean={"rules": [rule]})


def test_a_rule_for_numbers_is_refused_where_no_column_holds_any(tmp_path):
    columns = {name: column for name, column in TABLE.items() if column["kind"] == "category"}
    assert "column 'job' is not one of []" in refusal(
        tmp_path, columns=columns, clean={"rules": [{"clip": {"columns": ["job"], "min": 0}}]}
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"fill_nulls": {"columns": ["x", "seen"], "value": -1}},
        {"fill_nulls": {"columns": ["job", "sex"], "value": "none"}},
        {"fill_nulls": {"columns": ["x", "job", "seen"], "by": "mode"}},
        {"keep_pattern": {"column": "job", "pattern": r"(?<first>\p{Lu})[a-z&&[^q]]*+"}},
        {"drop_near_duplicates": {"columns": ["seen", "x", "job"]}},
        {"keep_range": {"column": "seen", "min": 5, "max": 5}},
    ],
    ids=lambda rule: str(rule)[:60],
)
def test_a_rule_that_goes_with_its_columns_is_accepted(tmp_path, rule):
    assert load(tmp_path, clean={"rules": [rule]}).clean.rules[0].name in rule


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"fill_nulls": {"columns": ["image"], "by": "mode"}}, "column 'image' is not one of ['label']"),
    ],
)
def test_rules_for_tables_are_refused_for_images(tmp_path, rule, says):
    assert says in refusal(tmp_path, **IMAGES, clean={"rules": [rule]})


def test_a_column_that_an_image_folder_has_not_is_refused(tmp_path):
    columns = {**IMAGES["columns"], "town": {"kind": "category", "role": "meta"}}
    assert "format images: column 'town' (kind: category, role: meta) is not there; it gives the label alone" in refusal(
        tmp_path, **{**IMAGES, "columns": columns}
    )


@pytest.mark.parametrize(
    ("name", "role"),
    [*((name, "sensitive") for name in ("sample_id", "label", "weight", "features")), ("sample_id", "feature"), ("sample_id", "meta")],
)
def test_a_column_with_a_name_of_the_prepared_files_own_is_refused(tmp_path, name, role):
    columns = {**RECIPE["columns"], "income": {"kind": "category", "role": "label"}, name: {"kind": "category", "role": role}}
    if name != "label":
        del columns["label"]
    assert f"{name!r}: prepared files have a column {name} of their own; rename it in the source" in refusal(tmp_path, columns=columns)


@pytest.mark.parametrize("name", ["weight", "features"])
def test_a_feature_may_be_called_like_a_column_that_it_is_packed_beside(tmp_path, name):
    assert name in load(tmp_path, columns={**RECIPE["columns"], name: {"kind": "number"}}).columns


def test_a_key_may_be_called_sample_id_and_a_label_weight_but_no_label_sample_id(tmp_path):
    columns = {"sample_id": {"kind": "category", "role": "key"}, "x": {"kind": "number"}, "weight": {"kind": "category", "role": "label"}}
    assert load(tmp_path, columns=columns).label == "weight"
    columns = {"x": {"kind": "number"}, "sample_id": {"kind": "category", "role": "label"}}
    assert "'sample_id': prepared files have a column sample_id of their own" in refusal(tmp_path, columns=columns)


@pytest.mark.parametrize(("name", "says"), [("_x", "names with a leading _"), ("a`b", "a name with a ` cannot be read")])
def test_a_name_that_cannot_be_used_is_refused(tmp_path, name, says):
    assert says in refusal(tmp_path, columns={**RECIPE["columns"], name: {"kind": "number"}})


def test_more_digits_than_a_number_has_are_refused_of_the_audit_too(tmp_path):
    assert "near_digits: expected 1 to 15, received 400" in refusal(tmp_path, audit={"max_near_duplicates": 0, "near_digits": 400})


@pytest.mark.parametrize(
    "rule", [{}, {"drop_nulls": ["x"], "drop_duplicates": True}, "drop_duplicate", {"drop_nulls": []}, {"drop_duplicates": False}]
)
def test_a_rule_is_exactly_one_known_rule(rule):
    with pytest.raises(ValidationError):
        CleanRule.model_validate_json(json.dumps(rule))
