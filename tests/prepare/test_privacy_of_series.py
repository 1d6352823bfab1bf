"""Personal data of series and interactions: counted, acted upon before windows and pairs are made, and nowhere left."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from pipeline import config
from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError
from pipeline.schema import prepared
from tests.prepare.conftest import published, rows

KEY = "an unguessable key of more than sixteen bytes"
VARIABLE = "LONGHAUL_TEST_HASH_KEY"
MAIL = "customer-{}@example.org"


@dataclass(frozen=True)
class Case:
    """Sections of a recipe whose `who` are mail addresses, and where they stand."""

    header: str
    lines: list[str]
    sections: dict = field(default_factory=dict)


def series() -> Case:
    lines = [
        f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z,{MAIL.format(who)},{who * 1000 + hour}"
        for who in range(3)
        for hour in range(96)
    ]
    columns = {
        "when": {"kind": "time", "role": "meta"},
        "who": {"kind": "category", "role": "meta"},
        "sold": {"kind": "number", "role": "label"},
    }
    windows = {"time": "when", "series": ["who"], "period_s": 3600, "history": 8, "horizon": 2}
    split = {"by": "time", "column": "when", "validation_from": "2024-01-03", "test_from": "2024-01-04"}
    return Case(
        "when,who,sold",
        lines,
        {"task": "regression", "columns": columns, "windows": windows, "split": split, "model": {"name": "linear_forecast"}},
    )


def interactions() -> Case:
    lines = [f"{MAIL.format(who)},i{(who * 3 + place) % 40},2024-01-{1 + place:02d}" for who in range(30) for place in range(8)]
    columns = {
        "who": {"kind": "category"},
        "item": {"kind": "category"},
        "when": {"kind": "time", "role": "meta"},
    }
    taken = {"user": "who", "item": "item", "time": "when"}
    return Case(
        "who,item,when",
        lines,
        {"columns": columns, "interactions": taken, "split": {"by": "user_time"}, "model": {"name": "two_tower"}},
    )


CASES = pytest.mark.parametrize("case", [series(), interactions()], ids=["windows", "interactions"])


def recipe_of(folder: Path, case: Case, privacy: dict) -> Recipe:
    (folder / "raw.csv").write_text("\n".join([case.header, *case.lines]) + "\n")
    document = {"name": "people", "source": {"format": "csv", "path": str(folder / "raw.csv")}, **case.sections, "privacy": privacy}
    document["clean"] = {"max_dropped": 0.5}
    path = folder / "people.yaml"
    path.write_text(yaml.safe_dump({**document, "register": {"name": "people"}}, sort_keys=False))
    return config.load(path)


def everything(root: Path) -> bytes:
    """The content of every file of a run; Parquet as it reads."""
    found = b""
    for path in (path for path in root.rglob("*") if path.is_file()):
        found += gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return found


@pytest.mark.spark
@CASES
def test_people_are_hashed_before_anything_of_them_is_written(prepare, tmp_path, monkeypatch, case):
    monkeypatch.setenv(VARIABLE, KEY)
    outcome = prepare(recipe_of(tmp_path, case, {"columns": {"who": "hash"}, "key_from": VARIABLE}))
    facts = prepared(outcome.manifest)
    assert facts.privacy is not None and [(one.column, one.kind, one.count) for one in facts.privacy.found] == [
        ("who", "mail", len(case.lines))
    ]
    assert facts.accounting.rows_out == len(case.lines)
    names = [name for split in ("train", "validation", "test") for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()]
    assert names and not any("customer" in name for name in names)
    assert b"customer-" not in everything(tmp_path / "runs") and KEY.encode() not in everything(tmp_path / "runs")


@pytest.mark.spark
@CASES
def test_what_is_found_fails_the_run_where_the_recipe_says_so(prepare, tmp_path, case):
    with pytest.raises(DataError, match=f"who: {len(case.lines)} mail"):
        prepare(recipe_of(tmp_path, case, {"columns": {"who": "fail"}}))
    assert not published(tmp_path / "runs")


@CASES
def test_what_places_rows_may_not_be_taken_away_and_pairs_and_windows_are_no_people(tmp_path, case):
    with pytest.raises(ConfigError, match="'who': drop would take away what rows are put in place by"):
        recipe_of(tmp_path, case, {"columns": {"who": "drop"}})
    with pytest.raises(ConfigError, match="anonymity counts rows of people"):
        recipe_of(tmp_path, case, {"anonymity": {"columns": ["who"]}})
