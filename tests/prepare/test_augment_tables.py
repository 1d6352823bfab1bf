"""Copies of rows and of windows: the same bytes for the same row, labels that stay right, and nothing but what an operation may change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.augment import augment, series, tables
from pipeline.prepare.augment.series import Sample
from pipeline.schema import prepared
from pipeline.sections.augment import Augment
from tests.prepare.conftest import features, rows, write_csv

PARTS = tables.Parts(numbers=[0, 1], blocks=[(2, 4)])  # two numbers, one category of two places


def options(*operations, copies=2, seed=0) -> Augment:
    return Augment.model_validate({"copies": copies, "operations": tuple(operations), "seed": seed})


def table(num_rows: int, *, regression: bool = False) -> tuple[tables.Rows, list[str]]:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(num_rows, 4)).astype(np.float32)
    values[:, 2:] = np.eye(2, dtype=np.float32)[rng.integers(0, 2, num_rows)]
    label = rng.normal(size=num_rows).astype(np.float32) if regression else rng.integers(0, 3, num_rows)
    return tables.Rows(values, label), [f"r{place}" for place in range(num_rows)]


@pytest.mark.parametrize("regression", [False, True], ids=["classes", "numbers"])
def test_a_copy_by_smote_lies_between_a_row_and_one_of_its_nearest_of_the_same_class(regression):
    original, names = table(40, regression=regression)
    made, _, copied, _ = tables.with_copies(original, names, PARTS, options({"smote": {"neighbours": 3}}, copies=1))
    assert copied[:2] == ["r0", "r0#1"]
    np.testing.assert_array_equal(made.features[::2], original.features)
    for row in range(40):
        mine, copy = original.features[row], made.features[2 * row + 1]
        others = np.arange(40) if regression else np.flatnonzero(original.label == original.label[row])
        others = others[others != row]
        near = others[np.argsort(np.linalg.norm(original.features[others] - mine, axis=1), kind="stable")[:3]]
        fits = []
        for other in near:
            theirs = original.features[other]
            share = float((copy[0] - mine[0]) / (theirs[0] - mine[0]))
            between = mine[:2] + share * (theirs[:2] - mine[:2])
            label = original.label[row] + share * (original.label[other] - original.label[row]) if regression else original.label[row]
            whole = theirs[2:] if share > 0.5 else mine[2:]
            is_right = -1e-4 <= share <= 1 + 1e-4 and np.allclose(copy[:2], between, atol=1e-4) and np.array_equal(copy[2:], whole)
            fits.append(is_right and np.isclose(made.label[2 * row + 1], label, atol=1e-3))
        assert any(fits)


def test_a_row_that_is_alone_in_its_class_stays_as_it_is():
    values = np.arange(8, dtype=np.float32).reshape(2, 4)
    made, *_ = tables.with_copies(tables.Rows(values, np.asarray([0, 1])), ["a", "b"], PARTS, options({"smote": {}}, copies=1))
    np.testing.assert_array_equal(made.features[0::2], made.features[1::2])


def test_noise_is_on_numbers_alone_and_depends_on_the_rows_name_and_the_seed():
    original, names = table(6)
    noisy = {"jitter": {"std": 0.1}}
    made, *_ = tables.with_copies(original, names, PARTS, options(noisy))
    again, *_ = tables.with_copies(original, names, PARTS, options(noisy))
    other, *_ = tables.with_copies(original, names, PARTS, options(noisy, seed=1))
    assert made.features.tobytes() == again.features.tobytes() != other.features.tobytes()
    np.testing.assert_array_equal(made.features[1::3, 2:], original.features[:, 2:])
    assert (made.features[1::3, :2] != original.features[:, :2]).all() and (made.features[1::3] != made.features[2::3]).any()
    np.testing.assert_array_equal(made.label, np.repeat(original.label, 3))


def sample() -> Sample:
    rng = np.random.default_rng(2)
    return Sample(rng.normal(size=(10, 3)).astype(np.float32), rng.normal(size=(4, 1)).astype(np.float32))


def changed(operation: dict, *, name: str = "north@t", copy: int = 1) -> Sample:
    return augment(sample(), "window", options(operation).operations, seed=0, sample_id=name, copy=copy)


def test_a_window_that_grows_takes_its_label_along():
    grown = changed({"magnify": {"std": 0.3}})
    factors = grown.past[0] / sample().past[0]
    np.testing.assert_allclose(grown.past, sample().past * factors, rtol=1e-5)
    np.testing.assert_allclose(grown.label, sample().label * factors[0], rtol=1e-5)
    assert factors[0] > 0 and len(set(factors.tolist())) == 3


def test_noise_on_a_window_leaves_its_label():
    noisy = changed({"jitter": {"std": 0.2}})
    np.testing.assert_array_equal(noisy.label, sample().label)
    assert 0.05 < (noisy.past - sample().past).std() < 0.5


@given(st.text(min_size=1, max_size=8), st.integers(1, 5), st.floats(0.1, 0.9))
def test_a_sliced_window_keeps_its_latest_part_and_holds_what_was_before(name, copy, share):
    sliced = changed({"window_slice": {"share": share}}, name=name, copy=copy)
    same = (sliced.past == sample().past).all(axis=1)
    kept = int(same[::-1].argmin()) if not same.all() else len(same)
    assert kept >= max(1, round(10 * share) - 1)
    assert (sliced.past[: 10 - kept] == sliced.past[10 - kept]).all()
    np.testing.assert_array_equal(sliced.label, sample().label)


def test_every_operation_of_windows_and_tables_has_a_function():
    assert set(series.OPERATIONS) == {"jitter", "magnify", "window_slice"} and set(tables.OPERATIONS) == {"jitter", "smote"}


@pytest.mark.spark
def test_copies_of_a_table_are_of_train_rows_alone_and_keep_their_class(prepare, table_recipe, tmp_path):
    lines = [f"{10 * (number % 2) + number / 100:.4f},{'even' if number % 2 == 0 else 'odd'}" for number in range(120)]
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", lines), augment={"copies": 2, "operations": [{"smote": {"neighbours": 3}}]})
    outcome = prepare(recipe)
    facts = prepared(outcome.manifest)
    assert facts.splits["train"].rows == 3 * facts.splits["train"].sources
    assert facts.splits["validation"].rows == facts.splits["validation"].sources
    train = rows(outcome, "data/train")
    values, labels = features(train)[:, 0], train["label"].to_numpy()
    centres = [values[labels == label].mean() for label in (0, 1)]
    assert facts.classes == ("even", "odd") and centres[0] < centres[1]
    assert all(abs(value - centres[label]) < abs(value - centres[1 - label]) for value, label in zip(values, labels, strict=True))
    names = train["sample_id"].to_pylist()
    assert all(name == f"{names[place // 3 * 3]}{f'#{place % 3}' if place % 3 else ''}" for place, name in enumerate(names))
