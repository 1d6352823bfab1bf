"""A small run whose prepare and train stages are done, written in the documented format without Spark or training.

Row i of class k has the features 4·onehot(k), and the network passes features through, so it is right about every row but the
`num_wrong` first test rows, whose features are those of the next class. Accuracy is known exactly.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import config, stage
from pipeline.attempt import Attempt
from pipeline.console import Console
from pipeline.paths import Run
from pipeline.schema import SPLITS, Accounting, Epoch, Prepared, SplitFacts, Tensor, Trained
from pipeline.stage import Request, Work

CONF = Path(__file__).parents[2] / "conf"
CLASSES = ("setosa", "versicolor", "virginica")
ROWS = {"train": 60, "validation": 12, "test": 40}
FILES = 2


def make_request(root: Path, run_id: str = "manual-00000000", overrides: tuple[str, ...] = (), force: bool = False) -> Request:
    recipe = config.load(CONF / "iris.yaml", ["model.depth=1", "model.width=4", *overrides])
    return Request(recipe, Run(root, recipe.name, run_id), silence(), force)


@functools.cache
def silence() -> Console:
    return Console(None)  # one for all: each holds a descriptor


def finish_prepare(request: Request, num_wrong: int = 4) -> stage.Outcome:
    def work(attempt: Attempt) -> Work:
        rows = {}
        for split in SPLITS:
            labels, features = make_rows(split, num_wrong)
            for index, part in enumerate(np.array_split(np.arange(len(labels)), FILES)):
                name = f"data/{split}/part-{index:05}.parquet"
                write_part(attempt.files / name, [f"{split}-{row:03}" for row in part], labels[part], features[part], "features")
                rows[name] = len(part)
        tensor = Tensor(name="features", dtype="float32", shape=(4,))
        return Work(prepared_facts(tensor, {split: make_rows(split, num_wrong)[0] for split in SPLITS}), rows)

    return stage.run_stage(request, "prepare", {"num_wrong": num_wrong}, {}, work)


def make_rows(split: str, num_wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and features (N, 4). The labels of the three classes take turns, class 0 having one row more in train."""
    labels = np.arange(ROWS[split]) % 3
    labels[-1] = 0
    shown = labels.copy()
    if split == "test":
        shown[:num_wrong] = (labels[:num_wrong] + 1) % 3
    return labels, np.eye(4, dtype=np.float32)[shown] * 4


def write_part(path: Path, names: list[str], labels: np.ndarray, tensors: np.ndarray, tensor_name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "sample_id": pa.array(names),
        "label": pa.array(labels, pa.float32() if labels.dtype == np.float32 else pa.int64()),
        "weight": pa.array(np.ones(len(labels)), pa.float32()),
        tensor_name: pa.array([row.tobytes() for row in tensors], pa.binary()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=max(1, len(labels)))


def prepared_facts(tensor: Tensor, labels: dict[str, np.ndarray]) -> dict:
    splits = {
        split: SplitFacts(rows=len(found), sources=len(found), label_counts=dict(zip(CLASSES, np.bincount(found).tolist(), strict=True)))
        for split, found in labels.items()
    }
    total = sum(map(len, labels.values()))
    accounting = Accounting(rows_in=total + 3, rows_out=total, dropped={"drop_duplicates": 3, "keep_range": 0}, augmented=0)
    facts = Prepared(task="classification", label="species", classes=CLASSES, tensor=tensor, splits=splits, accounting=accounting)
    return facts.model_dump(mode="json")


def finish_train(request: Request, layers=None) -> stage.Outcome:
    """Args: layers: Keras layers to use in place of the recipe's model."""
    data = stage.upstream(request, "prepare")

    def work(attempt: Attempt) -> Work:
        import keras

        model = pass_through() if layers is None else keras.Sequential([keras.Input((4,)), *layers])
        model.save(attempt.files / "model.keras")
        metric = "mae" if request.recipe.task == "regression" else "accuracy"
        curves = [{"loss": 1 / n, "val_loss": 1.2 / n, metric: 1 - 1 / (n + 2), f"val_{metric}": 0.9} for n in (1, 2, 3)]
        history = tuple(Epoch(epoch=n, steps=3, metrics=metrics, seconds=0.1) for n, metrics in enumerate(curves, start=1))
        facts = Trained(
            num_parameters=model.count_params(), ranks=2, global_batch=16, steps_per_epoch=3, best_epoch=3, stopped_early=False,
            resumed_from=None, weight_digest="0" * 64, history=history,
        )  # fmt: skip
        return Work(facts.model_dump(mode="json"))

    return stage.run_stage(request, "train", {"layers": str(layers and [layer.get_config() for layer in layers])}, {"prepare": data}, work)


def pass_through():
    from models import mlp

    model = mlp.build(num_features=4, num_outputs=3, width=4, depth=1, dropout=0.0)
    model.get_layer("hidden_0").set_weights([np.eye(4), np.zeros(4)])
    model.get_layer("outputs").set_weights([np.eye(4, 3), np.zeros(3)])
    return model


def expected_log_loss(num_wrong: int, rows: int = ROWS["test"]) -> float:
    """Logits are 4 for the shown class and 0 for the two others."""
    total = math.log(math.exp(4) + 2)
    return total - 4 * (rows - num_wrong) / rows
