"""Small frames as they are while prepare works on them: declared columns, and the bookkeeping ones of columns.py."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.prepare.clean import clean
from pipeline.prepare.columns import CHANGES, CONTENT, KEY, ORDER, RAW, REASON, RULE, SPLIT, col, hash_of

TABLE = {
    "id": {"kind": "category", "role": "key"},
    "x": {"kind": "number"},
    "z": {"kind": "number"},
    "job": {"kind": "category"},
    "town": {"kind": "category"},
    "seen": {"kind": "time", "role": "meta"},
    "label": {"kind": "category", "role": "label"},
}
TYPES = {"number": "double", "time": "double", "category": "string", "image": "binary"}


def make_recipe(columns: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    document = {
        "name": "table",
        "source": {"format": "csv", "path": "raw.csv"},
        "columns": columns or TABLE,
        "model": {"name": "mlp"},
        "register": {"name": "table"},
        **sections,
    }
    return Recipe.model_validate_json(json.dumps(document))


def frame(spark: SparkSession, recipe: Recipe, rows: Sequence[dict[str, Any]]) -> DataFrame:
    """Rows as they are read and split. What a row does not say is missing, but: it is a train row of class `a` with a key of its own."""
    names = list(recipe.columns)
    filled = [{"id": f"r{place}", "label": "a", SPLIT: "train", **row} for place, row in enumerate(rows)]
    schema = ", ".join([*(f"`{name}` {TYPES[recipe.columns[name].kind]}" for name in names), f"{SPLIT} string", f"{RULE} string"])
    read = spark.createDataFrame([[row.get(name) for name in (*names, SPLIT, RULE)] for row in filled], schema)
    keys = recipe.names("category", "key")
    content = [col(name) for name in names if not (recipe.content and name in keys)]  # of an image, the key is its path
    hashed = read.withColumns({name: hash_of(salt, content) for salt, name in enumerate(CONTENT)})
    key = F.col(keys[0]) if keys else F.lit(None).cast("string")
    order = hash_of("key", [key] if keys else [F.col(name) for name in CONTENT])
    nothing = F.lit(None).cast("string")
    return hashed.withColumns({KEY: key, ORDER: order, REASON: F.when(F.col(RULE).isNotNull(), "before"), RAW: nothing})


def cleaned(spark: SparkSession, rules: list[Any], rows: Sequence[dict[str, Any]], **sections: Any) -> dict[str, Row]:
    """What becomes of rows, by their id."""
    recipe = make_recipe(**sections, clean={"rules": rules})
    found = clean(frame(spark, recipe, rows), recipe, 2).collect()
    assert len(found) == len(rows)
    return {row["id"]: row for row in found}


def values(found: dict[str, Row], name: str) -> dict[str, Any]:
    return {key: row[name] for key, row in found.items()}


def dropped(found: dict[str, Row]) -> dict[str, str]:
    """The rule that took each row that is not kept."""
    return {key: row[RULE] for key, row in found.items() if row[RULE] is not None}


def num_changed(found: dict[str, Row]) -> list[int]:
    """Values that each rule changed, over all rows."""
    return [sum(counts) for counts in zip(*(row[CHANGES] for row in found.values()), strict=True)]
