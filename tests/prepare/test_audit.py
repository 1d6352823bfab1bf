"""The leak audit: what stands in train and outside it is found, however rows were split, and fails the run above the limit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipeline.errors import DataError
from pipeline.prepare.audit import audit, check_leaks, future_rows, leak
from pipeline.prepare.clean import clean
from pipeline.prepare.staging import layout_of, stage_rows
from pipeline.schema import prepared
from tests.prepare.conftest import many_rows, published, write_csv
from tests.prepare.frames import TABLE, frame, make_recipe


def leaks_of(spark: SparkSession, folder: Path, table: list[dict[str, Any]], **sections: Any) -> dict[str, tuple[int, bool]]:
    """(rows found, whether the check holds) of every check, for rows whose splits are as they say."""
    recipe = make_recipe(**sections)
    rows = clean(frame(spark, recipe, table), recipe, 2)
    tally = stage_rows(rows, recipe, 2, is_arranged=False, work=folder / "work", files=folder / "files")
    return {found.check: (found.rows, found.holds) for found in audit(spark, recipe, layout_of(recipe), tally, folder / "work")}


def people(train=60, validation=20, test=20):
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    return [
        {"x": number / 7, "job": "cook", "town": f"town {number}", "seen": 1e9 + number, "_split": split}
        for number, split in enumerate(splits)
    ]


@pytest.mark.spark
def test_equal_features_with_other_keys_and_labels_are_found_wherever_they_are(spark, tmp_path):
    table = people()
    table[60] |= {"x": table[0]["x"], "label": "b"}
    table[99] |= {"x": table[0]["x"], "seen": 5.0, "town": table[0]["town"]}
    table[70] |= {"x": table[71]["x"], "town": table[71]["town"]}  # both are in validation
    table[1] |= {"x": table[2]["x"], "town": table[2]["town"]}  # both are in train
    table[98] |= {"x": table[3]["x"], "town": table[3]["town"], "_rule": "keep_range"}  # dropped
    table[60]["town"] = table[0]["town"]
    found = leaks_of(spark, tmp_path / "above", table, audit={"max_shared_content": 0.05})
    assert found == {"content": (2, False)}  # 2 of 39
    assert leaks_of(spark, tmp_path / "below", table, audit={"max_shared_content": 0.0513}) == {"content": (2, True)}
    assert leaks_of(spark, tmp_path / "off", table, audit={"max_shared_content": 1}) == {}


@pytest.mark.spark
def test_missing_features_are_values_like_any_other(spark, tmp_path):
    table = [{"x": x, "z": z, "_split": split} for x, z, split in ((None, 1.0, "train"), (1.0, None, "validation"), (None, 1.0, "test"))]
    assert leaks_of(spark, tmp_path, table)["content"] == (1, False)


@pytest.mark.spark
def test_near_duplicates_are_found_to_the_digits_that_are_asked_for(spark, tmp_path):
    table = [{**row, "x": row["x"] + 1, "town": "Rome"} for row in people(60, 20, 20)]
    table[60] |= {"x": table[0]["x"] * 1.0001, "job": " COOK"}
    table[80] |= {"x": table[50]["x"] * 1.01}
    assert leaks_of(spark, tmp_path / "3", table, audit={"max_near_duplicates": 0.025}) == {
        "content": (0, True),
        "near_duplicates": (1, True),
    }
    found = leaks_of(spark, tmp_path / "1", table, audit={"max_near_duplicates": 0.025, "near_digits": 1})
    assert found["near_duplicates"] == (2, False)


@pytest.mark.spark
def test_a_time_feature_tells_rows_apart_to_the_second(spark, tmp_path):
    columns = {**TABLE, "seen": {"kind": "time", "cycles": ["day"]}}
    table = [{"x": 1.0, "seen": 1e9 + number, "_split": split} for number, split in enumerate(["train", "validation", "test"])]
    table[2]["seen"] = 1e9
    found = leaks_of(spark, tmp_path, table, columns=columns, audit={"max_near_duplicates": 0})
    assert found == {"content": (1, False), "near_duplicates": (1, False)}


@pytest.mark.spark
def test_a_group_in_train_and_outside_it_is_found_and_rows_without_one_are_of_no_group(spark, tmp_path):
    table = people()
    assert leaks_of(spark, tmp_path / "apart", table, audit={"group": "town"})["group"] == (0, True)
    for place in (5, 61, 90):
        table[place]["town"] = "Rome"
    for place in (6, 62, 91):
        table[place]["town"] = None
    assert leaks_of(spark, tmp_path / "shared", table, audit={"group": "town"}) == {"content": (0, True), "group": (2, False)}


@pytest.mark.spark
def test_a_key_in_train_and_outside_it_is_found_where_the_key_does_not_decide_the_split(spark, tmp_path):
    table = people()
    for place in (7, 8, 60, 85):
        table[place]["id"] = "twice"
    split = {"by": "time", "column": "seen", "validation_from": "2001-09-09T01:47:40", "test_from": "2001-09-09T01:48:00"}
    assert leaks_of(spark, tmp_path, table, split=split) == {"key": (2, False), "content": (0, True), "future": (0, True)}


def test_a_train_row_later_than_an_evaluation_row_is_found():
    assert future_rows({"train": (0, 9), "validation": (10, 19), "test": (20, 29)}, 1) == 0
    assert future_rows({"train": (0, 9.5), "validation": (10, 19), "test": (20, 29)}, 1) == 1
    assert future_rows({"train": (0, 9), "validation": (10, 21), "test": (20, 29)}, 0) == 1


def test_a_failure_names_check_rows_share_limit_and_remedy():
    leaks = [leak("key", 3, 200, 0.0), leak("content", 2, 200, 0.01), leak("near_duplicates", 9, 200, 0.02), leak("group", 1, 200, 0.0)]
    message = (
        "The leak audit failed, nothing was published. "
        "key: 3 validation and test rows (1.50%) stand in train too, at most 0.00% may. "
        "Rows with the same key are in train and outside it: make the key unique, or split by group. "
        "near_duplicates: 9 validation and test rows (4.50%) stand in train too, at most 2.00% may. "
        "Drop them (clean.rules: drop_near_duplicates), split by group, or raise audit.max_near_duplicates. "
        "group: 1 validation and test rows (0.50%) stand in train too, at most 0.00% may. Use split: {by: group, column: …}."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_leaks(leaks)
    check_leaks([leak("content", 2, 200, 0.01)])


@pytest.mark.spark
def test_a_run_with_leaks_fails_and_publishes_nothing_until_a_rule_drops_them(prepare, table_recipe, tmp_path):
    columns = {name: TABLE[name] for name in ("id", "x", "label")}
    lines = [f"k{number},{line}" for number, line in enumerate([*many_rows(100), *many_rows(20)])]
    source = write_csv(tmp_path / "raw.csv", lines, "id,x,label")
    with pytest.raises(DataError, match=r"^The leak audit failed, nothing was published. content: \d+ validation and test rows"):
        prepare(table_recipe(source, columns=columns))
    assert not published(tmp_path / "runs")
    outcome = prepare(table_recipe(source, columns=columns, clean={"rules": ["drop_near_duplicates"]}))
    facts = prepared(outcome.manifest)
    assert facts.accounting.dropped["drop_near_duplicates"] == 20
    assert [(found.check, found.rows, found.holds) for found in facts.audit] == [("content", 0, True)]
