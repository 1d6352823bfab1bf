"""The page says what the manifest says, warns of what should be looked at, and cannot be made to run or hide what is in the data."""

from __future__ import annotations

import json
import re
from html import unescape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Recipe
from pipeline.prepare.findings import find
from pipeline.prepare.report import MAX_SAMPLES, RAW_CHARACTERS, render, sample_quarantine, visible
from pipeline.prepare.sketch import category_sketch, number_sketch
from pipeline.prepare.summary import summarise
from pipeline.prepare.wording import percent
from pipeline.schema import (
    Accounting,
    CategoryEncoder,
    Drifted,
    Leak,
    NumberScaler,
    Prepared,
    Shift,
    SplitFacts,
    Tensor,
)

HOSTILE = "<script>alert('x')</script>"
SAMPLE = [("unreadable", "age: abc is not a finite number", '{"age":"abc"}')]
TABLE = {
    "age": {"kind": "number"},
    "job": {"kind": "category"},
    "seen": {"kind": "time", "role": "meta"},
    "sex": {"kind": "category", "role": "sensitive"},
    "id": {"kind": "category", "role": "key"},
}


def make_recipe(columns, **sections):
    document = {
        "name": "census",
        "source": {"format": "csv", "path": "raw/*.csv"},
        "columns": columns,
        "model": {"name": "mlp"},
        "register": {"name": "census"},
        **sections,
    }
    return Recipe.model_validate_json(json.dumps(document))


def numbers(values):
    return summarise(number_sketch(np.asarray(values, np.float64)))


def texts(values):
    return summarise(category_sketch(pa.array(values, pa.string())))


def split(rows, **label_counts):
    return SplitFacts(rows=rows, sources=rows, label_counts=label_counts)


def classification(**changes):
    """(recipe, facts): 80 train rows of two classes."""
    facts = Prepared(
        task="classification",
        label="income",
        classes=("high", "low"),
        tensor=Tensor(name="features", dtype="float32", shape=(4,)),
        splits={"train": split(80, high=30, low=50), "validation": split(20, high=10, low=10), "test": split(24, high=11, low=13)},
        accounting=Accounting(
            rows_in=130, rows_out=124, dropped={"unreadable": 1, "drop_nulls": 0, "drop_duplicates": 5}, changed={"clip": 7}, augmented=0
        ),
        scalers=(NumberScaler(column="age", method="standard", offset=39.5, scale=23.25, fill=39.5),),
        encoders=(CategoryEncoder(column="job", values=("baker", "clerk")),),
        features=("age", "job=baker", "job=clerk", "job=(other)"),
        statistics={
            "age": numbers(range(80)),
            "seen": numbers(1.7e9 + 3600 * np.arange(80)),
            "job": texts(["baker", "clerk"] * 40),
            "sex": texts(["f", "m"] * 40),
            "income": texts(["high"] * 30 + ["low"] * 50),
        },
        slices=("sex",),
        audit=(Leak(check="content", rows=0, share=0.0, limit=0.01, holds=True),),
    )
    return make_recipe({**TABLE, "income": {"kind": "category", "role": "label"}}), facts.model_copy(update=changes)


def regression():
    recipe, facts = classification()
    target = NumberScaler(column="price", method="log", offset=5.5, scale=1.25, fill=250.0)
    changes = {
        "task": "regression",
        "label": "price",
        "classes": (),
        "target": target,
        "splits": {"train": split(80), "validation": split(20), "test": split(24)},
        "statistics": {
            **{name: facts.statistics[name] for name in ("age", "seen", "job", "sex")},
            "price": numbers(np.arange(1, 81) * 10.0),
        },
    }
    return make_recipe({**TABLE, "price": {"kind": "number", "role": "label"}}, task="regression"), facts.model_copy(update=changes)


