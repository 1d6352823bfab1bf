"""Prepare a recipe in the shared session, and read what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Recipe
from pipeline.console import Console
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.stage import Outcome, Request

Prepare = Callable[..., Outcome]


@pytest.fixture
def prepare(spark, tmp_path: Path) -> Prepare:
    def run(recipe: Recipe, run_id: str = "manual-0", *, force: bool = False) -> Outcome:
        return job.run(Request(recipe, Run(tmp_path / "runs", recipe.name, run_id), Console(None), force), spark)

    return run


def rows(outcome: Outcome, folder: str) -> pa.Table:
    """All rows below a folder of the result: data/train, quarantine."""
    files = [entry.path for entry in outcome.manifest.files if entry.path.startswith(f"{folder}/")]
    tables = [pq.read_table(outcome.found.files / path) for path in files]
    return pa.concat_tables(tables) if tables else pa.table({})


def published(root: Path) -> list[Path]:
    return sorted(root.rglob("manifest.json"))


def write_csv(path: Path, lines: list[str], header: str = "x,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def many_rows(count: int = 60) -> list[str]:
    """Different rows of two classes, enough for every split to have some of both."""
    return [f"{number / 7:.6f},{'even' if number % 2 == 0 else 'odd'}" for number in range(count)]


def features(table: pa.Table) -> np.ndarray:
    return np.stack([np.frombuffer(row, np.float32) for row in table["features"].to_pylist()])
