"""P5's input and its check: the right work passes, and each kind of wrong work does not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench import CheckFailed
from benchmarks.p5 import check, data, work
from benchmarks.p5.produced import Produced, place_of, unpack
from pipeline import config

ROWS = 4_000


@pytest.fixture(scope="module")
def raw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "PART_ROWS", 3_000)
        return data.make(tmp_path_factory.mktemp("p5"), ROWS, lambda line: None)


def test_the_same_rows_are_made_again(tmp_path, monkeypatch, raw_folder):
    monkeypatch.setattr(data, "PART_ROWS", 3_000)
    again = data.make(tmp_path, ROWS, lambda line: None)
    assert pq.read_table(again).equals(pq.read_table(raw_folder))


def test_fewer_rows_are_the_first_ones_and_nothing_is_made_twice(monkeypatch, raw_folder):
    monkeypatch.setattr(data, "PART_ROWS", 3_000)
    said: list[str] = []
    fewer = data.make(raw_folder.parent, 3_500, said.append)
    assert pq.read_table(fewer).equals(pq.read_table(raw_folder).slice(0, 3_500))
    assert data.make(raw_folder.parent, ROWS, said.append) == raw_folder
    assert not said


def test_the_input_has_what_the_work_is_about(raw_folder):
    table = pq.read_table(raw_folder).to_pandas()
    assert table.shape == (ROWS, 32)
    assert table["id"].tolist() == list(range(ROWS))
    assert 0.015 < table["x7"].isna().mean() < 0.025
    assert (table["x0"].abs() > work.MAX_X0).any()
    assert set(table["label"].dropna()) == set(work.CLASSES)
    assert table["label"].isna().any()
    assert table["c0"].nunique() == 50


def test_the_recipe_asks_for_the_same_work():
    recipe = config.load(Path(check.__file__).parent / "recipe.yaml", source_exists=False)
    assert tuple(recipe.names("number")) == work.NUMBERS
    assert recipe.label == "label"
    keep, clip = recipe.clean.rules
    assert (keep.keep_range.column, keep.keep_range.min, keep.keep_range.max) == ("x0", -work.MAX_X0, work.MAX_X0)
    assert tuple(clip.clip_outliers.columns) == work.CLIPPED
    assert tuple(clip.clip_outliers.quantiles) == work.CLIP_SHARES
    assert recipe.encode["c1"].buckets == work.BUCKETS


def right_work(raw: check.Raw) -> Produced:
    """P5's work in numpy, with a split by a shuffled id."""
    order = np.random.default_rng(1).permutation(len(raw.is_kept))
    ids = order[raw.is_kept[order]]
    splits = np.digitize(np.arange(len(ids)) / len(ids), [0.8, 0.9]).astype(np.int8)
    numbers, statistics = {}, {}
    for name in check.CHECKED:
        values = raw.numbers[name].copy()
        if name in work.CLIPPED:
            values = np.clip(values, *np.nanquantile(values[ids[splits == 0]], work.CLIP_SHARES))
        statistics[name] = number_facts(values[ids[splits == 0]])
        filled = np.where(np.isnan(values), statistics[name]["mean"], values)[ids]
        numbers[name] = ((filled - statistics[name]["mean"]) / statistics[name]["std"]).astype(np.float32)
    places = {}
    for name in work.CATEGORIES:
        codes = raw.codes[name]
        statistics[name] = category_facts(raw.values[name], codes[ids[splits == 0]])
        encoded = np.where(codes < 0, 50, codes) if name == "c0" else codes % work.BUCKETS
        places[name] = encoded[ids].astype(np.int64)
    return Produced(ids, raw.codes["label"][ids].astype(np.int64), splits, numbers, places, statistics, {}, {})


def number_facts(train: np.ndarray) -> dict[str, Any]:
    values = train[~np.isnan(train)]
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, work.edges(low, high))
    moments = {"min": low, "max": high, "mean": float(values.mean()), "std": float(values.std())}
    quantiles = [float(value) for value in np.quantile(values, work.QUANTILES)]
    shape = {"distinct": len(np.unique(values)), "quantiles": quantiles, "edges": work.edges(low, high), "counts": counts.tolist()}
    return {"count": len(values), "nulls": int(np.isnan(train).sum()), **moments, **shape}


def category_facts(values: list[str], train: np.ndarray) -> dict[str, Any]:
    counts = np.bincount(train[train >= 0], minlength=len(values))
    top = [[values[code], int(counts[code])] for code in np.argsort(-counts)[: work.TOP]]
    return {"count": int(counts.sum()), "nulls": int((train < 0).sum()), "distinct": int((counts > 0).sum()), "top": top}


def problems_of(raw: check.Raw, produced: Produced) -> list[str]:
    problems = check.Problems()
    check.check_all(raw, produced, problems)
    return problems.found


