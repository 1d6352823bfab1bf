"""The recipes of real tables: what prepare says of them is counted here again, from the source, with nothing but the csv module."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.console import Console
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.scaling import unscale
from pipeline.schema import SPLITS, Prepared, prepared
from pipeline.stage import Outcome, Request
from tests.conftest import PROJECT
from tests.prepare.conftest import features, rows

pytestmark = pytest.mark.spark

DATA = Path(os.environ.get("LONGHAUL_TEST_DATA", PROJECT.parent / "shared" / "data"))
SOURCES = {"census": "census/adult.csv", "taxi": "taxi/chicago_taxi.csv", "etth1": "forecast/ETTh1.csv"}


@dataclass(frozen=True)
class Real:
    """A real table: its raw rows as text, and what prepare made of them."""

    raw: list[dict[str, str]]
    outcome: Outcome

    @property
    def facts(self) -> Prepared:
        return prepared(self.outcome.manifest)


@pytest.fixture(scope="module")
def real(spark, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Real]:
    """Prepares a recipe of conf/ once for all tests; skips where its data is not there."""
    known: dict[str, Real] = {}

    def get(name: str) -> Real:
        source = DATA / SOURCES[name]
        if not source.exists():
            pytest.skip(f"{source} is not here; LONGHAUL_TEST_DATA names the folder of data sets")
        if name not in known:
            recipe = config.load(PROJECT / "conf" / f"{name}.yaml", [f"source.path={source}"])
            outcome = job.run(Request(recipe, Run(tmp_path_factory.mktemp(name), name, "manual-0"), Console(None)), spark)
            with source.open(newline="") as file:
                known[name] = Real(list(csv.DictReader(file, delimiter=recipe.source.separator)), outcome)
        return known[name]

    return get


@pytest.mark.parametrize("name", SOURCES)
def test_every_raw_row_is_kept_or_in_quarantine(real, name):
    table = real(name)
    accounting = table.facts.accounting
    kept = sum(rows(table.outcome, f"data/{split}").num_rows for split in SPLITS)
    assert accounting.rows_in == len(table.raw)
    assert accounting.rows_out == kept
    assert len(table.raw) - kept == sum(accounting.dropped.values()) == rows(table.outcome, "quarantine").num_rows


def test_census_keeps_every_person_with_the_label_shares_exact_in_each_split(real):
    census = real("census")
    facts, labels = census.facts, Counter(row["salary-class"] for row in census.raw)
    assert facts.accounting.rows_out == 30162 and labels == {"<=50K": 22654, ">50K": 7508}
    for name, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
        for label, count in labels.items():
            assert abs(facts.splits[name].label_counts[label] - share * count) <= 2, (name, label)
    assert set(facts.accounting.nulls.values()) == {0}
    assert facts.statistics["age"].count == facts.splits["train"].rows


def test_census_keeps_sex_and_race_beside_the_inputs_and_not_among_them(real):
    census = real("census")
    assert census.facts.slices == ("sex", "race")
    assert not [name for name in census.facts.features if name.startswith(("sex", "race"))]
    for column in ("sex", "race"):
        kept = Counter(value for split in SPLITS for value in rows(census.outcome, f"data/{split}")[column].to_pylist())
        assert kept == Counter(row[column] for row in census.raw)


def test_taxi_quarantines_what_its_rules_say_and_counts_what_is_missing(real):
    taxi = real("taxi")
    accounting = taxi.facts.accounting
    without = [row for row in taxi.raw if not row["trip_seconds"] or not row["pickup_community_area"]]
    dropped_ids = set(map(id, without))
    wrong_fare = [row for row in taxi.raw if id(row) not in dropped_ids and not 2 <= float(row["fare"]) <= 200]
    assert accounting.dropped == {
        "unreadable": 0,
        "drop_nulls": len(without),
        "keep_range": len(wrong_fare),
        "drop_duplicates": 0,
        "split_gap": taxi_in_gap(taxi.raw),
    }
    gone = dropped_ids | set(map(id, wrong_fare))
    kept = [row for row in taxi.raw if id(row) not in gone and not in_gap(float(row["trip_start_timestamp"]))]
    assert accounting.nulls["dropoff_community_area"] == sum(not row["dropoff_community_area"] for row in kept) > 0
    assert accounting.nulls["company"] == accounting.nulls["dropoff_latitude"] == 0
    assert accounting.changed["fill_nulls 1"] == sum(not row["company"] for row in kept) > 5000
    assert accounting.changed["fill_nulls 2"] == 2 * sum(not row["dropoff_latitude"] for row in kept) > 0


def taxi_in_gap(raw: list[dict[str, str]]) -> int:
    return sum(in_gap(float(row["trip_start_timestamp"])) for row in raw)


def in_gap(stamp: float) -> bool:
    boundaries = [datetime(2015, 9, 1, tzinfo=UTC).timestamp(), datetime(2016, 2, 1, tzinfo=UTC).timestamp()]
    return any(boundary - 3600 <= stamp < boundary for boundary in boundaries)


def test_taxi_fares_come_back_in_dollars(real):
    taxi = real("taxi")
    fares = Counter(round(float(row["fare"]), 2) for row in taxi.raw)
    labels = np.concatenate([rows(taxi.outcome, f"data/{split}")["label"].to_numpy() for split in SPLITS])
    dollars = unscale(labels.astype(np.float64), taxi.facts.target)
    assert not Counter(np.round(dollars, 2).tolist()) - fares


def test_etth1_is_cut_in_time_with_a_day_between(real):
    etth1 = real("etth1")
    hours = [datetime.fromisoformat(row["date"]) for row in etth1.raw]
    validation, test = datetime(2017, 11, 1), datetime(2018, 2, 1)
    gap = sum(any(0 < (boundary - hour).total_seconds() <= 86400 for boundary in (validation, test)) for hour in hours)
    expected = {
        "train": sum((validation - hour).total_seconds() > 86400 for hour in hours),
        "validation": sum(hour >= validation and (test - hour).total_seconds() > 86400 for hour in hours),
        "test": sum(hour >= test for hour in hours),
    }
    facts = etth1.facts
    assert gap == 48 and facts.accounting.dropped == {"unreadable": 0, "drop_duplicates": 0, "split_gap": 48}
    assert {name: facts.splits[name].rows for name in SPLITS} == expected
    assert [leak.check for leak in facts.audit if leak.check == "future" and leak.holds] == ["future"]


def test_etth1_statistics_are_those_of_the_hours_before_the_first_gap(real):
    etth1 = real("etth1")
    before = [row for row in etth1.raw if (datetime(2017, 11, 1) - datetime.fromisoformat(row["date"])).total_seconds() > 86400]
    for name in ("HUFL", "LULL", "OT"):
        values, found = np.array([float(row[name]) for row in before]), etth1.facts.statistics[name]
        assert found.count == len(values) and found.min == values.min() and found.max == values.max()
        assert math.isclose(found.mean, values.mean(), rel_tol=1e-12) and math.isclose(found.std, values.std(), rel_tol=1e-12)
        exact = np.quantile(values, 0.25, method="inverted_cdf")
        assert abs(found.quantiles["0.25"] - exact) <= 0.004 * abs(exact)
    scaled = features(rows(etth1.outcome, "data/train"))[:, etth1.facts.features.index("LULL")]
    assert 0 <= scaled.min() and scaled.max() <= 1 and abs(scaled.mean() - 0.5) < 0.05


@pytest.mark.parametrize("name", SOURCES)
def test_files_are_even_and_hold_one_row_group(real, name):
    outcome = real(name).outcome
    for split in SPLITS:
        files = [entry for entry in outcome.manifest.files if entry.path.startswith(f"data/{split}/")]
        counts = [pq.ParquetFile(outcome.found.files / entry.path).metadata.num_rows for entry in files]
        assert max(counts) - min(counts) <= 1 and counts == [entry.rows for entry in files]
