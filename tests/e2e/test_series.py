"""A forecast through every stage on two ranks: waves with noise, hours of which nobody wrote down, a gate against the naive forecasts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RECIPE = """
name: waves
task: regression
source: {format: csv, path: waves.csv}
columns:
  when: {kind: time, cycles: [day]}
  tide: {kind: number, role: label}
windows: {time: when, period_s: 3600, history: 24, horizon: 6, season: 24}
split: {by: time, column: when, validation_from: "2024-02-01", test_from: "2024-02-15"}
audit: {max_shared_content: 1}
model: {name: linear_forecast}
train: {epochs: 6, global_batch: 64, optimizer: {name: adam, learning_rate: 0.01}}
register: {name: waves, gate: {skill: {min: 0.1}}}
"""


def write_waves(path: Path) -> None:
    hours = np.arange(60 * 24)
    rng = np.random.default_rng(5)
    tide = 5 + np.sin(2 * np.pi * hours / 12.42) + 0.3 * rng.normal(size=len(hours))
    lost = {300, 301, 1200}
    stamps = np.datetime64("2024-01-01T00", "s") + hours * np.timedelta64(3600, "s")
    lines = [f"{stamp},{value:.4f}" for hour, (stamp, value) in enumerate(zip(stamps, tide, strict=True)) if hour not in lost]
    path.write_text("\n".join(["when,tide", *lines]) + "\n")


def test_a_forecast_passes_its_gate_and_tells_every_step(tmp_path):
    write_waves(tmp_path / "waves.csv")
    (tmp_path / "waves.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load(RECIPE), "source": {"format": "csv", "path": str(tmp_path / "waves.csv")}})
    )
    done = pipeline("run", tmp_path / "waves.yaml", root=tmp_path / "runs")
    assert done.code == 0, done.out + done.err
    (manifest_path,) = (tmp_path / "runs").glob("waves/*/evaluate/manifest.json")
    manifest = json.loads(manifest_path.read_text())
    facts, files = manifest["facts"], manifest_path.parent / manifest["attempt"]
    assert [item["step"] for item in facts["steps"]] == [1, 2, 3, 4, 5, 6]
    assert facts["metrics"]["skill"]["value"] > 0.1 and set(facts["naive"]) == {"the last value", "the value of a season before"}
    predicted = pq.read_table(files / "predictions.parquet")
    true, told = (np.asarray(predicted[name].to_pylist()) for name in ("label", "predicted"))
    assert true.shape == (facts["rows"], 6)
    assert np.abs(told - true).mean() == pytest.approx(facts["metrics"]["mae"]["value"])
    page = (files / "report.html").read_text()
    assert "Step by step" in page and "the last value" in page