@pytest.fixture(scope="module")
def raw(raw_folder: Path) -> check.Raw:
    return check.Raw(raw_folder, ROWS)


def test_the_right_work_passes(raw):
    assert problems_of(raw, right_work(raw)) == []


def lose_a_row(made: Produced) -> Produced:
    numbers = {name: column[1:] for name, column in made.numbers.items()}
    places = {name: column[1:] for name, column in made.places.items()}
    return replace(made, ids=made.ids[1:], labels=made.labels[1:], splits=made.splits[1:], numbers=numbers, places=places)


def double_a_row(made: Produced) -> Produced:
    return replace(made, ids=np.concatenate([made.ids[:-1], made.ids[:1]]))


def change_a_label(made: Produced) -> Produced:
    return replace(made, labels=np.concatenate([(made.labels[:1] + 1) % 3, made.labels[1:]]))


def put_all_in_train(made: Produced) -> Produced:
    return replace(made, splits=np.zeros_like(made.splits))


def change_a_feature(made: Produced) -> Produced:
    return replace(made, numbers={**made.numbers, "x5": made.numbers["x5"] + np.float32(0.001)})


def order_towns_otherwise(made: Produced) -> Produced:
    return replace(made, places={**made.places, "c0": 50 - made.places["c0"]})


def hash_one_value_twice(made: Produced) -> Produced:
    return replace(made, places={**made.places, "c1": np.arange(len(made.ids)) % work.BUCKETS})


def move_a_bin(made: Produced) -> Produced:
    counts = made.statistics["x5"]["counts"]
    return with_facts("x5", counts=[*counts[1:], counts[0]])(made)


def with_facts(name: str, **facts: Any):
    def change(made: Produced) -> Produced:
        return replace(made, statistics={**made.statistics, name: {**made.statistics[name], **facts}})

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose_a_row, "1 rows are lost"),
        (double_a_row, "more than once"),
        (change_a_label, "another label"),
        (put_all_in_train, "share of train"),
        (change_a_feature, "x5: .* features differ"),
        (order_towns_otherwise, "c0: values not in the place of their order"),
        (hash_one_value_twice, "c1: equal values are in different places"),
        (with_facts("x5", nulls=0), "x5: nulls"),
        (with_facts("x5", mean=0.0), "x5: mean"),
        (with_facts("x16", quantiles=[0.0] * 7), "x16: 0.0 is not the 0.01 quantile"),
        (with_facts("x16", quantiles=[]), "x16: quantiles"),
        (with_facts("x27", counts=[1] * 40), "x27: the histogram holds 40"),
        (with_facts("x5", counts=[ROWS * 100, *[0] * 39]), "x5: the histogram holds"),
        (move_a_bin, "x5: the histogram has other values below"),
        (with_facts("c0", top=[["c0-0049", 1]] * 10), "c0: top value c0-0049"),
        (with_facts("c1", distinct=10), "c1: distinct"),
    ],
)
def test_wrong_work_is_told(raw, change, told):
    found = problems_of(raw, change(right_work(raw)))
    assert found
    assert any(re.search(told, line) for line in found), found


def test_sides_with_other_rows_do_not_agree():
    whole = {"rows": 3, "labels": {"no": 3}, "x5_mean": 1.0, "x5_std": 1.0}
    check.agree({"a": whole, "b": {**whole, "x5_mean": 1.0 + 1e-9}})
    with pytest.raises(CheckFailed, match="rows: a has 3, b has 2"):
        check.agree({"a": whole, "b": {**whole, "rows": 2}})
    with pytest.raises(CheckFailed, match="x5_mean"):
        check.agree({"a": whole, "b": {**whole, "x5_mean": 1.001}})


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200), st.sampled_from([0.001, 0.05, 0.5, 0.99]))
def test_an_exact_quantile_is_one(values, share):
    ordered = np.sort(np.asarray(values))
    assert check.is_quantile(ordered, share, float(np.quantile(ordered, share)))


@pytest.mark.parametrize(("value", "holds"), [(500.0, True), (500.9, True), (502.5, True), (510.0, False), (490.0, False)])
def test_a_quantile_may_be_off_by_a_little_in_value_or_rank(value, holds):
    assert check.is_quantile(np.arange(1000.0), 0.5, value) is holds


def test_packed_rows_are_read_back_from_a_slice_of_a_column():
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    column = pa.chunked_array([pa.array([row.tobytes() for row in vectors], pa.binary()).slice(1), pa.array([], pa.binary())])
    assert np.array_equal(unpack(column, 3), vectors[1:])
    with pytest.raises(CheckFailed, match="expected vectors of 2"):
        unpack(column, 2)


def test_a_vector_that_is_not_one_hot_has_no_place():
    vectors = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0], [0.5, 0.5, 0]], np.float32)
    assert place_of(vectors).tolist() == [1, -1, -1, -1]
