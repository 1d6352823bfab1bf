"""Mixup of written copies: both labels with weights that add up to one copy, the same each time, and refused where it means nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.prepare.augment import augment, content, mixing, tables
from pipeline.prepare.kinds import ContentFit
from pipeline.schema import Tensor, prepared
from pipeline.sections.augment import Augment
from tests.prepare.conftest import features, many_rows, rows, write_csv
from tests.prepare.test_images import folder, image_recipe  # noqa: F401 - a fixture

PIXELS = ContentFit(Tensor(name="image", dtype="uint8", shape=(2, 3, 1)))
PARTS = tables.Parts(numbers=[0, 1, 2], blocks=[])
FLIP = {"flip_horizontal": {"share": 1.0}}


def options(*operations: dict, copies: int = 2, seed: int = 0) -> Augment:
    return Augment.model_validate({"copies": copies, "operations": (*operations, {"mixup": {"alpha": 0.4}}), "seed": seed})


def images(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 2, 3, 1), np.uint8)


@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 5))
def test_every_mixture_is_written_with_both_labels_and_weights_that_add_up_to_one(count, copies, seed):
    values, labels, names = images(count), np.arange(count), [f"a{row}" for row in range(count)]
    asked = options(FLIP, copies=copies, seed=seed)
    column = pa.chunked_array([[one.tobytes() for one in values]])
    made = content.with_copies(column, labels, names, [copies] * count, "image", PIXELS, asked)
    assert len(made.names) == len(set(made.names)) == count * (1 + 2 * copies) and made.weights.sum() == pytest.approx(count * (1 + copies))
    found = dict(zip(made.names, zip(made.values.to_pylist(), made.labels, made.weights, strict=True), strict=True))
    for row, name in enumerate(names):
        assert found[name] == (values[row].tobytes(), row, 1.0)
        for copy in range(1, copies + 1):
            (mixed, mine, share), (same, theirs, rest) = found[f"{name}#{copy}"], found[f"{name}#{copy}+"]
            assert mixed == same and mine == row and (theirs != row or count == 1) and share + rest == pytest.approx(1)
            changed = augment(values[row], "image", asked.single_operations, seed=seed, sample_id=name, copy=copy)
            expected = changed * np.float32(share) + values[theirs] * np.float32(rest)
            assert np.abs(np.frombuffer(mixed, np.uint8).reshape(2, 3, 1) - expected).max() <= 0.51


def test_what_is_mixed_follows_from_seed_sample_and_copy_alone():
    names = [f"a{row}" for row in range(50)]
    drawn = [mixing.draw(names, row, copy, options()) for row in range(50) for copy in (1, 2)]
    again = [mixing.draw(names, row, copy, options()) for row in range(50) for copy in (1, 2)]
    assert drawn == again and len({one.share for one in drawn}) == 100
    assert len({one.partner for one in drawn}) > 30 and all(0 <= one.share <= 1 for one in drawn)
    others = [mixing.draw(names, row, copy, options(seed=1)) for row in range(50) for copy in (1, 2)]
    assert all(one != other for one, other in zip(drawn, others, strict=True))


@pytest.mark.parametrize("regression", [False, True], ids=["classes", "numbers"])
def test_rows_of_tables_are_mixed_with_their_labels(regression):
    rng = np.random.default_rng(0)
    labels = rng.normal(size=20).astype(np.float32) if regression else rng.integers(0, 3, 20)
    plain, names = tables.Rows(rng.normal(size=(20, 3)).astype(np.float32), labels), [f"r{row}" for row in range(20)]
    made = tables.with_copies(plain, names, PARTS, options(copies=1))
    for row in range(20):
        drawn = mixing.draw(names, row, 1, options(copies=1))
        places = [place for place, name in enumerate(made.names) if name.startswith(f"r{row}#")]
        mixed = plain.features[row] * drawn.share + plain.features[drawn.partner] * (1 - drawn.share)
        np.testing.assert_allclose(made.rows.features[places], np.tile(mixed, (len(places), 1)), atol=1e-6)
        if regression:
            between = labels[row] * drawn.share + labels[drawn.partner] * (1 - drawn.share)
            assert made.rows.label[places] == pytest.approx([between], abs=1e-6) and made.weight[places] == pytest.approx([1.0])
        else:
            assert made.rows.label[places].tolist() == [labels[row], labels[drawn.partner]]
            assert made.weight[places] == pytest.approx([drawn.share, 1 - drawn.share], abs=1e-6)


@pytest.mark.spark
def test_mixtures_of_images_are_of_train_rows_alone_are_accounted_for_and_the_same_again(prepare, tmp_path, folder):  # noqa: F811
    recipe = image_recipe(tmp_path, folder, augment={"copies": 1, "operations": [FLIP, {"mixup": {"alpha": 1.0}}]})
    outcome = prepare(recipe)
    facts, train = prepared(outcome.manifest), rows(outcome, "data/train")
    sources = facts.splits["train"].sources
    assert facts.splits["train"].rows == 3 * sources == train.num_rows and facts.accounting.augmented == 2 * sources
    assert sum(train["weight"].to_pylist()) == pytest.approx(2 * sources)
    assert all(name.startswith(tuple(facts.classes)) for name in train["sample_id"].to_pylist())
    labels = dict(zip(train["sample_id"].to_pylist(), train["label"].to_pylist(), strict=True))
    assert any(labels[name] != labels[name[:-1]] for name in labels if name.endswith("+"))
    for split in ("validation", "test"):
        assert facts.splits[split].rows == facts.splits[split].sources
        assert set(rows(outcome, f"data/{split}")["weight"].to_pylist()) == {1.0}
    again = prepare(recipe, "manual-1", force=True)
    digests = [{file.path: file.sha256 for file in made.manifest.files if file.path.startswith("data/")} for made in (outcome, again)]
    assert digests[0] == digests[1]


@pytest.mark.spark
def test_a_table_is_mixed_between_its_train_rows(prepare, table_recipe, tmp_path):
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", many_rows()), augment={"copies": 2, "operations": [{"mixup": {"alpha": 0.4}}]})
    outcome = prepare(recipe)
    facts, train = prepared(outcome.manifest), rows(outcome, "data/train")
    assert facts.splits["train"].rows == 5 * facts.splits["train"].sources
    values, is_plain = features(train)[:, 0], np.asarray(["#" not in name for name in train["sample_id"].to_pylist()])
    assert values[is_plain].min() <= values[~is_plain].min() and values[~is_plain].max() <= values[is_plain].max()
    assert sum(train["weight"].to_pylist()) == pytest.approx(3 * facts.splits["train"].sources, rel=1e-5)


def test_mixup_is_refused_where_it_means_nothing(table_recipe, tmp_path: Path):
    with pytest.raises(ValidationError, match="mixup: expected once, as the last of operations"):
        Augment.model_validate({"copies": 1, "operations": ({"mixup": {"alpha": 0.2}}, FLIP)})
    path = write_csv(tmp_path / "raw.csv", ["1,a,even", "2,b,odd"], header="x,town,label")
    columns = {"x": {"kind": "number"}, "town": {"kind": "category"}, "label": {"kind": "category", "role": "label"}}
    with pytest.raises(ConfigError, match="encode town as one_hot, hash or target, or leave mixup out"):
        table_recipe(path, columns=columns, encode={"town": "vocabulary"}, augment={"copies": 1, "operations": [{"mixup": {"alpha": 0.2}}]})
    unlabelled = {"columns": {"x": {"kind": "number"}}, "model": {"name": "autoencoder"}, "register": {"name": "table"}}
    with pytest.raises(ConfigError, match="mixup mixes labels; task: autoencoder has none"):
        table_recipe(path, task="autoencoder", augment={"copies": 1, "operations": [{"mixup": {"alpha": 0.2}}]}, **unlabelled)