def images():
    columns = {"image": {"kind": "image", "shape": [8, 6, 3]}, "label": {"kind": "category", "role": "label"}}
    augment = {"copies": 2, "operations": [{"rotate": {"degrees": 12}}, {"translate": {"pixels": 0.5}}]}
    recipe = make_recipe(columns, source={"format": "images", "path": "photos"}, augment=augment)
    splits = {
        "train": SplitFacts(rows=180, sources=60, label_counts={"cat": 30, "dog": 30}),
        "validation": split(20, cat=10, dog=10),
        "test": split(20, cat=10, dog=10),
    }
    facts = Prepared(
        task="classification",
        label="label",
        classes=("cat", "dog"),
        tensor=Tensor(name="image", dtype="uint8", shape=(8, 6, 3), mean=(100.5, 90.25, 80.0), std=(50.0, 40.0, 30.5)),
        splits=splits,
        accounting=Accounting(rows_in=100, rows_out=100, dropped={"unreadable": 0}, augmented=120),
        statistics={"label": texts(["cat", "dog"] * 30)},
    )
    return recipe, facts


CASES = {"classification": classification, "regression": regression, "images": images}


def page(recipe, facts, source="raw/*.csv", quarantine=SAMPLE):
    return render(recipe, facts, source, quarantine)


