"""Rules: which rows they drop, which values they change, and what they know of the rows they see."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.prepare.clean import check_dropped, clean, near_hash
from pipeline.prepare.columns import RAW, REASON, RULE
from pipeline.prepare.fitted import bounds, group_rules, leaves_alone, needs_statistics
from pipeline.prepare.sketch import number_sketch
from pipeline.schema import prepared
from pipeline.sections.rules import Clean, CleanRule, Outliers
from tests.prepare.conftest import rows, write_csv
from tests.prepare.frames import cleaned, dropped, frame, make_recipe, num_changed, values

# Which rules share a look at the rows

STATISTICAL = [
    {"fill_nulls": {"columns": ["x"], "by": "mean"}},
    {"fill_nulls": {"columns": ["x", "z"], "by": "median"}},
    {"fill_nulls": {"columns": ["job"], "by": "mode"}},
    {"clip_outliers": {"columns": ["z"]}},
    {"drop_outliers": {"columns": ["x"]}},
    {"drop_outliers": {"columns": ["z"]}},
]
PLAIN = [{"drop_nulls": ["x"]}, {"tidy": {"columns": ["job"]}}, {"fill_nulls": {"columns": ["job"], "value": "none"}}]
rule_lists = st.lists(st.sampled_from(STATISTICAL + PLAIN), max_size=8)


def indexed(rules):
    return list(enumerate(CleanRule.model_validate_json(json.dumps(rule)) for rule in rules))


@given(rule_lists)
def test_every_rule_is_in_one_group_in_its_place(rules):
    assert [pair for group in group_rules(indexed(rules)) for pair in group] == indexed(rules)


@given(rule_lists)
def test_rules_share_statistics_only_where_each_leaves_the_next_ones_rows_and_columns_alone(rules):
    for group in group_rules(indexed(rules)):
        members = [rule for _, rule in group]
        assert len(members) == 1 or all(map(needs_statistics, members))
        assert all(leaves_alone(first, second) for place, second in enumerate(members) for first in members[:place])
        assert "drop_outliers" not in [rule.name for rule in members[:-1]]


@given(rule_lists)
def test_no_two_groups_could_be_one(rules):
    groups = group_rules(indexed(rules))
    for group, after in zip(groups, groups[1:], strict=False):
        next_rule = after[0][1]
        assert not needs_statistics(next_rule) or not all(leaves_alone(rule, next_rule) for _, rule in group)


# Bounds of outliers

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@given(numbers, st.floats(0.1, 10))
def test_quartile_bounds_hold_half_of_the_rows_and_more_where_the_limit_is_wider(found, limit):
    sketch = number_sketch(np.array(found))
    low, high = bounds(Outliers(columns=["x"], limit=limit), sketch)
    wide_low, wide_high = bounds(Outliers(columns=["x"], limit=2 * limit), sketch)
    assert wide_low <= low <= high <= wide_high
    assert sum(low <= value <= high for value in found) >= len(found) / 2


@given(numbers)
def test_zscore_bounds_are_three_deviations_on_both_sides_of_the_mean(found):
    sketch = number_sketch(np.array(found))
    low, high = bounds(Outliers(columns=["x"], by="zscore"), sketch)
    assert (low + high) / 2 == pytest.approx(np.mean(found), abs=1e-6)
    assert high - low == pytest.approx(6 * np.std(found), rel=1e-6, abs=1e-6)


@given(numbers, st.floats(0, 0.4), st.floats(0.6, 1))
def test_quantile_bounds_are_values_of_rows_and_leave_out_no_more_than_they_say(found, low_share, high_share):
    rule = Outliers(columns=["x"], by="quantiles", quantiles=[low_share, high_share])
    low, high = bounds(rule, number_sketch(np.array(found)))
    assert low <= high and low in found and high in found
    assert sum(value < low for value in found) <= low_share * len(found)
    assert sum(value > high for value in found) <= (1 - high_share) * len(found) + 1e-9


# How many rows may go


@pytest.mark.parametrize("rows_in", [29, 100, 1000, 7919])
def test_exactly_the_share_that_is_allowed_may_be_dropped(rows_in):
    for lost in range(rows_in):
        check_dropped({"drop_nulls": lost}, rows_in, Clean(max_dropped=lost / rows_in))
    check_dropped({"drop_nulls": 29 * rows_in}, 100 * rows_in, Clean(max_dropped=0.29))


def test_duplicates_and_the_gap_of_a_split_are_not_counted_as_lost():
    check_dropped({"drop_duplicates": 30, "drop_near_duplicates": 30, "split_gap": 39, "drop_nulls": 1}, 100, Clean(max_dropped=0.01))


def test_too_many_dropped_rows_are_told_by_rule_with_share_limit_and_remedy():
    message = (
        "5 of 100 rows (5.00%) would be dropped: drop_nulls 3, keep_range 2. clean.max_dropped allows 4.00%. "
        "Mend the source, or raise clean.max_dropped if this loss is right."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check_dropped({"drop_nulls": 3, "keep_range": 2, "drop_duplicates": 50, "keep_values": 0}, 100, Clean(max_dropped=0.04))


# Rules that drop rows


@pytest.mark.spark
def test_drop_nulls_takes_rows_that_lack_any_of_the_columns_and_names_the_first(spark):
    table = [{"x": 1.0, "job": "cook"}, {"job": "cook"}, {"x": 1.0}, {}, {"x": 0.0, "job": ""}]
    found = cleaned(spark, [{"drop_nulls": ["x", "job"]}], table)
    reasons = ["x: has no value", "job: has no value", "x: has no value"]
    assert [found[key][REASON] for key in ("r1", "r2", "r3")] == reasons
    assert dropped(found) == dict.fromkeys(["r1", "r2", "r3"], "drop_nulls")


@pytest.mark.spark
def test_keep_rules_drop_what_they_do_not_name_and_missing_values(spark):
    rules = [
        {"keep_range": {"column": "x", "min": 0, "max": 10}},
        {"keep_range": {"column": "seen", "min": 1000}},
        {"keep_values": {"column": "job", "values": ["cook", "smith"]}},
        {"keep_pattern": {"column": "town", "pattern": "[A-Z].*|x"}},
    ]
    good = {"x": 5.0, "seen": 1000.0, "job": "cook", "town": "Rome"}
    changes = {
        "lowest": {"x": 0.0}, "highest": {"x": 10.0}, "below": {"x": -0.1}, "above": {"x": 10.1}, "no x": {"x": None},
        "early": {"seen": 999.0}, "no time": {"seen": None}, "late": {"seen": 1e12},
        "other": {"job": "Cook"}, "no job": {"job": None},
        "small": {"town": "rome"}, "part": {"town": "an X"}, "second": {"town": "x"}, "begins": {"town": "xRome"},
        "line": {"town": "x\n"}, "no town": {"town": None},
    }  # fmt: skip
    found = cleaned(spark, rules, [{**good, "id": name, **change} for name, change in changes.items()])
    assert dropped(found) == {
        **dict.fromkeys(["below", "above", "no x", "early", "no time"], "keep_range"),
        **dict.fromkeys(["other", "no job"], "keep_values"),
        **dict.fromkeys(["small", "part", "begins", "line", "no town"], "keep_pattern"),
    }
    assert found["above"][REASON] == "x: 10.1 is outside 0 to 10"
    assert found["other"][REASON] == "job: Cook is not one of cook, smith"
    assert found["no town"][REASON] == "town: no value does not match [A-Z].*|x"


@pytest.mark.spark
def test_duplicates_are_rows_equal_as_they_were_read_and_one_of_them_stays(spark):
    same = {"id": "k", "x": 1.0, "job": "cook"}
    table = [same, same, {**same, "job": "COOK"}, {**same, "x": None}, {**same, "id": "m"}, same]
    recipe = make_recipe(clean={"rules": [{"tidy": {"columns": ["job"], "case": "lower"}}, "drop_duplicates"]})
    found = clean(frame(spark, recipe, table), recipe, 2).collect()
    kept = [row for row in found if row[RULE] is None]
    assert sorted((row["id"], row["x"] or 0, row["job"]) for row in kept) == [
        ("k", 0, "cook"),
        ("k", 1, "cook"),
        ("k", 1, "cook"),
        ("m", 1, "cook"),
    ]
    assert [(row[RULE], row[REASON]) for row in found if row[RULE]] == [("drop_duplicates", "same content as k")] * 2


@pytest.mark.spark
def test_of_equal_images_the_one_with_the_first_key_stays_and_dropped_ones_are_not_looked_at(spark):
    columns = {
        "id": {"kind": "category", "role": "key"},
        "image": {"kind": "image", "shape": [1, 2, 1]},
        "label": {"kind": "category", "role": "label"},
    }
    recipe = make_recipe(columns, source={"format": "images", "path": "raw"}, clean={"rules": ["drop_duplicates"]})
    table = [{"id": name, "image": bytearray(b"ab")} for name in ("c", "b", "d", "a")] + [{"id": "e", "image": bytearray(b"ac")}]
    table[3][RULE] = "unreadable"
    table.append({"id": "f", "image": bytearray(b"ab"), "label": "b"})
    found = {row["id"]: row for row in clean(frame(spark, recipe, table), recipe, 2).collect()}
    assert dropped(found) == {"a": "unreadable", "c": "drop_duplicates", "d": "drop_duplicates"}
    assert found["d"][REASON] == "same content as b"


@pytest.mark.spark
def test_near_duplicates_agree_in_rounded_numbers_and_tidied_text_and_the_first_by_key_stays(spark):
    rule = {"drop_near_duplicates": {"columns": ["x", "job"], "digits": 3}}
    near = {"x": 1.234, "job": "head cook"}
    changes = {
        "b": {}, "a": {"x": 1.2304}, "c": {"x": 1.226, "job": " Head\t COOK "}, "d": {"z": 7.0, "town": "Rome"},
        "other digit": {"x": 1.24}, "other sign": {"x": -1.23}, "other size": {"x": 12.3}, "other job": {"job": "headcook"},
        "no x": {"x": None}, "no job": {"job": None}, "no x either": {"x": None},
        "zero": {"x": 0.0}, "tiny": {"x": 1e-30},
    }  # fmt: skip
    found = cleaned(spark, [rule], [{**near, "id": name, **change} for name, change in changes.items()])
    assert dropped(found) == dict.fromkeys(["b", "c", "d", "no x either"], "drop_near_duplicates")
    assert found["c"][REASON] == "nearly the same as a"


@pytest.mark.spark
@pytest.mark.parametrize("digits", [1, 3, 12])
def test_numbers_are_near_exactly_where_they_round_to_the_same_digits(spark, digits):
    random = np.random.default_rng(digits)
    centres = np.concatenate([10.0 ** np.arange(-37, 38), random.uniform(1, 10, 300) * 10.0 ** random.integers(-30, 30, 300)])
    spread = 1 + random.uniform(-2, 2, (len(centres), 4)) * 10.0**-digits
    found = np.concatenate([(centres[:, None] * spread).ravel(), centres, -centres, [0.0]])
    recipe = make_recipe()
    table = frame(spark, recipe, [{"x": value} for value in found.tolist()])
    hashes = table.select("x", near_hash(recipe, ["x"], digits).alias("near")).collect()
    texts = {f"{row['x']:.{digits - 1}e}": row["near"] for row in hashes}
    assert all(texts[f"{row['x']:.{digits - 1}e}"] == row["near"] for row in hashes)
    assert len(set(texts.values())) == len(texts)


@pytest.mark.spark
def test_near_duplicates_without_columns_compare_all_features_times_exactly_and_nothing_else(spark):
    columns = {
        "id": {"kind": "category", "role": "key"},
        "x": {"kind": "number"},
        "seen": {"kind": "time", "cycles": ["day"]},
        "sex": {"kind": "category", "role": "sensitive"},
        "label": {"kind": "category", "role": "label"},
    }
    table = [
        {"id": "a", "x": 1.0, "seen": 1e9, "sex": "f"},
        {"id": "b", "x": 1.0001, "seen": 1e9, "sex": "m", "label": "b"},
        {"id": "c", "x": 1.0, "seen": 1e9 + 1},
    ]
    assert dropped(cleaned(spark, ["drop_near_duplicates"], table, columns=columns)) == {"b": "drop_near_duplicates"}


# Rules that change values


@pytest.mark.spark
def test_missing_values_become_a_constant_or_a_statistic_of_the_train_rows(spark):
    train = [
        {"x": value, "z": value, "job": job} for value, job in zip([1.0, 2.0, 3.0, 10.0, 10.0], ["b", "a", "b", "a", "c"], strict=True)
    ]
    others = [{"x": 1000.0, "z": 1000.0, "job": "c", "_split": split} for split in ("validation", "test", "test")]
    missing = [{"id": "train"}, {"id": "test", "_split": "test", "seen": 5.0, "town": "Rome"}]
    rules = [
        {"fill_nulls": {"columns": ["x"], "by": "mean"}},
        {"fill_nulls": {"columns": ["z"], "by": "median"}},
        {"fill_nulls": {"columns": ["job"], "by": "mode"}},
        {"fill_nulls": {"columns": ["town"], "value": "nowhere"}},
        {"fill_nulls": {"columns": ["seen"], "value": -1}},
    ]
    found = cleaned(spark, rules, train + others + missing)
    assert {name: found["train"][name] for name in ("x", "z", "job", "town", "seen")} == {
        "x": 5.2, "z": 3.0, "job": "a", "town": "nowhere", "seen": -1.0,
    }  # fmt: skip
    assert {name: found["test"][name] for name in ("x", "z", "job", "town", "seen")} == {
        "x": 5.2, "z": 3.0, "job": "a", "town": "Rome", "seen": 5.0,
    }  # fmt: skip
    assert found["r5"]["x"] == 1000.0 and found["r5"]["job"] == "c"
    assert num_changed(found) == [2, 2, 2, 9, 9]


@pytest.mark.spark
def test_a_number_is_filled_with_the_smallest_of_its_most_frequent_values(spark):
    found = cleaned(
        spark, [{"fill_nulls": {"columns": ["x", "seen"], "by": "mode"}}], [{"x": x, "seen": 7.0} for x in (3.0, 2.0, 2.0, 3.0)] + [{}]
    )
    assert (found["r4"]["x"], found["r4"]["seen"]) == (2.0, 7.0)


@pytest.mark.spark
def test_forward_takes_the_last_value_before_of_the_same_series_and_never_one_from_after(spark):
    def at(name, seen, x=None, town="Rome", **more):
        return {"id": name, "seen": seen, "x": x, "town": town, **more}

    table = [
        at("late", 9.0), at("first", 1.0), at("third", 3.0), at("second", 2.0, x=2.0), at("fifth", 5.0, x=5.0), at("sixth", 6.0),
        at("dropped", 4.0, x=-4.0), at("fourth and a half", 4.5), at("before it", 8.0, x=-8.0, _rule="unreadable"),
        at("elsewhere", 2.5, x=99.0, town="Oslo"), at("elsewhere later", 7.0, town="Oslo"), at("elsewhere earlier", 1.0, town="Oslo"),
        at("no town", 7.0, town=None), at("no town either", 6.0, x=66.0, town=None),
        at("no time", None), at("no time either", None, x=77.0), at("test", 5.5, _split="test"),
    ]  # fmt: skip
    rules = [
        {"keep_range": {"column": "z", "min": 0}},
        {"fill_nulls": {"columns": ["x"], "by": "forward", "series": "town", "order": "seen"}},
    ]
    found = cleaned(spark, rules, [{"z": -1.0 if row["id"] == "dropped" else 1.0, **row} for row in table])
    assert values(found, "x") == {
        "first": None, "second": 2.0, "third": 2.0, "fourth and a half": 2.0, "fifth": 5.0, "test": 5.0, "sixth": 5.0, "late": 5.0,
        "dropped": -4.0, "before it": -8.0, "elsewhere earlier": None, "elsewhere": 99.0, "elsewhere later": 99.0,
        "no town": None, "no town either": 66.0, "no time": None, "no time either": 77.0,
    }  # fmt: skip
    assert num_changed(found) == [6]


@pytest.mark.spark
def test_forward_without_a_series_goes_over_all_rows(spark):
    table = [{"id": name, "seen": seen, "x": x, "town": name} for name, seen, x in (("a", 2.0, None), ("b", 1.0, 1.5), ("c", 0.0, None))]
    found = cleaned(spark, [{"fill_nulls": {"columns": ["x"], "by": "forward", "order": "seen"}}], table)
    assert values(found, "x") == {"a": 1.5, "b": 1.5, "c": None}


@pytest.mark.spark
def test_clip_moves_values_to_the_bound_and_leaves_missing_ones(spark):
    rules = [{"clip": {"columns": ["x", "z"], "min": 0, "max": 10}}, {"clip": {"columns": ["z"], "max": 5}}]
    found = cleaned(spark, rules, [{"x": x, "z": x} for x in (-1.0, 0.0, 7.0, 10.0, 11.0, None)])
    assert list(values(found, "x").values()) == [0, 0, 7, 10, 10, None]
    assert list(values(found, "z").values()) == [0, 0, 5, 5, 5, None]
    assert num_changed(found) == [4, 3]


METHODS = {"by": "iqr", "limit": 1}, {"by": "zscore", "limit": 2}, {"by": "quantiles", "quantiles": [0.1, 0.9]}
TRAIN = np.concatenate([np.arange(1.0, 40.0), [-100.0, 100.0, 150.0]])


def expected_bounds():
    low, high = np.quantile(TRAIN, [0.25, 0.75], method="inverted_cdf")
    ends = np.quantile(TRAIN, [0.1, 0.9], method="inverted_cdf")
    mean, reach = TRAIN.mean(), 2 * TRAIN.std()
    return [(low - (high - low), high + (high - low)), (mean - reach, mean + reach), tuple(ends)]


@pytest.mark.spark
def test_outliers_are_beyond_bounds_of_the_train_rows_whatever_other_rows_hold(spark):
    """The same values in each column: three are clipped, one method each, and one drops rows. The second table has other test rows."""
    columns = {name: {"kind": "number"} for name in "abcd"}
    columns |= {"id": {"kind": "category", "role": "key"}, "label": {"kind": "category", "role": "label"}}
    clips = [{"clip_outliers": {"columns": [name], **method}} for name, method in zip("abc", METHODS, strict=True)]
    train = [dict.fromkeys("abcd", value) for value in TRAIN.tolist()]
    for others in ([-1e6, 20.0, 1e6, None], [1e9] * 50):
        table = train + [{**dict.fromkeys("abcd", value), "_split": split} for value in others for split in ("validation", "test")]
        found = cleaned(spark, [*clips, {"drop_outliers": {"columns": ["d"], "limit": 1}}], table, columns=columns)
        raw = as_array([row["d"] for row in table])
        beyond = [(raw < low) | (raw > high) for low, high in expected_bounds()]
        for name, (low, high) in zip("abc", expected_bounds(), strict=True):
            assert as_array([row[name] for row in found.values()]) == pytest.approx(np.clip(raw, low, high), nan_ok=True)
        assert num_changed(found) == [int(places.sum()) for places in beyond]
        assert dropped(found) == {f"r{place}": "drop_outliers" for place in np.flatnonzero(beyond[0])}


def as_array(found):
    return np.array([np.nan if value is None else value for value in found])


@pytest.mark.spark
def test_text_is_tidied_and_replaced_and_what_is_empty_then_is_missing(spark):
    rules = [
        {"tidy": {"columns": ["job"], "case": "lower"}},
        {"tidy": {"columns": ["town"]}},
        {"replace": {"column": "job", "values": {"docter": "doctor", "?": None, "cook": "smith", "smith": "cook", "same": "same"}}},
        {"tidy": {"columns": ["town"], "case": "upper"}},
        {"drop_nulls": ["town"]},
    ]
    jobs = ["  Docter ", "?", "cook", "Smith", "head\u00a0\t cook\n", "same", "", None]
    towns = [" São  Paulo", "\u2003", "rome", "Rome", "", "straße", None, "x"]
    found = cleaned(spark, rules, [{"job": job, "town": town} for job, town in zip(jobs, towns, strict=True)])
    assert list(values(found, "job").values()) == ["doctor", None, "smith", "cook", "head cook", "same", None, None]
    assert list(values(found, "town").values()) == ["SÃO PAULO", None, "ROME", "ROME", None, "STRASSE", None, "X"]
    assert dropped(found) == dict.fromkeys(["r1", "r4", "r6"], "drop_nulls")
    assert num_changed(found) == [4, 3, 4, 5]


@pytest.mark.spark
def test_a_label_that_a_rule_makes_missing_is_unreadable_unless_a_rule_takes_it_first(spark):
    rules = [
        {"replace": {"column": "label", "values": {"?": None}}},
        {"tidy": {"columns": ["label"]}},
        {"keep_range": {"column": "x", "min": 0}},
    ]
    found = cleaned(
        spark, rules, [{"label": "?", "x": 1.0}, {"label": "\u00a0", "x": 1.0}, {"label": "?", "x": -1.0}, {"label": " a", "x": 1.0}]
    )
    assert dropped(found) == {"r0": "unreadable", "r1": "unreadable", "r2": "keep_range"}
    assert found["r0"][REASON] == "label: the label is missing" and found["r3"]["label"] == "a"


# Rules together


@pytest.mark.spark
def test_the_first_rule_that_drops_a_row_gets_it_and_shows_it_as_it_was_then(spark):
    tidy, clip = {"tidy": {"columns": ["job"]}}, {"clip": {"columns": ["x"], "max": 5}}
    nulls, small = {"drop_nulls": ["job"]}, {"keep_range": {"column": "x", "max": 7}}
    table = [{"job": " ", "x": 9.0}, {"job": " a ", "x": 9.0}]
    first = cleaned(spark, [tidy, nulls, small, clip], table)
    assert dropped(first) == {"r0": "drop_nulls", "r1": "keep_range"}
    assert json.loads(first["r1"][RAW]) == {"id": "r1", "x": 9.0, "job": "a", "label": "a"}
    assert [row["x"] for row in first.values()] == [9.0, 9.0] and num_changed(first) == [2, 0]
    second = cleaned(spark, [clip, nulls, small, tidy], table)
    assert dropped(second) == {} and num_changed(second) == [2, 2]
    third = cleaned(spark, [small, tidy, nulls, clip], table)
    assert dropped(third) == dict.fromkeys(["r0", "r1"], "keep_range")
    assert json.loads(third["r1"][RAW])["job"] == " a " and num_changed(third) == [0, 0]


@pytest.mark.spark
def test_statistics_are_of_the_train_rows_that_reach_the_rule(spark):
    table = [{"x": float(x), "z": float(z)} for x, z in [*[(place, place) for place in range(20)], (1000, 10**6)]] + [
        {"id": "empty", "x": 1.0}
    ]
    filled = {"fill_nulls": {"columns": ["z"], "by": "mean"}}
    before = cleaned(spark, [filled, {"drop_outliers": {"columns": ["x"]}}], table)
    after = cleaned(spark, [{"drop_outliers": {"columns": ["x"]}}, filled], table)
    assert dropped(before) == dropped(after) == {"r20": "drop_outliers"}
    assert before["empty"]["z"] == pytest.approx((190 + 10**6) / 21) and after["empty"]["z"] == 9.5


@pytest.mark.spark
def test_a_duplicate_or_a_fill_does_not_look_at_rows_that_are_dropped_already(spark):
    rules = [{"keep_range": {"column": "z", "min": 0}}, {"drop_near_duplicates": {"columns": ["x"]}}]
    found = cleaned(spark, rules, [{"id": "a", "x": 1.0, "z": -1.0}, {"id": "b", "x": 1.0, "z": 1.0}, {"id": "c", "x": 1.0, "z": 1.0}])
    assert dropped(found) == {"a": "keep_range", "c": "drop_near_duplicates"}


@pytest.mark.spark
def test_many_rules_are_planned_in_time_that_grows_with_their_number(spark):
    """Thirty rules, the statistics of the last one read through all of them: twofold work for each would never end."""
    rules = [
        {"tidy": {"columns": ["job"], "case": "lower"}},
        {"replace": {"column": "job", "values": {"a": "b", "b": "c"}}},
        {"keep_pattern": {"column": "job", "pattern": ".+"}},
        {"clip": {"columns": ["x"], "min": 0}},
        {"keep_range": {"column": "x", "max": 100}},
    ] * 6
    found = cleaned(
        spark, [*rules, {"fill_nulls": {"columns": ["z"], "by": "median"}}], [{"x": -1.0, "z": 4.0, "job": " A "}, {"x": 1.0, "job": "b"}]
    )
    assert not dropped(found)
    assert {(row["job"], row["z"]) for row in found.values()} == {("c", 4.0)}


@pytest.mark.spark
def test_what_has_no_statistics_is_refused_by_name(spark):
    most_frequent = {"fill_nulls": {"columns": ["x"], "by": "mode"}}
    refusals = {
        "Column x has no value in any train row, so fill_nulls has nothing to go by. Remove the rule.": (
            most_frequent, [{"_split": "test", "x": 1.0}, {}],
        ),
        "Column x has too many different values (": (most_frequent, [{"x": float(x)} for x in range(3000)]),
        "Column x has 0 in half of the train rows or more, so that by: iqr takes every other value for an outlier.": (
            {"clip_outliers": {"columns": ["x"]}}, [{"x": 0.0}] * 8 + [{"x": 5.0}],
        ),
    }  # fmt: skip
    for message, (rule, table) in refusals.items():
        with pytest.raises(DataError) as refused:
            cleaned(spark, [rule], table)
        assert str(refused.value).startswith(message)


@pytest.mark.spark
def test_a_constant_column_has_no_outliers(spark):
    found = cleaned(
        spark, [{"drop_outliers": {"columns": ["x"]}}, {"drop_outliers": {"columns": ["z"], "by": "zscore"}}], [{"x": 3.0, "z": 3.0}] * 9
    )
    assert not dropped(found)


@pytest.mark.spark
def test_a_run_accounts_for_every_row_and_every_changed_value(prepare, table_recipe, tmp_path):
    """Rows in = rows out + dropped per rule; a value that was changed counts, whatever became of its row later."""
    lines = [f"{number},{number / 7:.6f}, Cook,even" if number % 2 == 0 else f"{number},{number / 7:.6f},smith,odd" for number in range(60)]
    lines += ["60,500, Cook,even", "61,, Cook ,odd", "62,3.5,?,odd", "2,0.285714, Cook,even", "63,-4,smith,odd", "64,oops,smith,odd"]
    rules = [
        {"tidy": {"columns": ["job"], "case": "lower"}},
        {"replace": {"column": "job", "values": {"?": None}}},
        "drop_duplicates",
        {"drop_nulls": ["job"]},
        {"fill_nulls": {"columns": ["x"], "by": "median"}},
        {"keep_range": {"column": "x", "max": 100}},
        {"clip": {"columns": ["x"], "min": 0}},
        {"tidy": {"columns": ["job"], "case": "upper"}},
    ]
    columns = {
        "id": {"kind": "category", "role": "key"}, "x": {"kind": "number"}, "job": {"kind": "category"},
        "label": {"kind": "category", "role": "label"},
    }  # fmt: skip
    source = write_csv(tmp_path / "raw.csv", lines, "id,x,job,label")
    outcome = prepare(table_recipe(source, columns=columns, clean={"rules": rules, "max_dropped": 0.05}))
    accounting = prepared(outcome.manifest).accounting
    assert accounting.dropped == {"unreadable": 1, "drop_duplicates": 1, "drop_nulls": 1, "keep_range": 1}
    assert accounting.rows_in == 66 == accounting.rows_out + sum(accounting.dropped.values())
    assert accounting.changed == {"tidy 1": 33, "replace": 1, "fill_nulls": 1, "clip": 1, "tidy 2": 62}
    quarantine = {row["key"]: row for row in rows(outcome, "quarantine").to_pylist()}
    assert quarantine["60"]["reason"] == "x: 500.0 is outside -inf to 100"
    assert json.loads(quarantine["60"]["raw"]) == {"id": "60", "x": 500.0, "job": "cook", "label": "even"}
    assert {row["reason"] for row in quarantine.values() if row["rule"] == "drop_duplicates"} == {"same content as 2"}
    assert '"x":"oops"' in quarantine["64"]["raw"]
