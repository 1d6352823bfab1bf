"""Interactions through prepare, by the recipe of docs/interactions.md over a seeded log."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import config
from pipeline.config import Recipe
from pipeline.console import Console
from pipeline.errors import ConfigError, DataError
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.schema import SPLITS, prepared
from pipeline.stage import Outcome, Request
from tests.conftest import PROJECT
from tests.prepare.conftest import rows

USERS, ITEMS = 40, 60


def document() -> dict:
    """The recipe that the documentation shows."""
    text = (PROJECT / "docs" / "interactions.md").read_text()
    return yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])


def log() -> list[tuple[str, str, str, int]]:
    """(customer, article, genre, hour) of a made-up log: everybody likes one genre; user 0 has two rows alone."""
    rng = np.random.default_rng(7)
    found = []
    for user in range(USERS):
        liked = [item for item in range(ITEMS) if item % 4 == user % 4 or rng.random() < 0.1]
        count = 2 if user == 0 else int(rng.integers(5, 14))
        for place, item in enumerate(rng.permutation(liked)[:count].tolist()):
            found.append((f"u{user}", f"i{item}", f"g{item % 4}", 100 * user + place))
    return found


def write(path, rows_, *, header: str = "customer,article,genre,when") -> None:
    lines = [
        f"{user},{item},{genre},{np.datetime64('2024-01-01T00:00:00') + np.timedelta64(hour, 'h')}" for user, item, genre, hour in rows_
    ]
    path.write_text("\n".join([header, *lines]) + "\n")


def make(path, **sections) -> Recipe:
    recipe = document()
    recipe["source"]["path"] = str(path)
    for name, part in sections.items():
        recipe[name] = {**recipe.get(name, {}), **part} if isinstance(part, dict) else part
    return Recipe.model_validate_json(json.dumps(recipe))


def run(spark, root, recipe: Recipe) -> Outcome:
    return job.run(Request(recipe, Run(root, recipe.name, "manual-0"), Console(None)), spark)


@dataclass(frozen=True)
class Made:
    outcome: Outcome
    raw: list[tuple[str, str, str, int]]

    def split(self, name: str):
        """(sample ids, (N, 3) ids, labels) of one split."""
        table = rows(self.outcome, f"data/{name}")
        ids = np.frombuffer(b"".join(table["ids"].to_pylist()), np.int32).reshape(table.num_rows, -1)
        return table["sample_id"].to_pylist(), ids, table["label"].to_numpy()

    def names(self, what: str) -> dict[int, str]:
        table = pq.read_table(self.outcome.found.files / "ids" / f"{what}.parquet")
        return dict(zip(table["id"].to_pylist(), table["value"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def made(spark, tmp_path_factory) -> Made:
    root = tmp_path_factory.mktemp("interactions")
    raw = log()
    user, item, genre, _ = raw[10]
    again = [*raw, (user, item, genre, 90_000)]  # met before: not the last interaction
    shuffled = [again[place] for place in np.random.default_rng(1).permutation(len(again)).tolist()]
    write(root / "log.csv", shuffled)
    return Made(run(spark, root, make(root / "log.csv")), raw)


@pytest.mark.spark
def test_each_users_last_interaction_is_for_test_and_the_one_before_for_validation(made):
    of_user = defaultdict(list)
    for user, item, _, _ in sorted(made.raw, key=lambda row: row[3]):
        of_user[user].append(item)
    wanted = {name: set() for name in SPLITS}
    for user, items in of_user.items():
        held = 2 if len(items) > 2 else 0
        wanted["train"] |= {f"{user}@{item}" for item in (items[:-held] if held else items)}
        wanted["validation"] |= {f"{user}@{items[-2]}"} if held else set()
        wanted["test"] |= {f"{user}@{items[-1]}"} if held else set()
    for name in SPLITS:
        names, _, labels = made.split(name)
        assert {sample for sample, label in zip(names, labels, strict=True) if label} == wanted[name]
    assert rows(made.outcome, "quarantine")["rule"].to_pylist() == ["repeated_pair"]


@pytest.mark.spark
def test_no_negative_was_ever_taken_by_its_user_and_each_positive_has_as_many_as_asked_for(made):
    users, items = made.names("user"), made.names("item")
    taken = {(user, item) for user, item, _, _ in made.raw}
    for split, count in (("train", 4), ("validation", 20), ("test", 20)):
        names, ids, labels = made.split(split)
        assert labels.tolist() == ([1] + [0] * count) * (len(names) // (count + 1))
        for name, (user, item, _), label in zip(names, ids.tolist(), labels.tolist(), strict=True):
            assert name.partition("@")[0] == users[user]
            if label:
                assert item == 0 or name == f"{users[user]}@{items[item]}"
            else:
                assert item > 0 and (users[user], items[item]) not in taken
    assert prepared(made.outcome.manifest).accounting.augmented == sum(len(made.split(name)[0]) for name in SPLITS) - len(made.raw)


@pytest.mark.spark
def test_ids_and_features_are_of_train_rows_alone(made):
    facts, items = prepared(made.outcome.manifest), made.names("item")
    names, ids, labels = made.split("train")
    train_items = {name.partition("@")[2] for name, label in zip(names, labels, strict=True) if label}
    assert set(items.values()) == train_items and facts.interactions.num_items == len(train_items) + 1
    assert facts.interactions.num_users == USERS + 1 and facts.interactions.feature_sizes == (5,)
    genre = {number: f"g{int(name[1:]) % 4}" for number, name in items.items()}
    known = facts.encoders[0].values
    assert all(known[feature - 1] == genre[item] for _, item, feature in ids.tolist())


@pytest.mark.spark
@pytest.mark.slow
def test_the_order_of_the_source_does_not_matter(spark, made, tmp_path):
    user, item, genre, _ = made.raw[10]
    write(tmp_path / "log.csv", [*made.raw, (user, item, genre, 90_000)][::-1])
    again = run(spark, tmp_path, make(tmp_path / "log.csv"))

    def digests(outcome: Outcome) -> dict[str, str]:
        return {entry.path: entry.sha256 for entry in outcome.manifest.files if entry.path.startswith(("data/", "ids/"))}

    assert digests(again) == digests(made.outcome)


@pytest.mark.spark
def test_a_user_who_took_everything_fails_the_run_with_the_way_out(spark, tmp_path):
    raw = [(f"u{user}", f"i{item}", "g", user * 10 + item) for user in range(6) for item in range(5)]
    write(tmp_path / "log.csv", raw)
    with pytest.raises(DataError, match="took every article"):
        run(spark, tmp_path, make(tmp_path / "log.csv", prepare={"min_files": 1}))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"split": {"by": "hash"}}, "expected|received hash"),
        ({"interactions": {"item": "genere"}}, "did you mean|not one of"),
        ({"interactions": {"item": "customer"}}, "cannot be one column"),
        ({"columns": {"when": {"kind": "time", "role": "ignore"}}}, "interactions.time"),
        ({"columns": {"age": {"kind": "number"}}}, "make their own label"),
        ({"augment": {"balance": {}}}, "not augmented|balance"),
        ({"model": {"name": "mlp"}}, "num_features"),
    ],
    ids=["future in train", "no such column", "one column", "time not read", "a number", "balanced", "a table's model"],
)
def test_a_recipe_that_contradicts_its_interactions_is_refused(tmp_path, sections, words):
    (tmp_path / "log.csv").write_text("customer\n")
    recipe = document()
    recipe["source"]["path"] = str(tmp_path / "log.csv")
    for name, part in sections.items():
        recipe[name] = {**recipe.get(name, {}), **part}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigError, match=words):
        config.load(tmp_path / "recipe.yaml")
