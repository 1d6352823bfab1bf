"""Scalers and encoders through the whole stage: every packed vector is what numpy says of the raw rows."""

from __future__ import annotations

import csv
import math
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy import stats

from pipeline import config
from pipeline.console import Console
from pipeline.errors import DataError
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.prepare.columns import col, hash_of
from pipeline.scaling import unscale
from pipeline.schema import SPLITS, Prepared, prepared
from pipeline.stage import Request
from tests.conftest import TABLE as RECIPE
from tests.prepare.conftest import features, rows

pytestmark = pytest.mark.spark

METHODS = ("standard", "minmax", "robust", "max_abs", "log", "yeo_johnson", "quantile", "none")
KEY, LABEL = {"kind": "category", "role": "key"}, {"kind": "category", "role": "label"}
NUMBER, TEXT = {"kind": "number"}, {"kind": "category"}
FOLDS, SMOOTHING = 4, 3.0
TOWNS = {
    "hot": "one_hot",
    "place": "ordinal",
    "rank": {"method": "vocabulary", "min_count": 2, "size": 5},
    "bucket": {"method": "hash", "buckets": 7},
    "mean": {"method": "target", "folds": FOLDS, "smoothing": SMOOTHING, "min_count": 2},
}
Row = dict[str, Any]


class Table:
    """Raw rows with a key, what prepare made of them, and numpy's answer to the same question."""

    def __init__(self, raw: list[Row], spark: SparkSession, folder: Path, **sections: Any) -> None:
        write_rows(folder / "raw.csv", raw)
        recipe = {**RECIPE, "source": {"format": "csv", "path": str(folder / "raw.csv")}, "audit": {"max_shared_content": 1}, **sections}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        outcome = job.run(Request(config.load(folder / "recipe.yaml"), Run(folder, "table", "manual-0"), Console(None)), spark)
        self.facts: Prepared = prepared(outcome.manifest)
        self.digests = {entry.path: entry.sha256 for entry in outcome.manifest.files if entry.path.startswith("data/")}
        tables = {split: rows(outcome, f"data/{split}") for split in SPLITS}
        by_id = {row["id"]: row for row in raw}
        self.raw = {split: [by_id[name] for name in table["sample_id"].to_pylist()] for split, table in tables.items()}
        self.packed = {split: features(table) for split, table in tables.items()}
        self.labels = {split: table["label"].to_numpy() for split, table in tables.items()}
        assert sum(map(len, self.raw.values())) == len(raw)

    def column(self, name: str, split: str) -> NDArray[Any]:
        found = [row[name] for row in self.raw[split]]
        return np.array([np.nan if value is None else value for value in found] if not isinstance(found[0], str) else found)

    def position(self, name: str, split: str) -> NDArray[np.float32]:
        return self.packed[split][:, self.facts.features.index(name)]


def write_rows(path: Path, raw: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(raw[0]))
        writer.writeheader()
        writer.writerows(raw)
    return path


def draw_rows(count: int = 400) -> list[Row]:
    """Numbers of a long tail, one in twenty missing; towns from frequent to unique, some missing; two classes that both have to do with."""
    random = np.random.default_rng(0)
    drawn = []
    for index in range(count):
        x = float(random.lognormal(1, 1) - 2) if index % 20 else None
        town = f"town {min(int(random.geometric(0.2)), 12)}" if index % 7 else (f"unique {index}" if index % 2 else None)
        label = "yes" if (x or 0) + (town == "town 1") + random.normal() > 1 else "no"
        drawn.append({"id": f"k{index}", "x": x, "town": town, "label": label})
    return drawn


def wide(raw: list[Row]) -> list[Row]:
    """The number once for each scaler, the town once for each encoder."""
    return [
        {"id": row["id"], **dict.fromkeys(METHODS, row["x"]), **dict.fromkeys(TOWNS, row["town"]), "label": row["label"]} for row in raw
    ]


EVERY = {
    "columns": {"id": KEY, **dict.fromkeys(METHODS, NUMBER), **dict.fromkeys(TOWNS, TEXT), "label": LABEL},
    "normalize": {name: name for name in METHODS},
    "encode": TOWNS,
}


@pytest.fixture(scope="module")
def every(spark, tmp_path_factory) -> Table:
    return Table(wide(draw_rows()), spark, tmp_path_factory.mktemp("every"), **EVERY)


# What numpy says


def quantile(values: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))


def standardised(bent: NDArray[np.float64], train: NDArray[np.float64]) -> NDArray[np.float64]:
    return (bent - train.mean()) / train.std()


