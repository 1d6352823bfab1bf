"""A small regression whose prepare stage is done, written in the documented format without Spark; a train stage too, if wanted.

The label is a price, scaled by the mean and standard deviation of the train rows. The first feature is the scaled label, in the test
split plus a known error, and the hand-made model passes it through: so every error is known, in the price's unit too.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import yaml

from pipeline import config, stage
from pipeline.attempt import Attempt
from pipeline.paths import Run
from pipeline.schema import SPLITS, Accounting, NumberScaler, Prepared, SplitFacts, Tensor
from pipeline.stage import Request, Work
from tests.evaluate.finished_run import finish_train, silence, write_part

ROWS = {"train": 240, "validation": 40, "test": 50}
FILES = 4
MEAN, STD = 45_000.0, 8_000.0  # of the label, in its raw unit
RECIPE = {
    "name": "prices",
    "task": "regression",
    "source": {"format": "csv", "path": "not-read.csv"},
    "columns": {**{f"x{index}": {"kind": "number"} for index in range(4)}, "price": {"kind": "number", "role": "label"}},
    "model": {"name": "mlp", "width": 16, "depth": 1, "dropout": 0.0},
    "train": {"epochs": 12, "global_batch": 16, "lanes": 4, "ranks": 2, "optimizer": {"name": "adam", "learning_rate": 0.01}},
    "register": {"name": "prices", "gate": {"mae": {"max": 4000}, "r2": {"min": 0.5}}},
}


def make_request(root: Path, run_id: str = "manual-00000000", overrides: tuple[str, ...] = (), force: bool = False) -> Request:
    path = root / "recipe.yaml"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(RECIPE))
    recipe = config.load(path, overrides, source_exists=False)
    return Request(recipe, Run(root, recipe.name, run_id), silence(), force)


def finish_prepare(request: Request, spread: float = 0.1) -> stage.Outcome:
    """Args: spread: standard deviation of the test rows' errors, in scaled units."""

    def work(attempt: Attempt) -> Work:
        rows = {}
        for split in SPLITS:
            labels, features = make_rows(split, spread)
            for index, part in enumerate(np.array_split(np.arange(len(labels)), FILES)):
                name = f"data/{split}/part-{index:05}.parquet"
                write_part(attempt.files / name, [f"{split}-{row:03}" for row in part], labels[part], features[part], "features")
                rows[name] = len(part)
        return Work(prepared_facts().model_dump(mode="json"), rows)

    return stage.run_stage(request, "prepare", {"spread": spread}, {}, work)


def make_rows(split: str, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Scaled labels (N,) and features (N, 4), both float32."""
    generator = np.random.default_rng(list(ROWS).index(split))
    labels = generator.normal(size=ROWS[split]).astype(np.float32)
    features = generator.normal(size=(ROWS[split], 4)).astype(np.float32)
    features[:, 0] = labels + features[:, 1] * (spread if split == "test" else 0)
    return labels, features


def prices_of_test(spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """True prices of the test rows and what the hand-made model says, both in the raw unit."""
    labels, features = make_rows("test", spread)
    return labels.astype(np.float64) * STD + MEAN, features[:, 0].astype(np.float64) * STD + MEAN


def prepared_facts() -> Prepared:
    return Prepared(
        task="regression",
        label="price",
        classes=(),
        tensor=Tensor(name="features", dtype="float32", shape=(4,)),
        splits={split: SplitFacts(rows=rows, sources=rows, label_counts={}) for split, rows in ROWS.items()},
        accounting=Accounting(rows_in=sum(ROWS.values()), rows_out=sum(ROWS.values()), dropped={}, augmented=0),
        target=NumberScaler(column="price", method="standard", offset=MEAN, scale=STD, fill=MEAN),
    )


def pass_first_through(bias: float = 0.0) -> list[keras.layers.Layer]:
    """Layers that give the first feature plus a constant, in scaled units."""
    first = keras.initializers.Constant(np.eye(4, 1))
    return [keras.layers.Dense(1, kernel_initializer=first, bias_initializer=keras.initializers.Constant(bias))]


def finish_regressor(request: Request, bias: float = 0.0) -> stage.Outcome:
    return finish_train(request, pass_first_through(bias))
