"""A column with role: weight is the weight of prepared rows, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError
from tests.prepare.conftest import rows, write_csv

COLUMNS = {"x": {"kind": "number"}, "w": {"kind": "number", "role": "weight"}, "label": {"kind": "category", "role": "label"}}


@pytest.mark.spark
def test_rows_and_their_copies_have_the_weight_and_the_tensor_does_not(prepare, table_recipe, tmp_path):
    lines = [f"{number / 7:.6f},{number % 5 / 2},{'ab'[number % 2]}" for number in range(80)]
    lines += ["1.5,-1,a", "2.5,,b"]
    source = write_csv(tmp_path / "rows.csv", lines, "x,w,label")
    augment = {"copies": 1, "operations": [{"jitter": {"std": 0.1}}]}
    outcome = prepare(table_recipe(source, columns=COLUMNS, augment=augment, clean={"max_dropped": 0.1}))
    assert outcome.manifest.facts["features"] == ["x"]
    train = rows(outcome, "data/train")
    weights = dict(zip(train["sample_id"].to_pylist(), train["weight"].to_pylist(), strict=True))
    assert all(weight == weights[name.partition("#")[0]] for name, weight in weights.items()) and len(set(weights.values())) == 5
    everything = np.concatenate([rows(outcome, f"data/{split}")["weight"].to_numpy() for split in ("validation", "test")])
    assert set(everything.tolist()) <= {0.0, 0.5, 1.0, 1.5, 2.0}
    reasons = rows(outcome, "quarantine")["reason"].to_pylist()
    assert sorted(reasons) == ["w: the weight is missing", "w: the weight is negative"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({**COLUMNS, "v": COLUMNS["w"]}, "expected 0 or 1 column with role: weight"),
        ({**COLUMNS, "w": {"kind": "category", "role": "weight"}}, "role: weight of a classification expects kind: number"),
    ],
)
def test_two_weights_or_one_that_is_no_number_are_refused(table_recipe, tmp_path, columns, message):
    source = write_csv(tmp_path / "rows.csv", ["1,1,a"], "x,w,label")
    with pytest.raises(ConfigError, match=message):
        table_recipe(source, columns=columns)
