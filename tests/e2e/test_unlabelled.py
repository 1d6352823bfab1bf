"""The recipes without a label to learn, through every stage on two ranks, and their models with Keras alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import PROJECT, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ALONE = """
import sys, keras, numpy as np
model = keras.saving.load_model(sys.argv[1], safe_mode=True, compile=False)
np.save(sys.argv[3], np.asarray(model(np.load(sys.argv[2]), training=False)))
assert not [name for name in sys.modules if name.split(".")[0] in ("models", "pipeline")]
"""


def stage(root: Path, recipe: str, name: str) -> tuple[dict[str, Any], Path]:
    """A stage's manifest and its files."""
    (path,) = (root / recipe).glob(f"*/{name}/manifest.json")
    manifest = json.loads(path.read_text())
    return manifest, path.parent / manifest["attempt"]


def with_keras_alone(model: Path, inputs: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "inputs.npy", inputs)
    subprocess.run(
        [sys.executable, "-I", "-c", ALONE, model, folder / "inputs.npy", folder / "outputs.npy"], cwd=folder, check=True, timeout=120
    )
    return np.load(folder / "outputs.npy")


def test_tumours_unlike_benign_ones_are_found_by_an_autoencoder_that_saw_benign_ones_alone(tmp_path):
    done = pipeline("run", PROJECT / "conf" / "tumours.yaml", root=tmp_path)
    assert done.code == 0, done.out + done.err
    prepared, data = stage(tmp_path, "tumours", "prepare")
    assert prepared["facts"]["splits"]["train"]["label_counts"].keys() == {"benign"}
    evaluated, files = stage(tmp_path, "tumours", "evaluate")
    metrics = evaluated["facts"]["metrics"]
    assert metrics["auc"]["value"] > 0.85 and metrics["average_precision"]["value"] > 0.8
    assert "auc" in done.out and "the mean validation row" in done.out
    predicted = pq.read_table(files / "predictions.parquet")
    assert predicted["error"].to_numpy().mean() == pytest.approx(metrics["mse"]["value"])
    _, trained = stage(tmp_path, "tumours", "train")
    (first, *_) = sorted(path for path in (data / "files" if (data / "files").exists() else data).glob("**/data/test/*.parquet"))
    rows = np.stack([np.frombuffer(row, np.float32) for row in pq.read_table(first)["features"].to_pylist()])
    again = with_keras_alone(trained / "model.keras", rows, tmp_path)
    np.testing.assert_allclose(np.square(rows - again).mean(axis=1), predicted["error"].to_numpy()[: len(rows)], rtol=1e-4)


def test_digits_made_of_noise_are_near_real_ones_and_no_copies(tmp_path):
    done = pipeline("run", PROJECT / "conf" / "digits_gan.yaml", root=tmp_path)
    assert done.code == 0, done.out + done.err
    evaluated, files = stage(tmp_path, "digits_gan", "evaluate")
    facts = evaluated["facts"]
    assert set(facts["metrics"]) == {"frechet_distance", "kernel_distance", "coverage", "novelty"}
    assert facts["metrics"]["novelty"]["value"] > 0.5 and facts["metrics"]["frechet_distance"]["value"] < 0.5
    made = pq.read_table(files / "generated.parquet")
    assert made.num_rows == facts["rows"]
    _, trained = stage(tmp_path, "digits_gan", "train")
    noise = np.random.default_rng(0).normal(size=(made.num_rows, 16)).astype(np.float32)
    again = np.clip(np.rint(with_keras_alone(trained / "model.keras", noise, tmp_path)), 0, 255)
    stored = np.stack([np.frombuffer(image, np.uint8) for image in made["image"].to_pylist()]).reshape(again.shape)
    assert np.abs(again - stored).max() <= 1  # of another batch's rounding
