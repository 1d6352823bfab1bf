"""A recommender through every stage on two ranks: people of two tastes, a two-tower model, and a gate on ranks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.evaluate.ranking import ranks_of_positives
from tests.conftest import pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RECIPE = """
name: shop
task: classification
source: {format: csv, path: log.csv}
columns:
  customer: {kind: category}
  article: {kind: category}
  when: {kind: time, role: meta}
interactions: {user: customer, item: article, time: when, negatives: 4, candidates: 20}
split: {by: user_time}
model: {name: two_tower, embedding: 8, width: 8}
train: {epochs: 12, global_batch: 64, optimizer: {name: adam, learning_rate: 0.01}}
evaluate: {top: 5}
register: {name: shop, gate: {hit_rate: {min: 0.3}}}
"""


def write_log(path: Path) -> None:
    """120 people take 12 of the 40 articles of their own half."""
    generator = np.random.default_rng(3)
    lines = ["customer,article,when"]
    for person in range(120):
        for hour, article in enumerate(generator.permutation(40)[:12]):
            lines.append(f"p{person},a{2 * article + person % 2},2024-01-{1 + hour:02d}T00:00:00")
    path.write_text("\n".join(lines) + "\n")


def test_what_somebody_took_is_ranked_above_what_the_most_take(tmp_path):
    write_log(tmp_path / "log.csv")
    source = {"format": "csv", "path": str(tmp_path / "log.csv")}
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump({**yaml.safe_load(RECIPE), "source": source}))
    done = pipeline("run", tmp_path / "shop.yaml", root=tmp_path / "runs")
    assert done.code == 0, done.out + done.err
    (path,) = (tmp_path / "runs").glob("shop/*/evaluate/manifest.json")
    manifest = json.loads(path.read_text())
    facts, files = manifest["facts"], path.parent / manifest["attempt"]
    found = facts["metrics"]["hit_rate"]["value"]
    assert found > 0.3 and found > facts["baseline"]["metrics"]["hit_rate"] and facts["metrics"]["ndcg"]["value"] < found
    predicted = pq.read_table(files / "predictions.parquet")
    taken = np.stack(predicted["probabilities"].to_pylist())[:, 1]
    ranks = ranks_of_positives(taken, predicted["label"].to_numpy(), 20)
    assert (ranks <= 5).mean() == pytest.approx(found, abs=0.02)
    assert "hit_rate is how often" in (files / "report.html").read_text()
