"""A recipe with a search over ready data, and a search that is open without any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import config
from pipeline.paths import Run, run_id
from pipeline.sections.tuning import Tune
from pipeline.tune.slots import Study, open_study
from pipeline.tune.storage import open_storage
from tests.conftest import PROJECT, FinishedRun

IRIS = PROJECT / "conf" / "iris.yaml"
SPACE: dict[str, Any] = {
    "train.optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "model.width": {"choices": [4, 8]},
}


def make_tune(**settings: Any) -> Tune:
    return Tune.model_validate_json(yaml_to_json({"parameters": SPACE, **settings}))


def yaml_to_json(values: dict[str, Any]) -> str:
    import json

    return json.dumps(values)


@pytest.fixture
def open_search(tmp_path: Path) -> Callable[..., Study]:
    """A search on SQLite; called again with the same folder it is the same one, as another worker sees it."""

    def open_it(folder: Path = tmp_path, **settings: Any) -> Study:
        tune = make_tune(**settings)
        return open_study(open_storage(folder, None), "iris-00000000", tune, folder)

    return open_it


@dataclass(frozen=True)
class Tunable:
    """conf/iris.yaml with a search, small trainings, and prepared data that is there already."""

    path: Path
    root: Path

    def study_folder(self) -> Path:
        (found,) = (self.root / "iris" / "tune").iterdir()
        return found


def make_tunable(folder: Path, finished: FinishedRun, **tune: Any) -> Tunable:
    path, root = folder / "iris.yaml", folder / "runs"
    small = IRIS.read_text().replace("epochs: 40", "epochs: 3").replace("ranks: 2", "ranks: 1")
    path.write_text(small + yaml.safe_dump({"tune": {"parameters": SPACE, **tune}}, sort_keys=False))
    recipe = config.load(path)
    run = Run(root, recipe.name, run_id(recipe.digest, None))
    run.folder.mkdir(parents=True)
    run.stage("prepare").symlink_to(finished.run.stage("prepare"))
    return Tunable(path, root)