def scaled(method: str, train: NDArray[np.float64], values: NDArray[np.float64], power: float | None) -> NDArray[np.float64]:
    """Values by a scaler of train rows, both with NaN where missing."""
    known = np.sort(train[~np.isnan(train)])
    fill = quantile(known, 0.5) if method in ("robust", "quantile") else known.mean()
    filled = np.where(np.isnan(values), fill, values)
    match method:
        case "standard":
            return standardised(filled, known)
        case "minmax":
            return (filled - known.min()) / (known.max() - known.min())
        case "robust":
            return (filled - quantile(known, 0.5)) / (quantile(known, 0.75) - quantile(known, 0.25))
        case "max_abs":
            return filled / np.abs(known).max()
        case "log":
            bent, bent_train = (np.sign(part) * np.log1p(np.abs(part)) for part in (filled, known))
            return standardised(bent, bent_train)
        case "yeo_johnson":
            assert power == pytest.approx(stats.yeojohnson_normmax(known), abs=1e-3)
            return standardised(stats.yeojohnson(filled, power), stats.yeojohnson(known, power))
        case "quantile":
            return np.interp(filled, known, np.arange(len(known)) / (len(known) - 1))
    return filled


def one_hot(places: list[int], width: int) -> NDArray[np.float64]:
    return np.eye(width)[places]


def frequent(towns: list[str | None], min_count: int, size: int | None = None) -> list[str]:
    counts = Counter(town for town in towns if town is not None)
    return sorted((town for town in counts if counts[town] >= min_count), key=lambda town: (-counts[town], town))[:size]


def folds_of(spark, ids: list[str]) -> NDArray[np.int64]:
    found = spark.createDataFrame([[name] for name in ids], "id string").select("id", hash_of("key", [col("id")]).alias("hash")).collect()
    hashes = {row["id"]: row["hash"] % 2**64 for row in found}
    return np.array([hashes[name] % FOLDS for name in ids])


def means(towns: list[str], train: list[str], targets: NDArray[np.float64], values: list[str]) -> NDArray[np.float64]:
    """(rows, P) smoothed means of train rows; every town that is not of `values` is one."""
    train_towns = np.array([town if town in values else "(rest)" for town in train])
    prior = targets.mean(axis=0)
    return np.array(
        [
            (targets[train_towns == town].sum(axis=0) + SMOOTHING * prior) / ((train_towns == town).sum() + SMOOTHING)
            for town in (town if town in values else "(rest)" for town in towns)
        ]
    )


def out_of_fold(towns: list[str], targets: NDArray[np.float64], values: list[str], folds: NDArray[np.int64]) -> NDArray[np.float64]:
    found = np.empty_like(targets)
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold)
        mine = np.flatnonzero(folds == fold)
        found[mine] = means([towns[row] for row in mine], [towns[row] for row in others], targets[others], values)
    return found


# Claims


def test_every_scaler_gives_what_numpy_does(every):
    powers = {scaler.column: scaler.power for scaler in every.facts.scalers}
    assert every.facts.features[: len(METHODS)] == METHODS and np.isnan(every.column("none", "train")).any()
    for method in METHODS:
        train = every.column(method, "train")
        for split in SPLITS:
            expected = scaled(method, train, every.column(method, split), powers[method])
            np.testing.assert_allclose(every.position(method, split), expected, rtol=2e-5, atol=2e-6, err_msg=f"{method} of {split}")


def test_every_encoder_gives_what_its_definition_says(spark, every):
    towns = {split: [row["hot"] for row in every.raw[split]] for split in SPLITS}
    train, known = towns["train"], sorted({town for town in towns["train"] if town is not None})
    assert set(towns["test"]) - {None} - set(known), "no unknown town"
    names = [*(f"hot={town}" for town in (*known, "(other)")), "place", "rank", *(f"bucket#{bucket}" for bucket in range(7)), "mean"]
    assert list(every.facts.features[len(METHODS) :]) == names

    frequent_ones, repeated = frequent(train, 2, 5), frequent(train, 2)
    targets = (every.labels["train"] == 1).astype(np.float64)[:, None]
    assert every.facts.classes == ("no", "yes") and 0 < targets.mean() < 1
    for split in SPLITS:
        place = [known.index(town) if town in known else len(known) for town in towns[split]]
        rank = [frequent_ones.index(town) + 1 if town in frequent_ones else 0 for town in towns[split]]
        bucket = [int.from_bytes(blake2b((town or "").encode()).digest()[:8], "big") % 7 for town in towns[split]]
        if split == "train":
            mean = out_of_fold(train, targets, repeated, folds_of(spark, [row["id"] for row in every.raw["train"]]))
        else:
            mean = means(towns[split], train, targets, repeated)
        columns = [one_hot(place, len(known) + 1), np.array(place)[:, None], np.array(rank)[:, None], one_hot(bucket, 7), mean]
        np.testing.assert_allclose(every.packed[split][:, len(METHODS) :], np.concatenate(columns, axis=1), rtol=1e-6, err_msg=split)