def plain(html):
    """What a reader sees, in one line."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html[html.index("<body>") :])))


@pytest.mark.parametrize("case", CASES)
def test_the_same_facts_give_the_same_bytes(case):
    recipe, facts = CASES[case]()
    again = Prepared.model_validate_json(facts.model_dump_json())
    assert page(recipe, facts) == page(recipe, again)


@pytest.mark.parametrize("case", CASES)
def test_the_page_loads_nothing_and_has_no_script(case):
    html = page(*CASES[case]())
    assert "<script" not in html and not re.search(r"\son[a-z]+\s*=", html) and "http://" not in html and "https://" not in html
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', html)
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(re.findall(r'id="([^"]+)"', html))


def test_the_page_does_not_change_with_what_comes_after_prepare():
    recipe, facts = classification()
    later = make_recipe({**TABLE, "income": {"kind": "category", "role": "label"}}, train={"epochs": 3}, description="another")
    assert later != recipe and page(later, facts) == page(recipe, facts)


def test_rows_in_are_rows_out_and_what_each_rule_dropped():
    text = plain(page(*classification()))
    assert "130 rows in, 124 kept, 6 dropped (4.62 %): train 80, validation 20, test 24." in text
    assert "dropped by unreadable − 1 0.769 %" in text and "dropped by drop_nulls 0 0 %" in text
    assert "dropped by drop_duplicates − 5 3.85 %" in text and "clip 7" in text


def test_a_classification_shows_every_class_in_every_split():
    text = plain(page(*classification()))
    assert "low 50 62.5 % 10 50 % 13 54.2 % high 30 37.5 % 10 50 % 11 45.8 %" in text


def test_each_column_says_its_figures_and_what_it_becomes():
    text = plain(page(*classification()))
    assert "age number, feature standard, position 0" in text
    assert "values 80 missing 0 % distinct 80 mean 39.5 std 23.09 min 0" in text and "median 39 75 % 59" in text
    assert "position 0 age standard (x − 39.5) / 23.25; a missing x is 39.5" in text
    assert "positions 1 to 3 job one_hot 2 values and one position, the last, for the rest and missing ones" in text
    assert "baker 50 %" in text and "sex as text: sensitive" in text and "id (category, key)" in text
    assert "min 2023-11-14 22:13 UTC" in text and "for rules and splits; not stored" in text
    assert "float32 vector of 4, 16 bytes" in text


def test_numbers_have_a_histogram_with_a_title():
    html = page(*classification())
    assert html.count("<svg") == 2 and "<title>age: histogram of 80 values from 0 to 79</title>" in html


def test_a_regression_shows_its_target_and_how_it_is_scaled():
    recipe, facts = regression()
    html = page(recipe, facts)
    assert 'width="640"' in html and "<title>price: histogram of 80 values from 10 to 800</title>" in html
    assert "What a model learns is scaled: (sign(x) ln(1 + |x|) − 5.5) / 1.25." in plain(html)
    assert "Classes, most frequent" not in html


def test_images_say_shape_pixels_copies_and_what_is_stored():
    text = plain(page(*images()))
    assert "8 × 6 × 3 pixels an image" in text and "uint8 pixels, 8 × 6 × 3 (height, width, channels), 144 bytes" in text
    assert "red 100.5 50 green 90.25 40 blue 80 30.5" in text
    assert "followed by 2 copies: turned by up to 12°, moved by up to 0.5 pixels" in text
    assert "100 rows in, 100 kept, 0 dropped (0 %)" in text and "120 augmented copies" in text


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (
            CategoryEncoder(column="job", method="ordinal", values=("a", "b")),
            "index among 2 sorted values; the rest and missing ones are 2",
        ),
        (CategoryEncoder(column="job", method="vocabulary", values=("b", "a")), "the rest and missing ones are 0"),
        (CategoryEncoder(column="job", method="hash", buckets=64), "positions 1 to 64 job hash one of 64 buckets"),
        (
            CategoryEncoder(column="job", method="target", values=("a",), means=((0.5,), (0.25,)), fold_means=(((0.5,), (0.25,)),) * 5),
            "smoothed mean of the label for 1 values, of train rows from other folds (5); the rest is 0.25",
        ),
    ],
    ids=lambda value: getattr(value, "method", ""),
)
def test_encoders_say_where_unseen_values_go(encoder, says):
    assert says in plain(page(*classification(encoders=(encoder,))))


@pytest.mark.parametrize(
    ("scaler", "says"),
    [
        ({"method": "none"}, "none x; a missing x is 0.5"),
        ({"method": "minmax", "offset": -2.0, "scale": 4.0}, "minmax (x + 2) / 4; a missing"),
        ({"method": "yeo_johnson", "power": 0.25}, "Yeo–Johnson transform of x with power 0.25"),
        ({"method": "quantile", "knots": (1.0, 2.0, 3.0)}, "share of train rows below x, on lines between 3 knots"),
    ],
    ids=lambda value: value["method"] if isinstance(value, dict) else "",
)
def test_scalers_say_their_formula(scaler, says):
    made = NumberScaler(**{"column": "age", "offset": 0.0, "scale": 1.0, "fill": 0.5, **scaler})
    assert says in plain(page(*classification(scalers=(made,))))


def titles(recipe, facts):
    return [finding.title for finding in find(recipe, facts)]


def test_data_without_a_flaw_has_nothing_to_look_at():
    recipe, facts = classification()
    assert titles(recipe, facts) == [] and "Nothing stands out" in page(recipe, facts)


@pytest.mark.parametrize(
    ("rows", "holds", "expected"),
    [(0, True, []), (2, True, []), (30, True, ["Near the limit: content"]), (60, False, ["Leak: content"])],
    ids=["none", "few", "near", "over"],
)
def test_a_leak_is_told_before_it_breaks_the_limit(rows, holds, expected):
    recipe, facts = classification(audit=(Leak(check="content", rows=rows, share=rows / 1000, limit=0.05, holds=holds),))
    assert titles(recipe, facts) == expected


def test_drift_is_told_worst_first_with_the_run_that_it_is_against():
    shifts = (
        Shift(column="job", psi=0.3, js=0.1, new_categories=("smith",), verdict="warn"),
        Shift(column="age", psi=0.9, js=0.4, verdict="fail"),
        Shift(column="sex", psi=0.01, js=0.0),
    )
    text = plain(page(*classification(drift=Drifted(against="manual-0000", shifts=shifts))))
    assert "Drift beyond the recipe's limit. Against run manual-0000: age (PSI 0.90)." in text
    assert "Drift. Against run manual-0000: job (PSI 0.30, 1 new value)." in text
    assert "age 0.900 0.400 none over the limit job 0.300 0.100 smith shifted sex 0.010 0.000 none holds" in text


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ({"age": numbers([1.0] * 70 + [np.nan] * 30)}, ["Often missing", "Constant"]),
        ({"age": numbers([np.nan] * 80)}, ["Often missing"]),
        ({"job": texts(["baker"] * 90 + [None] * 10)}, []),
        ({"job": texts(["baker"] * 80)}, ["Constant"]),
        ({"job": texts([f"job {number}" for number in range(200)])}, ["Like an identifier"]),
    ],
    ids=["missing", "empty", "a missing category is a value", "constant", "identifier"],
)
def test_columns_to_look_at_are_told(statistics, expected):
    recipe, facts = classification()
    assert titles(recipe, facts.model_copy(update={"statistics": {**facts.statistics, **statistics}})) == expected


def test_rare_classes_are_told_for_train_and_for_what_measures_them():
    splits = {"train": split(1000, high=9, low=991), "validation": split(100, low=100), "test": split(100, high=12, low=88)}
    found = find(*classification(splits=splits))
    assert [finding.title for finding in found] == ["Rare classes", "Small validation split"]
    assert "high (9 rows)" in found[0].text and "high (0)" in found[1].text


def test_what_is_in_the_data_cannot_become_markup():
    hostile = f"{HOSTILE}&\"'"
    recipe = make_recipe({**TABLE, HOSTILE: {"kind": "category"}, "income": {"kind": "category", "role": "label"}})
    _, facts = classification()
    facts = facts.model_copy(
        update={
            "classes": (hostile, "low"),
            "splits": {name: split(9, **{hostile: 1, "low": 8}) for name in ("train", "validation", "test")},
            "statistics": {**facts.statistics, HOSTILE: texts([hostile] * 9), "age": numbers(range(9))},
            "encoders": (CategoryEncoder(column=HOSTILE, values=(hostile,)),),
            "features": (f"{HOSTILE}={hostile}",),
            "slices": (HOSTILE,),
            "accounting": Accounting(rows_in=9, rows_out=8, dropped={HOSTILE: 1}, changed={HOSTILE: 1}, augmented=0),
            "drift": Drifted(against=HOSTILE, shifts=(Shift(column=HOSTILE, psi=1, js=1, new_categories=(hostile,), verdict="warn"),)),
            "audit": (Leak(check=HOSTILE, rows=9, share=1.0, limit=0.1, holds=False),),
        }
    )
    html = page(recipe, facts, source=HOSTILE, quarantine=[(HOSTILE, hostile, hostile)])
    assert "<script" not in html and html.count("&lt;script&gt;alert(") > 15


def test_a_hostile_label_cannot_leave_the_title_of_its_figure():
    recipe, facts = regression()
    columns = {**TABLE, HOSTILE: {"kind": "number", "role": "label"}}
    facts = facts.model_copy(update={"label": HOSTILE, "statistics": {HOSTILE: facts.statistics["price"]}})
    html = page(make_recipe(columns, task="regression"), facts)
    assert "<script" not in html and "<title>&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\u202eb", "a\\u202eb"), ("nul\x00", "nul\\x00"), ("two\nlines", "two\nlines"), ("Ünï – 日本", "Ünï – 日本"), ("\ud800", "\\ud800")],
    ids=["turned around", "control", "line end", "letters", "half a character"],
)
def test_characters_that_hide_or_turn_text_are_shown(text, shown):
    assert visible(text) == shown
    page(*classification(), quarantine=[("unreadable", text, text)]).encode()


def write_quarantine(files, index, rows):
    path = files / "quarantine" / f"part-{index:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(zip(("key", "rule", "reason", "raw"), zip(*rows, strict=True), strict=True))), path)


def test_quarantine_is_sampled_a_few_of_each_rule_from_the_first_files(tmp_path):
    write_quarantine(
        tmp_path, 1, [("k", "keep_range", f"late {number}", "{}") for number in range(9)] + [("k", "drop_nulls", "rare", "{}")]
    )
    write_quarantine(
        tmp_path, 0, [("k", "unreadable", f"early {number}", "x" * 1000) for number in range(9)] + [("k", "keep_range", "first", "{}")]
    )
    found = sample_quarantine(tmp_path)
    assert [reason for _, reason, _ in found] == ["rare", "first", "late 0", "late 1", "early 0", "early 1", "early 2"]
    assert found[-1][2] == "x" * RAW_CHARACTERS + "…"


def test_many_rules_share_the_room_for_samples(tmp_path):
    write_quarantine(tmp_path, 0, [("k", f"rule {number % 15:02}", "why", None) for number in range(150)])
    found = sample_quarantine(tmp_path)
    assert len(found) == MAX_SAMPLES and len({rule for rule, _, _ in found}) == 15 and {raw for _, _, raw in found} == {""}


def test_no_quarantine_is_no_sample(tmp_path):
    assert sample_quarantine(tmp_path) == []
    assert "no row was dropped" in page(*classification(), quarantine=[])


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.99999, "over 99.9 %"), (1e-9, "under 0.0001 %"), (0.1234, "12.3 %"), (0.0005, "0.05 %")],
)
def test_a_share_never_looks_like_none_or_all_if_it_is_not(share, text):
    assert percent(share).replace("\u00a0", " ") == text
