"""What tests share: one Spark session, recipes written by a line, and two finished runs of the command."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from pipeline import config, storage
from pipeline.console import Console
from pipeline.paths import Run, run_id
from pipeline.stage import Request
from tests.store import Store, start

# A loaded machine is slow, not wrong. A commit's tests try the same examples each time; `make test-all` looks for new ones.
settings.register_profile("shared machine", deadline=None, derandomize="LONGHAUL_EXPLORE" not in os.environ)
settings.load_profile("shared machine")

PROJECT = Path(__file__).resolve().parent.parent
PIPELINE = Path(sys.executable).parent / "pipeline"


@dataclass(frozen=True)
class Command:
    """A `pipeline` command that has ended."""

    code: int
    out: str
    err: str


def pipeline(*arguments: str | Path, root: Path, cwd: Path = PROJECT, timeout: float = 400, **environment: str) -> Command:
    """Run the real command in a process of its own and wait for it."""
    done = subprocess.run(
        [PIPELINE, *map(str, arguments)],
        env={**os.environ, "LONGHAUL_ROOT": str(root), **environment},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Command(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class FinishedRun:
    """A recipe that went through every stage."""

    root: Path
    recipe: config.Recipe
    path: Path
    command: Command

    @property
    def run(self) -> Run:
        return Run(self.root, self.recipe.name, run_id(self.recipe.digest, None))

    def request(self, **changes: Any) -> Request:
        return Request(self.recipe, self.run, Console(None), **changes)


def finish(recipe: str, root: Path) -> FinishedRun:
    path = PROJECT / "conf" / f"{recipe}.yaml"
    command = pipeline("run", path, root=root)
    assert command.code == 0, command.out + command.err
    return FinishedRun(root, config.load(path), path, command)


@pytest.fixture(scope="session")
def iris_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Read only: conf/iris.yaml through every stage, once a session."""
    return finish("iris", tmp_path_factory.mktemp("iris"))


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Read only: conf/digits.yaml through every stage, once a session."""
    return finish("digits", tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """One local session of two threads for all tests that transform rows."""
    from pipeline.prepare.session import spark_session

    with spark_session("longhaul-tests", num_bytes=0) as session:
        yield session


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = start(tmp_path_factory.mktemp("moto"))
    yield store
    store.process.kill()  # it keeps nothing; asked to stop it takes seconds
    store.process.wait(60)


@pytest.fixture
def s3(s3_server: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server, and this process as one that may use it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    storage.forget_connections()
    yield s3_server
    storage.forget_connections()


@pytest.fixture
def bucket(s3: Store, request: pytest.FixtureRequest) -> str:
    """An empty one."""
    name = f"b-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"
    s3.client().create_bucket(Bucket=name)
    return name


WriteRecipe = Callable[..., config.Recipe]

TABLE = {
    "name": "table",
    "source": {"format": "csv", "path": ""},
    "columns": {"x": {"kind": "number"}, "label": {"kind": "category", "role": "label"}},
    "model": {"name": "mlp"},
    "register": {"name": "table"},
}


@pytest.fixture
def table_recipe(tmp_path: Path) -> WriteRecipe:
    """A recipe for a CSV with columns x and label; keyword arguments replace sections."""

    def write(source: Path, **sections: Any) -> config.Recipe:
        path = tmp_path / "recipe.yaml"
        format_ = "parquet" if source.suffix == ".parquet" else "csv"
        path.write_text(yaml.safe_dump({**TABLE, "source": {"format": format_, "path": str(source)}, **sections}, sort_keys=False))
        return config.load(path)

    return write


COST = ("tf", "spark", "e2e", "airflow")  # markers, cheap to dear; a test without any is cheaper still


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, so that a plain mistake is told in seconds."""
    items.sort(key=lambda item: max((COST.index(marker.name) + 1 for marker in item.iter_markers() if marker.name in COST), default=0))
