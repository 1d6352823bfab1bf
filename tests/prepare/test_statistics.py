"""Statistics of prepared tables: numpy's over the train rows, whatever the partitions; days put together; drift from day to day."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.console import Console
from pipeline.errors import DataError
from pipeline.manifest import sha256_of_file
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.prepare.baseline import STATISTICS
from pipeline.prepare.combine import combine
from pipeline.schema import ColumnStatistics, prepared
from pipeline.stage import Outcome, Request
from tests.prepare.conftest import rows, write_csv

pytestmark = pytest.mark.spark

NUMBERS, TEXTS = ("smooth", "coarse", "same"), ("word", "colour")
COLUMNS = {
    "id": {"kind": "category", "role": "key"},
    **dict.fromkeys(NUMBERS, {"kind": "number"}),
    "word": {"kind": "category"},
    "colour": {"kind": "category"},
    "label": {"kind": "category", "role": "label"},
}
HEADER = ",".join(COLUMNS)
SECTIONS = {"columns": COLUMNS, "encode": {"word": "vocabulary"}, "audit": {"max_shared_content": 1}}
Row = dict[str, Any]


def draw_rows(count: int, seed: int = 0) -> list[Row]:
    """More smooth values and words than a sketch counts, and fewer coarse ones and colours; some of each missing."""
    random = np.random.default_rng(seed)
    return [
        {
            "id": f"k{seed}-{index}",
            "smooth": round(float(random.lognormal(2, 2)) - 5, 6) if index % 11 else None,
            "coarse": float(random.integers(-20, 20)) if index % 13 else None,
            "same": 7.5,
            "word": f"word {int(random.exponential(900))}" if index % 17 else None,
            "colour": ("red", "green", "blue", None)[int(random.geometric(0.4)) % 4],
            "label": "ab"[int(random.random() < 0.3)],
        }
        for index in range(count)
    ]


def write(path: Path, raw: Iterable[Row]) -> Path:
    return write_csv(path, [",".join("" if value is None else str(value) for value in row.values()) for row in raw], HEADER)


def statistics_of(outcome: Outcome) -> dict[str, Any]:
    return json.loads(gzip.decompress((outcome.found.files / STATISTICS).read_bytes()))


def train_rows(outcome: Outcome, raw: list[Row]) -> list[Row]:
    train = set(rows(outcome, "data/train")["sample_id"].to_pylist())
    return [row for row in raw if row["id"] in train]


# Figures


def assert_numbers(found: ColumnStatistics, values: NDArray[np.float64]) -> None:
    known = np.sort(values[~np.isnan(values)])
    exact = len(np.unique(known)) <= 1024
    assert (found.count, found.nulls) == (len(known), int(np.isnan(values).sum()))
    assert (found.min, found.max) == (known[0], known[-1])
    assert found.mean == pytest.approx(math.fsum(known) / len(known), rel=1e-15)
    assert found.std == pytest.approx(known.std(), rel=1e-12)
    for share, value in found.quantiles.items():
        expected = np.quantile(known, float(share), method="inverted_cdf")
        assert value == expected if exact else value == pytest.approx(expected, rel=0.002)
    assert abs(found.distinct - len(np.unique(known))) <= (0 if exact else 0.1 * len(known)) and found.distinct <= len(known)
    assert found.top == (tuple((f"{value:g}", number) for value, number in ranked(known.tolist())) if exact else ())
    edges, counts = np.array(found.histogram.edges), np.array(found.histogram.counts)
    assert counts.sum() == len(known)
    if exact and len(counts) > 1:
        inner = np.clip(known, edges[0], edges[-1])
        assert counts.tolist() == np.histogram(inner, edges)[0].tolist()
    elif len(counts) > 1:
        below = np.concatenate([np.searchsorted(known, edges[1:-1] * (1 + error * np.sign(edges[1:-1]))) for error in (-0.002, 0.002)])
        cumulated = np.cumsum(counts)[:-1]
        low, high = np.sort(below.reshape(2, -1), axis=0)
        assert (low <= cumulated).all() and (cumulated <= high).all()


def ranked(values: list[Any]) -> list[tuple[Any, int]]:
    return sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))[:10]


def assert_texts(found: ColumnStatistics, values: list[str | None]) -> None:
    known = [value for value in values if value is not None]
    counts = Counter(known)
    assert (found.count, found.nulls) == (len(known), len(values) - len(known))
    if len(counts) <= 1024:
        assert found.distinct == len(counts) and found.top == tuple(ranked(known))
    else:
        assert abs(found.distinct - len(counts)) <= 0.1 * len(counts)
        assert len(found.top) == 10 and all(counts[value] == number for value, number in found.top)
    assert found.mean is None and found.histogram is None


def test_figures_are_those_of_numpy_over_the_train_rows_however_the_rows_lie(prepare, table_recipe, tmp_path, monkeypatch):
    raw = draw_rows(6000)
    one = prepare(table_recipe(write(tmp_path / "one.csv", raw), **SECTIONS), "manual-one")
    train = train_rows(one, raw)
    assert 4000 < len(train) < 5500
    statistics = prepared(one.manifest).statistics
    assert list(statistics) == [*NUMBERS, *TEXTS, "label"]
    for name in NUMBERS:
        assert_numbers(statistics[name], np.array([np.nan if row[name] is None else row[name] for row in train]))
    for name in (*TEXTS, "label"):
        assert_texts(statistics[name], [row[name] for row in train])

    for index in range(3):
        write(tmp_path / "many" / f"{index}.csv", raw[::-1][index::3])
    monkeypatch.setattr(job, "MIN_PARTITIONS", 9)
    many = prepare(table_recipe(tmp_path / "many" / "*.csv", **SECTIONS), "manual-many")
    facts, others = prepared(one.manifest), prepared(many.manifest)
    assert (others.statistics, others.scalers, others.encoders) == (facts.statistics, facts.scalers, facts.encoders)
    assert sha256_of_file(many.found.files / STATISTICS) == sha256_of_file(one.found.files / STATISTICS)
    assert {shift.psi for shift in others.drift.shifts} == {0.0}


def test_days_prepared_alone_and_put_together_are_one_run_over_all_days(prepare, table_recipe, tmp_path):
    days = [write(tmp_path / "raw" / f"{day}.csv", draw_rows(2500, seed=day)) for day in (1, 2)]
    alone = [prepare(table_recipe(day, **SECTIONS, drift={"new_categories": "ignore"}), f"manual-{day.stem}") for day in days]
    both = prepare(table_recipe(tmp_path / "raw" / "*.csv", **SECTIONS), "manual-both")
    merged = combine([found.found.folder for found in alone])
    assert merged.columns == prepared(both.manifest).statistics == combine([both.found.folder]).columns
    assert merged.columns["smooth"].count == sum(prepared(found.manifest).statistics["smooth"].count for found in alone)
    assert not {"smooth", "word"} - {name for name, column in merged.columns.items() if column.distinct > 1024}


# Drift


def day_of(tmp_path: Path, name: str, *, moved: float = 0.0, colour: str = "red") -> Path:
    random = np.random.default_rng(len(name))
    lines = [
        f"{name}-{index},{random.normal() + moved:.6f},{colour if index % 2 else 'blue'},{'ab'[index % 3 > 0]}" for index in range(400)
    ]
    return write_csv(tmp_path / f"{name}.csv", lines, "id,x,colour,label")


DAILY = {
    "columns": {**{name: COLUMNS[name] for name in ("id", "colour", "label")}, "x": {"kind": "number"}},
    "audit": {"max_shared_content": 1},
}


def test_a_day_is_compared_with_the_latest_earlier_one_and_warns_or_fails_by_its_limits(spark, table_recipe, tmp_path):
    console = Console(None)

    def run(day: int, source: Path, digest: str = "aaaaaaaa", **drift: Any) -> tuple[str, dict[str, str]] | None:
        place = Run(tmp_path / "runs", "table", f"202601{day:02d}T000000Z-{digest}")
        found = prepared(job.run(Request(table_recipe(source, **DAILY, drift=drift), place, console), spark).manifest).drift
        return found and (found.against, {shift.column: shift.verdict for shift in found.shifts})

    calm = {"x": "ok", "colour": "ok", "label": "ok"}
    assert run(5, day_of(tmp_path, "five")) is None
    moved = day_of(tmp_path, "moved", moved=2.0, colour="pink")
    assert run(7, moved) == ("20260105T000000Z-aaaaaaaa", {"x": "warn", "colour": "warn", "label": "ok"})
    said = " ".join(console.rich.file.getvalue().split())
    assert "x has shifted from 20260105T000000Z-aaaaaaaa: PSI" in said and "new categories 'pink'" in said

    assert run(6, day_of(tmp_path, "six")) == ("20260105T000000Z-aaaaaaaa", calm)  # a backfill
    assert run(6, day_of(tmp_path, "sixth"), "bbbbbbbb") == ("20260105T000000Z-aaaaaaaa", calm)  # the same day is not an earlier one
    assert run(4, day_of(tmp_path, "four")) is None
    with pytest.raises(
        DataError, match=r"2 of 3 columns .* of 20260106T000000Z-\w+:\n(.|\n)*drift.max_psi 0.5(.|\n)*new categories 'pink'"
    ):
        run(7, moved, "cccccccc", max_psi=0.5, new_categories="fail")
    assert not list((tmp_path / "runs").glob("*/*cccccccc/prepare/manifest.json"))