def test_changing_other_rows_than_train_rows_changes_nothing_that_is_fitted(every, spark, tmp_path):
    train = {row["id"] for row in every.raw["train"]}
    other = {"x": 12345.678, "town": "elsewhere"}
    changed = [row if row["id"] in train else {**row, **other, "label": "no" if row["label"] == "yes" else "yes"} for row in draw_rows()]
    second = Table(wide(changed), spark, tmp_path, **EVERY)
    for part in ("scalers", "encoders", "features", "statistics", "tensor", "classes"):
        assert getattr(second.facts, part) == getattr(every.facts, part), part
    assert {path: digest for path, digest in second.digests.items() if "train" in path} == {
        path: digest for path, digest in every.digests.items() if "train" in path
    }
    assert second.digests != every.digests


@pytest.mark.parametrize("method", ["log", "yeo_johnson"])
def test_the_label_of_a_regression_is_scaled_like_any_number_and_comes_back(spark, tmp_path, method):
    raw = [{"id": row["id"], "town": row["town"], "price": math.exp(index % 97 / 10) - 1} for index, row in enumerate(draw_rows(300))]
    columns = {"id": KEY, "town": TEXT, "price": {"kind": "number", "role": "label"}}
    encode = {"town": {"method": "target", "folds": FOLDS, "smoothing": SMOOTHING}}
    found = Table(raw, spark, tmp_path, columns=columns, encode=encode, task="regression", normalize={"price": method})
    for split in SPLITS:
        assert found.labels[split].dtype == np.float32 and np.ptp(found.labels[split]) > 1
        back = unscale(found.labels[split].astype(np.float64), found.facts.target)
        np.testing.assert_allclose(back, found.column("price", split), rtol=1e-4, atol=1e-4)
    targets = found.labels["train"].astype(np.float64)[:, None]
    towns = {split: [row["town"] for row in found.raw[split]] for split in SPLITS}
    values = frequent(towns["train"], 1)
    np.testing.assert_allclose(found.packed["test"], means(towns["test"], towns["train"], targets, values), rtol=1e-4, atol=1e-5)
    folds = folds_of(spark, [row["id"] for row in found.raw["train"]])
    np.testing.assert_allclose(found.packed["train"], out_of_fold(towns["train"], targets, values, folds), rtol=1e-4, atol=1e-5)


def test_many_words_are_counted_exactly_and_three_classes_have_a_mean_each(spark, tmp_path):
    """More values than a sketch counts: the ranks come from a Spark job of their own."""
    random = np.random.default_rng(1)
    words = [f"word {int(number)}" for number in random.exponential(700, 6000)]
    raw = [
        {"id": f"k{index}", "word": word, "town": f"town {index % 5}", "label": "abc"[(index + len(word)) % 3]}
        for index, word in enumerate(words)
    ]
    columns = {"id": KEY, "word": TEXT, "town": TEXT, "label": LABEL}
    encode = {"word": {"method": "vocabulary", "size": 1500}, "town": {"method": "target", "folds": FOLDS, "smoothing": SMOOTHING}}
    found = Table(raw, spark, tmp_path, columns=columns, encode=encode)
    train = [row["word"] for row in found.raw["train"]]
    ranked = frequent(train, 1, 1500)
    assert len(set(train)) > 1500 == len(ranked) and found.facts.statistics["word"].distinct != len(set(train))
    assert found.facts.encoders[0].values == tuple(ranked)
    place = {word: rank for rank, word in enumerate(ranked, start=1)}
    for split in SPLITS:
        assert found.position("word", split).tolist() == [place.get(row["word"], 0) for row in found.raw[split]]
    assert found.facts.features == ("word", "town~class0", "town~class1", "town~class2")
    towns = {split: [row["town"] for row in found.raw[split]] for split in SPLITS}
    expected = means(towns["test"], towns["train"], np.eye(3)[found.labels["train"]], sorted(set(towns["train"])))
    np.testing.assert_allclose(found.packed["test"][:, 1:], expected, rtol=1e-5)


def test_a_category_without_a_value_in_any_train_row_is_refused_like_such_a_number(spark, tmp_path):
    raw = [{"id": row["id"], "x": 1.0 + index, "town": None, "label": row["label"]} for index, row in enumerate(draw_rows(100))]
    with pytest.raises(DataError, match="Column town has no value in any train row. Expected texts: set role: ignore, or mend the source"):
        Table(raw, spark, tmp_path, columns={"id": KEY, "x": NUMBER, "town": TEXT, "label": LABEL})
