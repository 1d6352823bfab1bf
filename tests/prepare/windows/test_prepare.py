"""Series through prepare: what is wrong with stamps is quarantined with its reason, and every window is the source's rows, scaled."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import config
from pipeline.config import Recipe
from pipeline.console import Console
from pipeline.errors import ConfigError, DataError
from pipeline.feed.reader import SplitReader
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.scaling import scale, unscale
from pipeline.schema import SPLITS, Prepared, prepared
from pipeline.stage import Outcome, Request
from tests.conftest import PROJECT
from tests.prepare.conftest import rows

pytestmark = pytest.mark.spark

HOURS, HISTORY, HORIZON = 120, 12, 4
SITES = ("north", "south/east")
COLUMNS = {
    "when": {"kind": "time", "cycles": ["day"]},
    "site": {"kind": "category", "role": "meta"},
    "size": {"kind": "category"},
    "load": {"kind": "number", "role": "label"},
    "wind": {"kind": "number"},
    "price": {"kind": "number"},
}


def value(site: int, hour: int) -> tuple[float, float, float]:
    """(load, wind, price) of the made-up series, each told from every other."""
    return 1000 * site + hour + 0.25, hour % 7 + 0.5 * site, 3.0 + (hour * 13 % 24) / 8


def stamp(hour: int) -> str:
    return f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"


def lines(hours: dict[int, set[int]]) -> list[str]:
    """CSV rows of the hours of each site."""
    return [
        ",".join([stamp(hour), SITES[site], "large" if site else "small", *map(str, value(site, hour))])
        for site, known in hours.items()
        for hour in sorted(known)
    ]


def make_recipe(source: Path, **sections: Any) -> Recipe:
    document = {
        "name": "series",
        "task": "regression",
        "source": {"format": "csv", "path": str(source)},
        "columns": COLUMNS,
        "clean": {"max_dropped": 0.2},
        "windows": {
            "time": "when",
            "series": ["site"],
            "period_s": 3600,
            "history": HISTORY,
            "horizon": HORIZON,
            "known": ["price"],
            "static": ["size"],
            "max_holes": 0.5,
        },
        "split": {"by": "time", "column": "when", "validation_from": "2024-01-03", "test_from": "2024-01-04T12:00"},
        "audit": {"max_shared_content": 1},
        "prepare": {"min_files": 2},
        "model": {"name": "rnn"},
        "register": {"name": "series"},
        **sections,
    }
    return Recipe.model_validate_json(json.dumps(document))


def run(spark: Any, root: Path, recipe: Recipe) -> Outcome:
    return job.run(Request(recipe, Run(root, recipe.name, "manual-0"), Console(None)), spark)


@dataclass(frozen=True)
class Made:
    """A prepared file of series with everything wrong in it that stamps can have, and the hours that are usable."""

    outcome: Outcome
    hours: dict[int, set[int]]
    raw: list[str]

    @property
    def facts(self) -> Prepared:
        return prepared(self.outcome.manifest)


def spoilt() -> tuple[list[str], dict[int, set[int]]]:
    """Raw lines in no order, and the hours of each site that can be used."""
    hours = {0: set(range(HOURS)) - {30, 31}, 1: set(range(HOURS)) - {100}}
    raw = lines(hours)
    raw.append(raw[5])  # the same row twice
    raw.append("2024-01-01T10:00:00Z,north,small,1,2,3")  # another row with the stamp of one
    raw.append("2024-01-01T10:20:00Z,north,small,1,2,3")  # between two steps
    raw.append("2024-01-01T10:00:00Z,,small,1,2,3")  # of no series
    raw.append("yesterday,north,small,1,2,3")
    hours[0] -= {10}
    np.random.default_rng(3).shuffle(raw)
    return raw, hours


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("series")
    raw, hours = spoilt()
    (root / "raw.csv").write_text("\n".join(["when,site,size,load,wind,price", *raw]) + "\n")
    return Made(run(spark, root, make_recipe(root / "raw.csv")), hours, raw)


def test_wrong_stamps_are_quarantined_with_their_reason_and_gaps_are_listed(made):
    found = rows(made.outcome, "quarantine").to_pylist()
    assert Counter(row["rule"] for row in found) == {"duplicate_stamp": 3, "irregular_stamp": 1, "unreadable": 2, "gap": 3}
    reasons = {(row["rule"], row["key"]): row["reason"] for row in found}
    assert "2 rows with different values" in reasons["duplicate_stamp", "north@2024-01-01T10:00:00Z"]
    assert "not a whole number of periods" in reasons["irregular_stamp", "north@2024-01-01T10:20:00Z"]
    assert "1 steps are missing" in reasons["gap", "north@2024-01-01T10:00:00Z"]  # where the two rows were
    assert "2 steps are missing" in reasons["gap", "north@2024-01-02T06:00:00Z"]
    assert "1 steps are missing" in reasons["gap", "south%2Feast@2024-01-05T04:00:00Z"]


def test_every_row_is_a_step_or_in_quarantine(made):
    accounting, facts = made.facts.accounting, made.facts.windows
    assert facts is not None
    assert accounting.rows_in == len(made.raw)
    assert accounting.dropped == {"unreadable": 2, "duplicate_stamp": 3, "irregular_stamp": 1}
    assert accounting.rows_out == facts.rows == sum(map(len, made.hours.values()))
    assert facts.gaps == 3
    assert all(leak.holds for leak in made.facts.audit) and {leak.check for leak in made.facts.audit} == {"key", "future"}


def expected_windows(hours: dict[int, set[int]]) -> dict[str, dict[str, tuple[int, int]]]:
    """Of each split, sample id -> (site, first hour), by the definition alone."""
    bounds = {"train": (0, 48), "validation": (48, 84), "test": (84, HOURS)}
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for split, (begin, end) in bounds.items():
        found[split] = {}
        for site, known in hours.items():
            for start in range(begin, end - HISTORY - HORIZON + 1):
                last = start + HISTORY - 1
                if known >= set(range(start, start + HISTORY + HORIZON)):
                    name = SITES[site].replace("/", "%2F")
                    found[split][f"{name}@{stamp(last)}"] = (site, start)
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_the_windows_are_those_of_the_definition_and_hold_the_sources_values(made, split):
    facts, table = made.facts, rows(made.outcome, f"data/{split}")
    wanted = expected_windows(made.hours)[split]
    assert sorted(table["sample_id"].to_pylist()) == sorted(wanted)
    assert facts.features[:3] == ("load", "wind", "price") and facts.features[-1] == "(horizon)"
    assert facts.tensor.shape == (HISTORY + HORIZON, len(facts.features)) and facts.label_shape == (HORIZON,)
    scalers = [facts.windows.targets[0], *(next(item for item in facts.scalers if item.column == name) for name in ("wind", "price"))]
    large = facts.features.index("size=large")
    for name, packed, label in zip(*(table[column].to_pylist() for column in ("sample_id", "window", "label")), strict=True):
        site, start = wanted[name]
        raw = np.asarray([value(site, hour) for hour in range(start, start + HISTORY + HORIZON)])
        tensor = np.frombuffer(packed, np.float32).reshape(facts.tensor.shape)
        true = np.stack([scale(raw[:, place], scaler) for place, scaler in enumerate(scalers)], axis=1).astype(np.float32)
        np.testing.assert_array_equal(tensor[:HISTORY, :3], true[:HISTORY])
        assert not tensor[HISTORY:, :2].any()  # what nobody can know
        np.testing.assert_array_equal(tensor[HISTORY:, 2], true[HISTORY:, 2])  # what everybody does
        np.testing.assert_array_equal(tensor[:, large], float(site))
        np.testing.assert_array_equal(tensor[:, -1], [0.0] * HISTORY + [1.0] * HORIZON)
        hours = np.arange(start, start + HISTORY + HORIZON) % 24
        np.testing.assert_allclose(tensor[:, 3], np.sin(2 * np.pi * hours / 24), atol=1e-6)
        np.testing.assert_array_equal(np.frombuffer(label, np.float32), true[HISTORY:, 0])


def test_statistics_are_of_the_train_steps_each_once(made):
    train = np.asarray([value(site, hour)[0] for site, known in made.hours.items() for hour in known if hour < 48])
    target = made.facts.windows.targets[0]
    assert made.facts.windows.train_steps == len(train)
    assert target.offset == pytest.approx(train.mean(), rel=1e-12)
    assert target.scale == pytest.approx(train.std(), rel=1e-12)


def test_the_feed_gives_a_labels_numbers_as_models_answer_them(made):
    reader = SplitReader.open(made.outcome.found, "test")
    found = np.concatenate([part.label for part in reader.read(range(len(reader.files)))])
    stored = b"".join(rows(made.outcome, "data/test")["label"].to_pylist())
    assert found.shape == (sum(reader.rows_per_file), HORIZON)
    assert found.tobytes() == stored


def test_the_order_of_the_source_does_not_matter(spark, made, tmp_path):
    raw = sorted(made.raw, reverse=True)
    (tmp_path / "raw.csv").write_text("\n".join(["when,site,size,load,wind,price", *raw]) + "\n")
    again = run(spark, tmp_path, make_recipe(tmp_path / "raw.csv"))

    def digests(outcome: Outcome) -> dict[str, str]:
        return {entry.path: entry.sha256 for entry in outcome.manifest.files if entry.path.startswith("data/")}

    assert digests(again) == digests(made.outcome)


def test_by_hash_whole_series_go_into_splits_and_each_window_is_scaled_by_its_own_history(spark, tmp_path):
    names = [f"s{number}" for number in range(30)]
    raw = [
        f"{stamp(hour)},{name},{number * 100 + 10 * np.sin(hour):.4f},{number}" for number, name in enumerate(names) for hour in range(40)
    ]
    (tmp_path / "raw.csv").write_text("\n".join(["when,site,load,wind", *raw]) + "\n")
    columns = {**{name: COLUMNS[name] for name in ("site", "load")}, "wind": {"kind": "number", "role": "label"}}
    columns["when"] = {"kind": "time", "role": "meta"}
    windows = {"time": "when", "series": ["site"], "period_s": 3600, "history": 8, "horizon": 2, "stride": 5, "scale": "history"}
    recipe = make_recipe(
        tmp_path / "raw.csv", columns=columns, windows=windows, split={"by": "hash", "train": 0.6, "validation": 0.2, "test": 0.2},
        augment={"copies": 1, "operations": [{"jitter": {"std": 0.1}}, {"magnify": {"std": 0.2}}]},
    )  # fmt: skip
    outcome = run(spark, tmp_path, recipe)
    facts = prepared(outcome.manifest)
    owners = {split: {name.partition("@")[0] for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()} for split in SPLITS}
    assert set.union(*owners.values()) == set(names) and sum(map(len, owners.values())) == 30
    assert facts.label_shape == (2, 2) and facts.tensor.shape == (8, 2)
    assert facts.splits["train"].rows == 2 * facts.splits["train"].sources
    table = rows(outcome, "data/test")
    for name, packed, label, shift in zip(
        *(table[key].to_pylist() for key in ("sample_id", "window", "label", "label_shift")), strict=True
    ):
        number = int(name[1:].partition("@")[0])
        history = np.frombuffer(packed, np.float32).reshape(8, 2)
        moved = np.frombuffer(shift, np.float32).reshape(2, 2)
        assert abs(history[:, 0].mean()) < 1e-5 and history[:, 0].std() == pytest.approx(1, abs=1e-4)
        raw_label = np.frombuffer(label, np.float32).reshape(2, 2) * moved[:, 1] + moved[:, 0]
        assert unscale(raw_label[:, 1], facts.windows.targets[1]) == pytest.approx(number, abs=1e-4)  # constant: kept its level
        first = np.datetime64(name.partition("@")[2].rstrip("Z"), "h") - np.datetime64("2024-01-01T00", "h")
        hours = int(first / np.timedelta64(1, "h")) + 1 + np.arange(2)
        assert unscale(raw_label[:, 0], facts.windows.targets[0]) == pytest.approx(number * 100 + 10 * np.sin(hours), abs=0.01)


def test_more_holes_than_allowed_fail_the_run_with_the_way_out(spark, tmp_path):
    raw = lines({0: set(range(0, HOURS, 2)) | set(range(HOURS - 40, HOURS)) | set(range(44)) | set(range(48, 70))})
    (tmp_path / "raw.csv").write_text("\n".join(["when,site,size,load,wind,price", *raw]) + "\n")
    windows = {"time": "when", "series": ["site"], "period_s": 3600, "history": HISTORY, "horizon": HORIZON, "max_holes": 0.01}
    with pytest.raises(DataError, match=r"windows\.max_holes allows 1\.00%"):
        run(spark, tmp_path, make_recipe(tmp_path / "raw.csv", windows=windows))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"task": "classification"}, "task: regression"),
        ({"windows": {"time": "date"}}, "windows.time: column 'date'"),
        ({"windows": {"known": ["site"]}}, "windows.known: column 'site'"),
        ({"windows": {"series": []}, "split": {"by": "hash"}}, "expected by: time"),
        ({"split": {"by": "stratified"}}, "by: stratified splits rows"),
        ({"windows": {"reach_back": True}, "split": {"by": "hash"}}, "reach_back"),
        ({"augment": {"copies": 1, "operations": [{"rotate": {"degrees": 5}}]}}, "jitter, magnify, window_slice"),
        ({"model": {"name": "mlp"}}, "num_features"),
    ],
    ids=["task", "no such column", "known but no feature", "no series to split", "rows split", "nothing behind", "turned", "of tables"],
)  # fmt: skip
def test_a_recipe_that_contradicts_its_windows_is_refused(tmp_path, sections, words):
    (tmp_path / "raw.csv").write_text("when\n")
    document = make_recipe(tmp_path / "raw.csv").resolved() | {key: part for key, part in sections.items() if key != "windows"}
    document["windows"] = document["windows"] | sections.get("windows", {})
    document.pop("schedule")
    (tmp_path / "recipe.yaml").write_text(json.dumps({key: part for key, part in document.items() if part is not None}))
    with pytest.raises(ConfigError, match=words):
        config.load(tmp_path / "recipe.yaml")


DATA = Path(os.environ.get("LONGHAUL_TEST_DATA", PROJECT.parent / "shared" / "data"))


def test_etth1_windows_are_the_sources_hours(spark, tmp_path):
    """Two years of hours without a gap: windows counted from the source, and one in 50 read back to within float32."""
    source = DATA / "forecast" / "ETTh1.csv"
    if not source.exists():
        pytest.skip(f"{source} is not here; LONGHAUL_TEST_DATA names the folder of data sets")
    recipe = config.load(PROJECT / "conf" / "etth1_windows.yaml", [f"source.path={source}"])
    outcome = run(spark, tmp_path, recipe)
    facts = prepared(outcome.manifest)
    stamps = np.loadtxt(source, delimiter=",", skiprows=1, usecols=0, dtype=str)
    values = np.loadtxt(source, delimiter=",", skiprows=1, usecols=range(7, 0, -1))  # OT first, as in the file from the right
    place = {stamp.replace(" ", "T") + "Z": row for row, stamp in enumerate(stamps.tolist())}
    hours = Counter("train" if stamp < "2017-07-01" else "validation" if stamp < "2017-11-01" else "test" for stamp in stamps.tolist())
    wanted = {"train": hours["train"] - 96 - 24 + 1, "validation": hours["validation"] - 24 + 1, "test": hours["test"] - 24 + 1}
    assert {name: split.rows for name, split in facts.splits.items()} == wanted and facts.accounting.rows_in == len(stamps)
    assert facts.windows.train_steps == hours["train"]
    order = [facts.features.index(name) for name in ("OT", "LULL", "LUFL", "MULL", "MUFL", "HULL", "HUFL")]
    scalers = {item.column: item for item in (*facts.windows.targets, *facts.scalers)}
    for split in SPLITS:
        table = rows(outcome, f"data/{split}").slice(0)
        for row in range(0, table.num_rows, 50):
            name, packed, label, shift = (table[key][row].as_py() for key in ("sample_id", "window", "label", "label_shift"))
            last = place[name.removeprefix("@")]
            history = np.frombuffer(packed, np.float32).reshape(facts.tensor.shape)[:96]
            for column, channel in enumerate(order):
                raw = scale(values[last - 95 : last + 1, column], scalers[facts.features[channel]])
                np.testing.assert_allclose(history[:, channel], (raw - raw.mean()) / raw.std(), atol=1e-4)
            offset, spread = np.frombuffer(shift, np.float32)
            found = unscale(np.frombuffer(label, np.float32).astype(float) * spread + offset, scalers["OT"])
            np.testing.assert_allclose(found, values[last + 1 : last + 25, 0], atol=1e-4)
