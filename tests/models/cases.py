"""A small model of every family with seeded rows that it can learn. Used by the test, by its ranks, and by nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

NUM_ROWS = 48
Rows = tuple[NDArray[Any], NDArray[Any]]  # inputs (N, …), labels (N,)


@dataclass(frozen=True)
class Case:
    """`options` leave dropout out, so that N ranks can equal one."""

    model: str
    facts: dict[str, Any]
    rows: Callable[[np.random.Generator], Rows]
    options: dict[str, Any] = field(default_factory=dict)
    loss: str = "cross_entropy"
    learning_rate: float = 0.05
    is_random: bool = False  # draws numbers in training, other ones on every rank: N ranks equal no single one

    def build(self) -> keras.Model:
        return importlib.import_module(f"models.{self.model}").build(**self.facts, **self.options)

    def make_rows(self) -> Rows:
        return self.rows(np.random.default_rng(17))


def table(generator: np.random.Generator) -> Rows:
    labels = generator.integers(0, 3, NUM_ROWS)
    rows = generator.normal(size=(NUM_ROWS, 6)).astype(np.float32)
    rows[np.arange(NUM_ROWS), labels] += 2
    return rows, labels


def codes(generator: np.random.Generator) -> Rows:
    rows, labels = table(generator)
    rows[:, 4] = (labels + generator.integers(0, 2, NUM_ROWS)) % 4  # a category's code beside the numbers
    return rows, labels


def image(generator: np.random.Generator) -> Rows:
    labels = generator.integers(0, 3, NUM_ROWS)
    pixels = generator.integers(0, 80, (NUM_ROWS, 8, 8, 1)).astype(np.uint8)
    for row, label in enumerate(labels):
        pixels[row, 2 * label : 2 * label + 3, :, :] += 120  # a bar whose height is the class
    return pixels, labels


def text(generator: np.random.Generator) -> Rows:
    labels = generator.integers(0, 3, NUM_ROWS)
    tokens = generator.integers(5, 20, (NUM_ROWS, 7)).astype(np.int32)
    tokens[:, 1] = 2 + labels  # one word tells
    lengths = generator.integers(3, 8, NUM_ROWS)
    return np.where(np.arange(7) < lengths[:, None], tokens, 0).astype(np.int32), labels


def series(generator: np.random.Generator) -> Rows:
    slopes = generator.normal(size=NUM_ROWS).astype(np.float32)
    steps = np.arange(8, dtype=np.float32)[None, :, None] / 8
    noise = 0.1 * generator.normal(size=(NUM_ROWS, 8, 2)).astype(np.float32)
    return slopes[:, None, None] * steps + noise, slopes


def sound(generator: np.random.Generator) -> Rows:
    labels = generator.integers(0, 3, NUM_ROWS)
    time = np.arange(2000) / 8000
    pitch = np.asarray([300, 900, 2400])[labels][:, None]
    waves = 8000 * np.sin(2 * np.pi * pitch * time) + 500 * generator.normal(size=(NUM_ROWS, 2000))
    return waves.astype(np.int16), labels


def ratings(generator: np.random.Generator) -> Rows:
    ids = np.stack([generator.integers(0, 9, NUM_ROWS), generator.integers(0, 7, NUM_ROWS)], axis=1).astype(np.int32)
    taste, appeal = generator.normal(size=9), generator.normal(size=7)
    return ids, (taste[ids[:, 0]] * appeal[ids[:, 1]]).astype(np.float32)


SEEN = {"image_shape": (8, 8, 1), "pixel_mean": (60.0,), "pixel_std": (60.0,)}
IMAGE = {"image_shape": (8, 8, 1)}
PIXELS = {"image_shape": (8, 8, 1), "pixel_mean": (60.0,), "pixel_std": (60.0,), "num_outputs": 3}
ROW = {"num_features": 6, "num_outputs": 3}
TEXT = {"sequence_length": 7, "vocabulary_size": 20, "num_outputs": 3}
SERIES = {"sequence_shape": (8, 2), "num_outputs": 1}
NO_DROPOUT = {"dropout": 0.0}

CASES = {
    "mlp": Case("mlp", ROW, table, {**NO_DROPOUT, "width": 16}),
    "residual_mlp": Case("residual_mlp", ROW, table, {**NO_DROPOUT, "width": 16, "depth": 2}),
    "wide_deep": Case("wide_deep", {**ROW, "category_sizes": {4: 4}}, codes, {**NO_DROPOUT, "width": 16}),
    "cnn": Case("cnn", PIXELS, image, {**NO_DROPOUT, "filters": 4}),
    "resnet": Case("resnet", PIXELS, image, {"filters": 4, "stages": 2, "blocks": 1}),
    "resnet, group norm": Case("resnet", PIXELS, image, {"filters": 4, "stages": 2, "blocks": 1, "norm": "group"}, learning_rate=0.5),
    "lstm of text": Case("rnn", TEXT, text, {**NO_DROPOUT, "width": 8, "embedding": 8}, learning_rate=2.0),
    "gru of series": Case(
        "rnn", SERIES, series, {**NO_DROPOUT, "cell": "gru", "width": 8, "depth": 2, "bidirectional": False}, "mse", learning_rate=0.05
    ),
    "linear_forecast": Case("linear_forecast", {**SERIES, "history": 8, "horizon": 1}, series, {"others": True}, "mse", learning_rate=0.02),
    "transformer of text": Case("transformer", TEXT, text, {**NO_DROPOUT, "width": 16, "depth": 1}),
    "transformer of series": Case("transformer", SERIES, series, {**NO_DROPOUT, "width": 16, "depth": 1}, "mse", learning_rate=0.02),
    "transformer of features": Case("transformer", ROW, table, {**NO_DROPOUT, "width": 16, "depth": 1}),
    "crnn": Case(
        "crnn",
        {"num_samples": 2000, "sample_rate": 8000, "num_outputs": 3, "tensor_dtype": "int16"},
        sound,
        {**NO_DROPOUT, "filters": 4, "width": 8, "mels": 20},
    ),
    "two_tower": Case(
        "two_tower", {"tensor_shape": (2,), "num_users": 9, "num_items": 7, "num_outputs": 1}, ratings, {"embedding": 8, "width": 8}, "mse",
        learning_rate=0.1,
    ),
    "autoencoder of rows": Case("autoencoder", {"num_features": 6}, table, {"latent": 3, "width": 16, "depth": 1}, "reconstruction"),
    "autoencoder of images": Case("autoencoder", SEEN, image, {"latent": 4, "filters": 4}, "reconstruction", learning_rate=0.4),
    "autoencoder of pixels": Case("autoencoder", SEEN, image, {"latent": 4, "filters": 4, "bounded": True}, "pixel shares", 1.0),
    "vae of rows": Case("vae", {"num_features": 6}, table, {"latent": 2, "width": 16, "depth": 1}, "variational", 0.05, is_random=True),
    "vae of images": Case("vae", SEEN, image, {"latent": 2, "filters": 4}, "variational", 0.005, is_random=True),
    "dcgan": Case("dcgan", IMAGE, image, {"latent": 4, "filters": 4}, "adversarial", 0.02),
    "wgan_gp": Case("wgan_gp", IMAGE, image, {"latent": 4, "filters": 4}, "wasserstein", 0.001),
}  # fmt: skip
