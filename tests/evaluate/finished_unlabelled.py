"""Runs without a label to learn, with prepare and train done, written in the documented format without Spark or training.

Tables: the model gives every row back with its first feature moved by a known error, which of anomalies is larger. Images: the "generator"
makes an image of each noise whose brightness follows the noise.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import yaml

from pipeline import config, stage
from pipeline.attempt import Attempt
from pipeline.paths import Run
from pipeline.schema import SPLITS, Accounting, Epoch, Prepared, SplitFacts, Tensor, Trained
from pipeline.stage import Request, Work
from tests.evaluate.finished_run import silence, write_part

ROWS = {"train": 64, "validation": 40, "test": 60}
FILES = 4
CLASSES = ("normal", "odd")
ODD = range(0, 60, 5)  # test rows that are anomalies
TABLE = {
    "name": "odd",
    "task": "autoencoder",
    "source": {"format": "csv", "path": "not-read.csv"},
    "columns": {**{f"x{index}": {"kind": "number"} for index in range(4)}, "kind": {"kind": "category", "role": "label"}},
    "anomalies": {"values": ["odd"]},
    "model": {"name": "autoencoder", "latent": 3, "width": 8, "depth": 1},
    "train": {"epochs": 3, "global_batch": 16, "lanes": 4, "ranks": 2},
    "evaluate": {"threshold_quantile": 0.9},
    "register": {"name": "odd", "gate": {"auc": {"min": 0.6}, "mse": {"max": 2.0}}},
}
IMAGES = {
    "name": "made",
    "task": "gan",
    "source": {"format": "images", "path": "not-read"},
    "columns": {"image": {"kind": "image", "shape": [8, 8, 1]}},
    "model": {"name": "dcgan", "latent": 4, "filters": 4},
    "train": {"epochs": 2, "global_batch": 16, "lanes": 4, "ranks": 2},
    "register": {"name": "made", "gate": {"novelty": {"min": 0.1}}},
}
PICTURES = {**IMAGES, "name": "pictures", "task": "autoencoder", "model": {"name": "autoencoder", "latent": 4, "filters": 4}}
PICTURES["register"] = {"name": "pictures", "gate": {"mse": {"max": 2.0}}}


def make_request(root: Path, document: dict, overrides: tuple[str, ...] = ()) -> Request:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    recipe = config.load(path, overrides, source_exists=False)
    return Request(recipe, Run(root, recipe.name, "manual-00000000"), silence())


def table_rows(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and features (N, 4). The last feature says how far the model will be off: 1, or 3 for anomalies."""
    generator = np.random.default_rng(SPLITS.index(split))
    labels = np.zeros(ROWS[split], np.int64)
    labels[list(ODD) if split == "test" else []] = 1
    features = generator.normal(size=(ROWS[split], 4)).astype(np.float32)
    features[:, 3] = 1 + 2 * labels + 0.1 * generator.normal(size=ROWS[split])
    return labels, features


def image_rows(split: str) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(SPLITS.index(split))
    images = generator.integers(0, 200, (ROWS[split], 8, 8, 1)).astype(np.uint8)
    images[:, 2:6] //= 4
    return np.zeros(ROWS[split], np.int64), images


def finish_prepare(request: Request) -> stage.Outcome:
    is_table = request.recipe.content is None
    make, tensor = (table_rows, table_tensor()) if is_table else (image_rows, image_tensor())

    def work(attempt: Attempt) -> Work:
        rows = {}
        for split in SPLITS:
            labels, values = make(split)
            for index, part in enumerate(np.array_split(np.arange(len(labels)), FILES)):
                name = f"data/{split}/part-{index:05}.parquet"
                write_part(attempt.files / name, [f"{split}-{row:03}" for row in part], labels[part], values[part], tensor.name)
                rows[name] = len(part)
        return Work(prepared_facts(request, tensor).model_dump(mode="json"), rows)

    return stage.run_stage(request, "prepare", {"table": is_table}, {}, work)


def table_tensor() -> Tensor:
    return Tensor(name="features", dtype="float32", shape=(4,))


def image_tensor() -> Tensor:
    pixels = image_rows("train")[1]
    return Tensor(name="image", dtype="uint8", shape=(8, 8, 1), mean=(float(pixels.mean()),), std=(float(pixels.std()),))


def prepared_facts(request: Request, tensor: Tensor) -> Prepared:
    has_label = request.recipe.has_label
    return Prepared(
        task=request.recipe.task,
        label="kind" if has_label else "",
        classes=CLASSES if has_label else (),
        tensor=tensor,
        splits={split: SplitFacts(rows=rows, sources=rows, label_counts={}) for split, rows in ROWS.items()},
        accounting=Accounting(rows_in=sum(ROWS.values()), rows_out=sum(ROWS.values()), dropped={}, augmented=0),
        features=("x0", "x1", "x2", "x3") if tensor.name == "features" else (),
    )


def finish_train(request: Request, model: keras.Model) -> stage.Outcome:
    names = ("critic_loss", "generator_loss", "loss") if request.recipe.task == "gan" else ("loss", "mae")
    history = tuple(
        Epoch(epoch=n, steps=4, metrics={prefix + name: 1 / n for name in names for prefix in ("", "val_")}, seconds=0.1) for n in (1, 2)
    )

    def work(attempt: Attempt) -> Work:
        model.save(attempt.files / "model.keras")
        facts = Trained(
            num_parameters=model.count_params(), ranks=2, global_batch=16, steps_per_epoch=4, best_epoch=2, stopped_early=False,
            resumed_from=None, weight_digest="0" * 64, history=history,
        )  # fmt: skip
        return Work(facts.model_dump(mode="json"))

    return stage.run_stage(request, "train", {}, {"prepare": stage.upstream(request, "prepare")}, work)


def moves_the_first_feature() -> keras.Model:
    """x0 becomes x0 + x3, so that a row's mean squared error is x3² / 4."""
    row = keras.Input((4,), name="features")
    kernel = np.eye(4)
    kernel[3, 0] = 1
    outputs = keras.layers.Dense(4, use_bias=False, kernel_initializer=keras.initializers.Constant(kernel))(row)
    return keras.Model(row, outputs)


def grey() -> keras.Model:
    """(B, 8, 8, 1) of (B, 4): a grey image as bright as the first number of the noise."""
    noise = keras.Input((4,), name="noise")
    hidden = keras.layers.Dense(64, use_bias=False, kernel_initializer=keras.initializers.Constant(np.eye(4)[:, :1] * np.ones((1, 64))))(
        noise
    )
    return keras.Model(noise, keras.layers.Reshape((8, 8, 1))(keras.layers.Rescaling(20.0, 90.0)(hidden)), name="generator")


def repeats_one_image() -> keras.Model:
    """The first train image, whatever the noise."""
    image = image_rows("train")[1][0].astype(np.float64).ravel()
    noise = keras.Input((4,), name="noise")
    hidden = keras.layers.Dense(64, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(image))(noise)
    return keras.Model(noise, keras.layers.Reshape((8, 8, 1))(hidden), name="generator")
