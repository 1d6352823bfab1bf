"""Airflow lives in an environment of its own: these tests start it there and look at what it says."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
AIRFLOW_SIDE = Path(__file__).with_name("airflow_side.py")

# A stand-in for the work environment's `pipeline`: writes down how it was called, then does what FAKE says for its stage.
FAKE_PIPELINE = """\
import json, os, sys, time
folder, stage = os.environ["FAKE_FOLDER"], sys.argv[1]
with open(os.path.join(folder, "calls.jsonl"), "a") as log:
    log.write(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}) + "\\n")
tries = sum(json.loads(line)["argv"][0] == stage for line in open(os.path.join(folder, "calls.jsonl")))
codes = json.loads(os.environ.get("FAKE", "{}")).get(stage, [0])
code = codes[min(tries, len(codes)) - 1]
print("first line of", stage, "\\u00e4", file=sys.stderr)
if code == "wait":
    if os.fork() == 0:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(os.path.join(folder, f"pid-{os.getpid()}"), "w").close()
    time.sleep(600)
if code == "silent":
    sys.exit(0)
if code < 0:
    os.kill(os.getpid(), -code)
if code:
    print("error: the reason", file=sys.stderr)
    sys.exit(code)
result = {"run_id": "r1", "folder": "/f", "digest": "d1", "content_digest": "c1", "reused_from": None, "accuracy": 1.0}
print(json.dumps({"stage": stage} | result))
"""


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    python = Path(os.environ.get("LONGHAUL_AIRFLOW_PYTHON", PROJECT / ".venv-airflow" / "bin" / "python"))
    if not python.exists():
        pytest.fail(
            f"{python} is not there. These tests need Airflow's environment: run `make test`, which sets it up first, or `make setup`."
        )
    return python


@pytest.fixture(scope="session")
def migrated_database(airflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file; every test works on a copy."""
    home = tmp_path_factory.mktemp("airflow")
    environment = airflow_environment(airflow_python, home, PROJECT / "dags")
    done = subprocess.run(
        [airflow_python.with_name("airflow"), "db", "migrate"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "airflow.db"


def airflow_environment(python: Path, home: Path, dags: Path) -> dict[str, str]:
    """The whole environment of an Airflow process: nothing of ours leaks in, and all that it writes is below `home`."""
    return {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW_CONN_SECRET": "postgres://user:a-password@nowhere/db",
    }


class Airflow:
    """One Airflow home: run its commands, ask its database."""

    def __init__(self, python: Path, home: Path, dags: Path, fake: Path) -> None:
        self.python, self.home, self.fake = python, home, fake
        self.environment = airflow_environment(python, home, dags) | {
            "LONGHAUL_PIPELINE": str(fake / "pipeline"),
            "LONGHAUL_ROOT": str(home / "runs"),
            "FAKE_FOLDER": str(fake),
        }

    def command(self, *arguments: str, timeout_s: int = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self.python.with_name("airflow")), *arguments]
        return subprocess.run(
            argv, env=self.environment | environment, cwd=self.home, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def side(self, command: str, request: Any = None, **environment: str) -> Any:
        """The answer of `airflow_side.py`, run by Airflow's Python, to a JSON request."""
        argv = [str(self.python), str(AIRFLOW_SIDE), command]
        done = subprocess.run(
            argv,
            env=self.environment | environment,
            cwd=self.home,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.home / "airflow.db")) as connection:
            return connection.execute(query).fetchall()

    def states(self) -> dict[str, tuple[str, int]]:
        """Task -> (state, number of its last try)."""
        return {task: (state, tries) for task, state, tries in self.rows("select task_id, state, try_number from task_instance")}

    @property
    def calls(self) -> list[dict[str, Any]]:
        """How the stand-in for `pipeline` was called, in order."""
        log = self.fake / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def airflow(airflow_python: Path, migrated_database: Path, tmp_path: Path) -> Airflow:
    """A fresh Airflow on the project's own DAGs, with a stand-in for the work environment's command."""
    return make_airflow(airflow_python, migrated_database, tmp_path, PROJECT / "dags")


@pytest.fixture(scope="session")
def shared_airflow(airflow_python: Path, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """One for all tests that only look."""
    return make_airflow(airflow_python, migrated_database, tmp_path_factory.mktemp("shared"), PROJECT / "dags")


@pytest.fixture
def airflow_on_copy(airflow_python: Path, migrated_database: Path, tmp_path: Path) -> Callable[[dict[str, str]], Airflow]:
    """A function that makes a fresh Airflow on a copy of dags/ and conf/, with recipes added or replaced (file name -> text)."""

    def make(recipes: dict[str, str]) -> Airflow:
        project = tmp_path / "project"
        for folder in ("dags", "conf"):
            shutil.copytree(PROJECT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in recipes.items():
            (project / "conf" / name).write_text(text)
        return make_airflow(airflow_python, migrated_database, tmp_path, project / "dags")

    return make


def make_airflow(python: Path, database: Path, folder: Path, dags: Path) -> Airflow:
    home, fake = folder / "home", folder / "fake"
    home.mkdir()
    fake.mkdir()
    shutil.copy2(database, home / "airflow.db")
    script = fake / "pipeline"
    script.write_text(f"#!{sys.executable} -S\n{FAKE_PIPELINE}")
    script.chmod(0o755)
    return Airflow(python, home, dags, fake)
