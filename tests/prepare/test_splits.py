"""Which split a row is in, and that it stays there."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.prepare.columns import REASON, RULE, SPLIT
from pipeline.prepare.split import GRID, assign_splits, check_labels, check_sizes, cut_places, fit_bounds
from pipeline.schema import SPLITS, prepared
from pipeline.sections.data import epoch_seconds
from pipeline.stage import Outcome
from tests.prepare.conftest import rows, write_csv
from tests.prepare.frames import TABLE, frame, make_recipe

SHARES = {"train": 0.6, "validation": 0.25, "test": 0.15}
TIMES = {"column": "seen", "validation_from": "2026-01-01", "test_from": "2026-02-01T00:00:00+00:00"}
EVERY = {
    "hash": {},
    "group": {"column": "town"},
    "stratified": {"column": "job"},
    "time": TIMES,
    "kfold": {"folds": 4, "fold": 1},
}

# Where strata are cut

places = st.dictionaries(st.integers(0, GRID - 1), st.integers(1, 9), min_size=1, max_size=60)
single_rows = st.sets(st.integers(0, GRID - 1), min_size=1, max_size=200).map(lambda found: dict.fromkeys(found, 1))
shares = st.tuples(st.floats(0.05, 0.9), st.floats(0.05, 0.9)).filter(lambda pair: sum(pair) < 0.95)


def sizes(counts, train, validation):
    """Rows of (train, validation, test)."""
    train_end, validation_end = cut_places(counts, train, validation)
    assert 0 <= train_end <= validation_end <= 1
    split = Counter()
    for place, number in counts.items():
        split["train" if place / GRID < train_end else "validation" if place / GRID < validation_end else "test"] += number
    return [split[name] for name in SPLITS]


@given(single_rows, shares)
def test_shares_of_rows_of_different_places_are_exact_to_half_a_row_unless_a_split_would_be_empty(counts, pair):
    train, validation, test = sizes(counts, *pair)
    total = len(counts)
    if min(share * total for share in (*pair, 1 - sum(pair))) >= 1.5:
        assert abs(train - pair[0] * total) <= 0.5 + 1e-9
        assert abs(train + validation - sum(pair) * total) <= 0.5 + 1e-9
    assert abs(train - pair[0] * total) <= 2 and abs(test - (1 - sum(pair)) * total) <= 2


@given(places, shares)
def test_train_has_rows_of_every_stratum_and_so_has_each_split_of_those_with_three_places(counts, pair):
    found = sizes(counts, *pair)
    assert sum(found) == sum(counts.values())
    assert found[0] >= 1 and (len(counts) < 3 or min(found) >= 1)


@given(places, shares)
def test_no_cut_between_two_places_is_nearer_to_the_share_of_train(counts, pair):
    found, total, before = sizes(counts, *pair)[0], sum(counts.values()), 0
    for place in sorted(counts)[: -2 if len(counts) >= 3 else None]:
        before += counts[place]
        assert abs(found - pair[0] * total) <= abs(before - pair[0] * total) + 1e-9


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(1, [1, 0, 0]), (2, [2, 0, 0]), (3, [1, 1, 1]), (4, [2, 1, 1]), (10, [8, 1, 1]), (11, [9, 1, 1])]
)
def test_small_strata_fill_train_first_and_from_three_rows_on_all_splits(num_rows, expected):
    assert sizes({7 * place: 1 for place in range(num_rows)}, 0.8, 0.1) == expected


def test_rows_of_one_place_stay_together_in_train():
    assert sizes({5: 3}, 0.2, 0.4) == [3, 0, 0]


# Rows


def split_rows(spark, table, by, inherited=None, **settings):
    """(split of each row by its id, the rows, bounds)."""
    recipe = make_recipe(split={"by": by, **SHARES, **settings})
    read = frame(spark, recipe, table)
    bounds = fit_bounds(read, recipe, inherited or {})
    found = {row["id"]: row for row in assign_splits(read.drop(SPLIT), recipe, bounds).collect()}
    return {name: row[SPLIT] for name, row in found.items()}, found, bounds


def people(count, first=0):
    """Rows of 20 towns, two jobs and three months; every 50th was dropped before."""
    start = epoch_seconds("2025-12-01")
    return [
        {
            "id": f"k{number}", "x": number / 7, "town": f"town {number % 20}", "job": "smith" if number % 10 < 3 else "cook",
            "seen": start + number % 90 * 86400.0, "_rule": "unreadable" if number % 50 == 49 else None,
        }
        for number in range(first, first + count)
    ]  # fmt: skip


def counted(splits):
    return Counter(split for split in splits.values() if split is not None)


@pytest.mark.spark
@pytest.mark.parametrize("by", EVERY)
def test_a_row_keeps_its_split_when_other_rows_arrive_and_when_other_columns_change(spark, by):
    few, _, bounds = split_rows(spark, people(200), by, **EVERY[by])
    others = [{**row, "x": 0.0, "z": 9.0, "label": "b", "seen": row["seen"] + 3600} for row in people(400)]
    more, _, _ = split_rows(spark, others[::-1], by, bounds, **EVERY[by])
    assert {name: more[name] for name in few} == few
    assert {name for name, split in few.items() if split is None} == {f"k{number}" for number in range(49, 200, 50)}
    assert set(counted(few)) == set(SPLITS)


@pytest.mark.spark
def test_hash_gives_each_split_about_its_share_and_another_seed_another_split(spark):
    found, _, _ = split_rows(spark, people(3000), "hash")
    for name, share in SHARES.items():
        assert counted(found)[name] / 2940 == pytest.approx(share, abs=0.03)
    other, _, _ = split_rows(spark, people(3000), "hash", seed=1)
    assert sum(found[name] == other[name] for name in found) < 2000


@pytest.mark.spark
def test_no_group_is_in_two_splits_and_its_column_alone_decides(spark):
    found, raw, _ = split_rows(spark, people(400), "group", column="town")
    towns = {(raw[name]["town"], split) for name, split in found.items() if split is not None}
    assert len(towns) == 20 and len({split for _, split in towns}) == 3
    renamed, _, _ = split_rows(spark, [{**row, "id": f"other {row['id']}"} for row in people(400)], "group", column="town")
    assert list(renamed.values()) == list(found.values())


@pytest.mark.spark
def test_shares_are_exact_in_each_stratum_of_a_column_or_of_the_label(spark):
    table = [
        {"id": f"{job} {number}", "job": job, "label": str(job)}
        for job, size in (("a", 1), ("b", 2), ("c", 3), ("d", 40), ("e", 997), (None, 20))
        for number in range(size)
    ]
    expected = {"a": [1, 0, 0], "b": [1, 1, 0], "c": [1, 1, 1], "d": [24, 10, 6], "e": [598, 249, 150], None: [12, 5, 3]}
    for settings in ({"column": "job"}, {}):
        found, raw, bounds = split_rows(spark, table, "stratified", **settings)
        counts = Counter((raw[name]["job"], split) for name, split in found.items())
        for job, wanted in expected.items():
            assert [counts[job, name] for name in SPLITS] == pytest.approx(wanted, abs=1), job
            assert (
                min(counts[job, name] for name in SPLITS if job not in ("a", "b")) > 0
                if job not in ("a", "b")
                else counts[job, "train"] > 0
            )
        assert len(bounds) == 6


@pytest.mark.spark
def test_inherited_bounds_are_kept_strata_without_rows_too_and_new_strata_are_cut_afresh(spark):
    inherited = {"cook": (0.5, 0.75), "gone": (0.1, 0.2)}
    found, raw, bounds = split_rows(spark, people(400), "stratified", inherited, column="job")
    assert list(bounds) == ["cook", "gone", "smith"] and {**bounds, **inherited} == bounds
    smiths = counted({name: split for name, split in found.items() if raw[name]["job"] == "smith"})
    assert [smiths[name] for name in SPLITS] == pytest.approx([72, 30, 18], abs=1)


@pytest.mark.spark
def test_too_many_strata_and_no_row_at_all_are_no_riddle(spark):
    with pytest.raises(DataError, match="split.column x has more than 1000 values: too many to stratify by"):
        split_rows(spark, people(1500), "stratified", column="x")
    assert split_rows(spark, [{"id": "a", "_rule": "unreadable"}], "stratified")[0] == {"a": None}


@pytest.mark.spark
def test_time_cuts_at_the_instants_and_rows_in_the_gap_go_to_neither_side(spark):
    validation, test = epoch_seconds("2026-01-01"), epoch_seconds("2026-02-01")
    seen = {
        "long ago": -1e9, "a gap before": validation - 3600.5, "at the gap": validation - 3600, "just before": validation - 1e-6,
        "at validation": validation, "before the second gap": test - 3601, "in the second gap": test - 1,
        "at test": test, "in a year": test + 3e7,
    }  # fmt: skip
    table = [{"id": name, "seen": stamp} for name, stamp in seen.items()] + [{"id": "dropped", "seen": test - 1, "_rule": "unreadable"}]
    found, raw, _ = split_rows(spark, table, "time", **TIMES, gap_s=3600)
    assert found == {
        **dict.fromkeys(["long ago", "a gap before"], "train"),
        **dict.fromkeys(["at validation", "before the second gap"], "validation"),
        **dict.fromkeys(["at test", "in a year"], "test"),
        **dict.fromkeys(["at the gap", "just before", "in the second gap", "dropped"], None),
    }
    assert {name for name, row in raw.items() if row[RULE] == "split_gap"} == {"at the gap", "just before", "in the second gap"}
    assert raw["at the gap"][REASON] == "seen: within 3600 s before a boundary of the split"
    without, _, _ = split_rows(spark, table, "time", **TIMES)
    assert without["just before"] == "train" and without["in the second gap"] == "validation"


@pytest.mark.spark
def test_every_row_is_test_in_exactly_one_fold_and_validation_in_one_other(spark):
    folds = [split_rows(spark, people(200), "kfold", folds=4, fold=fold)[0] for fold in range(4)]
    for name, split in folds[0].items():
        if split is not None:
            assert sorted(fold[name] for fold in folds) == ["test", "train", "train", "validation"]
    parts = [{name for name, split in fold.items() if split == "test"} for fold in folds]
    assert all(
        {name for name, split in fold.items() if split == "validation"} == parts[(place + 1) % 4] for place, fold in enumerate(folds)
    )
    assert min(map(len, parts)) > 30


# Runs


@pytest.mark.spark
@pytest.mark.slow
def test_a_stratified_run_goes_on_where_the_one_before_cut_and_the_same_request_again_does_too(prepare, table_recipe, tmp_path):
    """Two dates, and then more rows for the second one."""
    source = tmp_path / "raw.csv"
    columns = {name: TABLE[name] for name in ("id", "x", "label")}
    recipe = table_recipe(
        source.parent / "*.csv", columns=columns, split={"by": "stratified", "train": 0.6, "validation": 0.2, "test": 0.2}
    )
    lines = [f"k{number},{number / 7:.6f},{'odd' if number % 3 else 'even'}" for number in range(200)]
    runs: list[Outcome] = []
    splits: list[dict[str, str]] = []
    for run_id, wanted in (("20260101T000000Z-a", lines[:90]), ("20260102T000000Z-a", lines[:120]), ("20260102T000000Z-a", lines)):
        write_csv(source, wanted, "id,x,label")
        runs.append(prepare(recipe, run_id))
        splits.append({name: split for split in SPLITS for name in rows(runs[-1], f"data/{split}")["sample_id"].to_pylist()})
    first, *later = (prepared(outcome.manifest) for outcome in runs)
    assert [first.splits[name].label_counts for name in SPLITS] == [{"even": 18, "odd": 36}, {"even": 6, "odd": 12}, {"even": 6, "odd": 12}]
    assert first.inherited_bounds == {}
    assert all(facts.inherited_bounds == first.split_bounds == facts.split_bounds for facts in later)
    assert all(split == splits[-1][name] for found in splits for name, split in found.items())
    again = prepare(recipe, run_id, force=True)
    assert again.reused_from is None and again.manifest.content_digest == runs[-1].manifest.content_digest
    assert prepare(recipe, run_id).reused_from == run_id


@pytest.mark.spark
def test_the_gap_of_a_split_in_time_is_in_quarantine_and_does_not_count_as_lost(prepare, table_recipe, tmp_path):
    columns = {name: TABLE[name] for name in ("x", "seen", "label")}
    days = [datetime(2025, 12, 1, 12) + timedelta(days=number) for number in range(80)]
    lines = [f"{number},{day.isoformat()},{'odd' if number % 2 else 'even'}" for number, day in enumerate(days)]
    source = write_csv(tmp_path / "raw.csv", lines, "x,seen,label")
    split = {"by": "time", **TIMES, "gap_s": 86400 * 3}
    outcome = prepare(table_recipe(source, columns=columns, split=split, clean={"max_dropped": 0}))
    facts = prepared(outcome.manifest)
    assert facts.accounting.dropped == {"unreadable": 0, "split_gap": 6}
    assert [facts.splits[name].rows for name in SPLITS] == [28, 28, 18]
    assert set(rows(outcome, "quarantine")["rule"].to_pylist()) == {"split_gap"}
    assert {leak.check: leak.rows for leak in facts.audit} == {"key": 0, "content": 0, "future": 0}


# What a run needs


def test_an_empty_split_is_named_with_all_sizes():
    check_sizes({"train": 1, "validation": 1, "test": 1})
    with pytest.raises(DataError, match=r"^Split validation, test has no rows \(rows: {'train': 3, 'validation': 0, 'test': 0}\)"):
        check_sizes({"train": 3, "validation": 0, "test": 0})


def test_classes_are_those_of_train_and_every_other_label_is_named():
    assert check_labels({"train": {"b": 1, "a": 2}, "validation": {"a": 1}, "test": {"b": 1}}, "y") == ("a", "b")
    with pytest.raises(DataError, match="^Column y has one class in the train rows: 'a'"):
        check_labels({"train": {"a": 2}, "validation": {"a": 1}, "test": {"a": 1}}, "y")
    with pytest.raises(DataError, match="^Label 'c', 'd' of column y is in test but not in train"):
        check_labels({"train": {"a": 2, "b": 1}, "validation": {"a": 1}, "test": {"d": 1, "c": 1}}, "y")
