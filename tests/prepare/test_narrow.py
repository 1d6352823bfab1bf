"""Which columns the scan reads that rules take their statistics from, and that its bounds are those of the rows that it sees."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from pipeline.prepare import fitted
from pipeline.prepare.narrow import narrowed
from tests.prepare.conftest import rows
from tests.prepare.frames import make_recipe

CLIP = {"clip_outliers": {"columns": ["x"], "by": "quantiles", "quantiles": [0.1, 0.9]}}
COLUMNS = {
    "id": {"kind": "category", "role": "key"},
    "x": {"kind": "number"},
    "other": {"kind": "number"},
    "town": {"kind": "category"},
    "label": {"kind": "category", "role": "label"},
}


def wanted(*rules, columns=None, **sections):
    """The columns that are read for the last rule's statistics; None for all."""
    recipe = make_recipe(columns or COLUMNS, clean={"rules": list(rules)}, **sections)
    few = narrowed(recipe, recipe.clean.rules)
    return None if few is None else {name for name, column in few.columns.items() if column.role != "ignore"}


def test_a_scan_for_statistics_reads_what_decides_a_rows_split_and_what_rules_look_at():
    assert wanted(CLIP) == {"id", "x", "label"}
    assert wanted({"drop_nulls": ["town"]}, CLIP) == {"id", "x", "label", "town"}
    strict = {**COLUMNS, "other": {"kind": "number", "expect": {"min": 0}}}
    assert wanted(CLIP, columns=strict) == {"id", "x", "label", "other"}
    assert wanted(CLIP, split={"by": "stratified", "column": "town"}) == {"id", "x", "label", "town"}


@pytest.mark.parametrize(
    ("rules", "sections"),
    [
        (["drop_duplicates", CLIP], {}),
        (["drop_near_duplicates", CLIP], {}),
        ([CLIP], {"columns": {name: column for name, column in COLUMNS.items() if name != "id"}}),
        ([CLIP], {"privacy": {"columns": {"town": "mask"}}}),
        ([CLIP], {"columns": {name: COLUMNS[name] for name in ("id", "x", "label")}}),
    ],
    ids=["whole rows are compared", "nearly", "the content decides the split", "texts are changed when read", "there are no others"],
)
def test_where_every_column_counts_the_scan_is_not_narrowed(rules, sections):
    assert wanted(*rules, **sections) is None


@pytest.mark.spark
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_bounds_are_those_of_train_rows_that_the_rules_columns_let_through(prepare, table_recipe, tmp_path, monkeypatch, ending):
    """A row that only another column makes unreadable counts for the bounds, and is in quarantine."""
    random = np.random.default_rng(3)
    table = pa.table(
        {
            "id": [f"k{index}" for index in range(900)],
            "x": pa.array(random.normal(size=900), mask=random.random(900) < 0.1),
            "other": np.where(np.arange(900) % 10 == 0, np.inf, 1.0),
            "town": [("Rome", "Oslo")[index % 2] for index in range(900)],
            "label": [("a", "b")[index % 3 == 0] for index in range(900)],
        }
    )
    source = tmp_path / f"raw.{ending}"
    pq.write_table(table, source) if ending == "parquet" else pc.write_csv(table, source)
    plans, fit_columns = [], fitted.sketch_columns

    def seen(narrow, kinds):
        plans.append(narrow._sc._jvm.PythonSQLUtils.explainString(narrow._jdf.queryExecution(), "formatted"))
        return fit_columns(narrow, kinds)

    monkeypatch.setattr(fitted, "sketch_columns", seen)
    sections = {
        "columns": COLUMNS,
        "clean": {"max_dropped": 0.2, "rules": [CLIP]},
        "audit": {"max_shared_content": 1},
    }
    outcome = prepare(table_recipe(source, **sections))
    lost = rows(outcome, "quarantine")["key"].to_pylist()
    assert lost and sorted(lost) == sorted(f"k{index}" for index in range(0, 900, 10))
    by_id = dict(zip(table["id"].to_pylist(), table["x"].to_pylist(), strict=True))
    kept = [by_id[name] for name in rows(outcome, "data/train")["sample_id"].to_pylist() if by_id[name] is not None]
    facts = outcome.manifest.facts["statistics"]["x"]
    assert [np.mean(np.array(kept) < facts["min"]), np.mean(np.array(kept) > facts["max"])] == pytest.approx([0.1, 0.1], abs=0.03)
    assert len(plans) == 1 and ("other" in plans[0]) == (ending == "csv")
