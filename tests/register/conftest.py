"""Runs that are ready to be registered; made once, copied for each test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.evaluate import job as evaluate
from pipeline.register import store
from pipeline.stage import Request
from tests.evaluate.finished_run import finish_prepare, finish_train, make_request


@pytest.fixture(scope="session")
def evaluated_root(tmp_path_factory) -> Path:
    """Two finished runs, each with its own data, model and evaluation, and an empty registry."""
    root = tmp_path_factory.mktemp("evaluated")
    for run_id, share_right in (("manual-aaaaaaaa", 0.9), ("manual-bbbbbbbb", 0.8)):
        request = make_request(root, run_id)
        finish_prepare(request, num_wrong=round(40 * (1 - share_right)))
        finish_train(request)
        evaluate.run(request)
    store.connect(request.run).search_experiments()  # makes the tables: more than a second, which a copy saves
    return root


@dataclass(frozen=True)
class World:
    """A root of a test's own. `first` was right about 90 % of the test rows, `second` about 80 %."""

    root: Path

    def request(self, run_id: str, *overrides: str, force: bool = False) -> Request:
        # The evaluations were made with the recipe's gate; the gate under test is only register's.
        return make_request(self.root, run_id, overrides, force)

    def first(self, *overrides: str, force: bool = False) -> Request:
        return self.request("manual-aaaaaaaa", *overrides, force=force)

    def second(self, *overrides: str, force: bool = False) -> Request:
        return self.request("manual-bbbbbbbb", *overrides, force=force)

    @property
    def client(self):
        return store.connect(self.first().run)

    @property
    def versions(self) -> dict[int, str]:
        """Version -> the run of the pipeline that it came from."""
        return {int(version.version): version.tags["pipeline_run"] for version in self.client.search_model_versions("name = 'iris'")}

    @property
    def champion(self) -> int:
        return int(self.client.get_model_version_by_alias("iris", "champion").version)

    def runs(self, condition: str = "") -> list:
        experiment = self.client.get_experiment_by_name("iris")
        return self.client.search_runs([experiment.experiment_id], condition) if experiment else []


@pytest.fixture
def world(evaluated_root, tmp_path) -> World:
    root = tmp_path / "runs"
    shutil.copytree(evaluated_root, root)
    return World(root)


@pytest.fixture
def forget():
    """Remove what a stage published, as if the process had died before publishing it."""
    return lambda request, stage: shutil.rmtree(request.run.stage(stage))
