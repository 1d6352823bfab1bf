"""Tables through the whole prepare stage, on Spark."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.schema import SPLITS, prepared
from tests.prepare.conftest import features, many_rows, published, rows, write_csv

pytestmark = pytest.mark.spark


def test_rows_that_do_not_parse_go_to_quarantine_with_their_reason(prepare, table_recipe, tmp_path):
    bad = ["abc,even", "inf,odd", "1.5,", "2.5,even,extra", "nan,odd", "5d,odd"]
    source = write_csv(tmp_path / "raw.csv", many_rows() + bad)
    outcome = prepare(table_recipe(source, clean={"max_dropped": 0.2}))
    facts = prepared(outcome.manifest)
    assert facts.accounting.rows_in == 66 and facts.accounting.rows_out == 60
    assert facts.accounting.dropped == {"unreadable": 6}
    assert sorted(rows(outcome, "quarantine")["reason"].to_pylist()) == [
        "label: the label is missing",
        "the line has more or fewer fields than the header",
        "x: 5d is not a finite number",
        "x: abc is not a finite number",
        "x: inf is not a finite number",
        "x: nan is not a finite number",
    ]


def test_a_quarantined_row_keeps_what_was_read(prepare, table_recipe, tmp_path):
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", [*many_rows(), "abc,even"]), clean={"max_dropped": 0.2}))
    assert '"x":"abc"' in rows(outcome, "quarantine")["raw"].to_pylist()[0]


def test_more_dropped_rows_than_allowed_fail_the_run_and_publish_nothing(prepare, table_recipe, tmp_path):
    source = write_csv(tmp_path / "raw.csv", [*many_rows(), "abc,even"])
    with pytest.raises(DataError, match=r"1 of 61 rows \(1.64%\) would be dropped: unreadable 1. clean.max_dropped allows 1.00%"):
        prepare(table_recipe(source))
    assert not published(tmp_path / "runs")


def test_rules_are_accounted_for_in_their_order_and_rows_add_up(prepare, table_recipe, tmp_path):
    lines = [*many_rows(), "500,even", ",odd", "0.142857,odd", "500,even"]
    rules = ["drop_duplicates", {"drop_nulls": ["x"]}, {"keep_range": {"column": "x", "max": 100}}]
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines), clean={"rules": rules, "max_dropped": 0.5}))
    accounting = prepared(outcome.manifest).accounting
    assert accounting.dropped == {"unreadable": 0, "drop_duplicates": 2, "drop_nulls": 1, "keep_range": 1}
    assert accounting.rows_in == 64 == accounting.rows_out + 4
    assert rows(outcome, "quarantine").num_rows == 4


def test_statistics_and_scaling_come_from_train_rows_alone(prepare, table_recipe, tmp_path):
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", many_rows(200))))
    facts = prepared(outcome.manifest)
    vectors = features(rows(outcome, "data/train"))
    assert np.allclose(vectors.mean(axis=0), 0, atol=1e-6) and np.allclose(vectors.std(axis=0), 1, atol=1e-6)
    assert facts.statistics["x"].count == facts.splits["train"].rows < 200


def test_changing_other_rows_than_train_rows_changes_no_statistic(prepare, table_recipe, tmp_path):
    """The same keys, so the same splits; every value outside train is another."""
    keyed = {"id": {"kind": "category", "role": "key"}, "x": {"kind": "number"}, "label": {"kind": "category", "role": "label"}}
    lines = [f"k{number},{line}" for number, line in enumerate(many_rows(200))]
    first = prepare(table_recipe(write_csv(tmp_path / "a.csv", lines, "id,x,label"), columns=keyed), "manual-a")
    train = set(rows(first, "data/train")["sample_id"].to_pylist())
    changed = [line if line.split(",")[0] in train else f"{line.split(',')[0]},999,{line.split(',')[2]}" for line in lines]
    second = prepare(table_recipe(write_csv(tmp_path / "b.csv", changed, "id,x,label"), columns=keyed), "manual-b")
    assert prepared(first.manifest).statistics == prepared(second.manifest).statistics
    assert rows(second, "data/train").equals(rows(first, "data/train"))
    assert features(rows(second, "data/test")).min() > 10


def test_a_row_keeps_its_split_whatever_else_arrives(prepare, table_recipe, tmp_path):
    few = prepare(table_recipe(write_csv(tmp_path / "few.csv", many_rows(60))), "manual-a")
    more = prepare(table_recipe(write_csv(tmp_path / "more.csv", many_rows(200))), "manual-b")
    for split in SPLITS:
        assert set(rows(few, f"data/{split}")["sample_id"].to_pylist()) <= set(rows(more, f"data/{split}")["sample_id"].to_pylist())


def test_rows_with_the_same_content_are_all_kept_with_different_ids_where_no_rule_drops_them(prepare, table_recipe, tmp_path):
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", many_rows() + many_rows(10))))
    ids = [name for split in SPLITS for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()]
    assert len(set(ids)) == len(ids) == 70
    splits = {name.split("~")[0]: split for split in SPLITS for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()}
    assert all(splits[name.split("~")[0]] == split for split in SPLITS for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist())


def test_nulls_become_the_train_mean_and_a_constant_column_becomes_zeros(prepare, table_recipe, tmp_path):
    columns = {"x": {"kind": "number"}, "same": {"kind": "number"}, "label": {"kind": "category", "role": "label"}}
    lines = [f"{'' if number == 3 else number},7,{'a' if number % 2 else 'b'}" for number in range(80)]
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines, "x,same,label"), columns=columns))
    vectors = np.concatenate([features(rows(outcome, f"data/{split}")) for split in SPLITS])
    assert np.isfinite(vectors).all()
    assert (vectors[:, 1] == 0).all()
    assert (np.abs(vectors[:, 0]) < 1e-6).any()


def test_categories_are_one_hot_over_train_values_with_a_place_for_unknown_ones(prepare, table_recipe, tmp_path):
    columns = {"x": {"kind": "number"}, "colour": {"kind": "category"}, "label": {"kind": "category", "role": "label"}}
    lines = [f"{number},{'red' if number % 3 else 'blue'},{'a' if number % 2 else 'b'}" for number in range(80)] + ["80.5,,a"]
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines, "x,colour,label"), columns=columns))
    facts = prepared(outcome.manifest)
    assert facts.encoders[0].values == ("blue", "red") and facts.tensor.shape == (4,)
    one_hot = np.concatenate([features(rows(outcome, f"data/{split}")) for split in SPLITS])[:, 1:]
    assert (one_hot.sum(axis=1) == 1).all() and one_hot[:, 2].sum() == 1


def test_every_file_is_one_row_group_of_plain_parquet_with_the_rows_of_its_manifest(prepare, table_recipe, tmp_path):
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", many_rows())))
    for entry in [entry for entry in outcome.manifest.files if entry.path.endswith(".parquet")]:
        metadata = pq.ParquetFile(outcome.found.files / entry.path).metadata
        assert metadata.num_row_groups == 1 and metadata.num_rows == entry.rows
        assert metadata.metadata is None or b"dataset-toolkit.unischema.v1" not in metadata.metadata


def test_the_same_request_again_gives_the_same_bytes(prepare, table_recipe, tmp_path):
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", many_rows()))
    first, again = prepare(recipe), prepare(recipe, force=True)
    assert again.reused_from is None and again.manifest.content_digest == first.manifest.content_digest


def test_a_finished_result_is_reused_and_another_run_links_it(prepare, table_recipe, tmp_path):
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", many_rows()))
    first = prepare(recipe)
    assert prepare(recipe).reused_from == "manual-0"
    other = prepare(recipe, "manual-1")
    assert other.reused_from == "manual-0" and other.manifest.digest == first.manifest.digest
    entry = first.manifest.files[0]
    assert (other.found.files / entry.path).samefile(first.found.files / entry.path)


def test_changed_source_files_are_not_mistaken_for_old_ones(prepare, table_recipe, tmp_path):
    source = write_csv(tmp_path / "raw.csv", many_rows())
    recipe = table_recipe(source)
    first = prepare(recipe)
    write_csv(source, many_rows(90))
    second = prepare(recipe)
    assert second.reused_from is None and prepared(second.manifest).accounting.rows_in == 90
    assert first.manifest.key != second.manifest.key


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([], "x,label", "No input rows"),
        ([f"{number},a" for number in range(60)], "x,label", "has one class in the train rows: 'a'"),
        (many_rows(), "x,colour", r"has no column label. It has: x, colour"),
        (many_rows(3), "x,label", "has no rows"),
        (many_rows(), "x,x", "expected a header line with different"),
    ],
    ids=["no rows", "one class", "no label column", "empty split", "header twice"],
)
def test_data_that_cannot_be_learnt_from_is_refused_and_nothing_is_published(prepare, table_recipe, tmp_path, lines, header, message):
    with pytest.raises(DataError, match=message):
        prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines, header)))
    assert not published(tmp_path / "runs")


def test_a_label_that_train_lacks_is_refused_and_named(prepare, table_recipe, tmp_path):
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", many_rows()), split={"train": 0.1, "validation": 0.1, "test": 0.8})
    lines = [f"{number / 7:.6f},class{number}" for number in range(60)]
    with pytest.raises(DataError, match="of column label is in validation but not in train"):
        prepare(table_recipe(write_csv(tmp_path / "raw.csv", lines), split=recipe.split.model_dump()))


def test_an_empty_file_is_refused(prepare, table_recipe, tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"")
    with pytest.raises(DataError, match="No input rows: source.path .* holds 1 files, 0 bytes in all"):
        prepare(table_recipe(tmp_path / "raw.csv"))


def test_a_glob_without_files_is_refused(prepare, table_recipe, tmp_path):
    with pytest.raises(DataError, match="holds 0 files"):
        prepare(table_recipe(tmp_path / "*.csv"))


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"not parquet at all"], ids=["truncated", "other"])
def test_a_corrupt_parquet_source_is_named(prepare, table_recipe, tmp_path, damage):
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"x": [math.pi] * 50, "label": ["a", "b"] * 25}), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="raw.parquet"):
        prepare(table_recipe(path))
    assert not published(tmp_path / "runs")
