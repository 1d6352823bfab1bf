"""Data without a label to learn: none in the source, or one that is kept for evaluation; known anomalies are left out of training."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline import config
from pipeline.schema import SPLITS, prepared
from tests.prepare.conftest import features, rows, write_csv

pytestmark = pytest.mark.spark

TABLE = {
    "name": "table",
    "task": "autoencoder",
    "columns": {"x": {"kind": "number"}, "kind": {"kind": "category"}},
    "model": {"name": "autoencoder"},
    "register": {"name": "table"},
}
LINES = [f"{number / 7:.6f},{'odd' if number % 10 == 0 else 'normal'}" for number in range(120)]
KNOWN = {**TABLE, "columns": {"x": {"kind": "number"}, "kind": {"kind": "category", "role": "label"}}, "anomalies": {"values": ["odd"]}}


def load(tmp_path, document, source):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**document, "source": source}))
    return config.load(path)


def test_a_table_without_a_label_is_prepared_with_zeros_in_its_place(prepare, tmp_path):
    source = write_csv(tmp_path / "raw.csv", LINES, header="x,kind")
    outcome = prepare(load(tmp_path, TABLE, {"format": "csv", "path": str(source)}))
    facts = prepared(outcome.manifest)
    assert (facts.task, facts.label, facts.classes, facts.splits["train"].label_counts) == ("autoencoder", "", (), {})
    train = rows(outcome, "data/train")
    assert set(train["label"].to_pylist()) == {0}
    assert features(train).shape == (facts.splits["train"].rows, 4)  # x, and the category's two values and its rest: it is a feature here


def test_known_anomalies_are_in_test_alone_and_nothing_is_fitted_on_them(prepare, tmp_path):
    far = [line.replace(line.partition(",")[0], "9999") if line.endswith("odd") else line for line in LINES]
    source = write_csv(tmp_path / "raw.csv", [f"{line},{number},{number}" for number, line in enumerate(far)], header="x,kind,z,id")
    document = {**KNOWN, "columns": {**KNOWN["columns"], "z": {"kind": "number"}, "id": {"kind": "category", "role": "key"}}}
    document["clean"] = {
        "rules": [{"clip_outliers": {"columns": ["x"], "by": "quantiles", "quantiles": [0.0, 1.0]}}]
    }  # fitted by a scan of its own, of few columns
    outcome = prepare(load(tmp_path, document, {"format": "csv", "path": str(source)}))
    facts = prepared(outcome.manifest)
    assert (facts.label, facts.classes) == ("kind", ("normal", "odd"))
    by_split = {split: rows(outcome, f"data/{split}")["label"].to_pylist() for split in SPLITS}
    assert set(by_split["train"]) == set(by_split["validation"]) == {0} and set(by_split["test"]) == {0, 1}
    left_out = facts.accounting.dropped["anomaly"]
    assert left_out + sum(by_split["test"]) == 12 and sum(map(len, by_split.values())) == 120 - left_out
    quarantined = rows(outcome, "quarantine")
    assert set(quarantined["reason"].to_pylist()) == {"kind: odd is of anomalies.values"}
    assert facts.scalers[0].offset < 20  # 9999 is in no mean
    assert features(rows(outcome, "data/test"))[:, 0].max() < 5  # nor is it a bound of the clip
    assert (outcome.found.files / facts.report).read_text().count("kept for evaluation: index of 2 values") == 1


def test_kept_anomalies_stay_where_the_split_puts_them(prepare, tmp_path):
    source = write_csv(tmp_path / "raw.csv", LINES, header="x,kind")
    document = {**KNOWN, "anomalies": {"values": ["odd"], "training": "keep"}}
    facts = prepared(prepare(load(tmp_path, document, {"format": "csv", "path": str(source)})).manifest)
    assert "anomaly" not in facts.accounting.dropped and facts.accounting.rows_out == 120
    assert sum(split.label_counts.get("odd", 0) for split in facts.splits.values()) == 12 and facts.splits["train"].label_counts["odd"]


def test_a_folder_of_images_needs_no_folders_of_labels(prepare, tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.fromarray(generator.integers(0, 255, (4, 4)).astype(np.uint8)).save(tmp_path / "photos" / f"{number:02d}.png")
    document = {
        "name": "photos",
        "task": "gan",
        "columns": {"image": {"kind": "image", "shape": [4, 4, 1]}},
        "model": {"name": "dcgan"},
        "register": {"name": "photos"},
    }
    outcome = prepare(load(tmp_path, document, {"format": "images", "path": str(tmp_path / "photos")}))
    facts = prepared(outcome.manifest)
    assert (facts.task, facts.label, facts.classes) == ("gan", "", ())
    assert sum(split.rows for split in facts.splits.values()) == 40
    assert set(rows(outcome, "data/train")["label"].to_pylist()) == {0}
