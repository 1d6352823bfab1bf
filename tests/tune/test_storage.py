"""Where a search is kept: a real PostgreSQL works like SQLite does, and what is secret in a URL is never shown."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from pipeline.errors import ConfigError, InfrastructureError
from pipeline.tune.slots import OWNER, open_study, take
from pipeline.tune.storage import open_storage, without_secrets
from tests.tune.conftest import make_tune

VARIABLE = "LONGHAUL_TUNE_STORAGE"
SECRET = "s3cr3t-word"


def server_programs() -> Path | None:
    """Folder of Debian's newest PostgreSQL server, whose programs are not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment with the URL of a server of this test's own, on loopback, with a password, gone after it."""
    programs = server_programs()
    if programs is None:
        pytest.skip("there is no PostgreSQL server; `apt-get install postgresql` brings one")
    folder = Path("/tmp") / f"longhaul-pg-{secrets.token_hex(6)}"  # a socket's path has at most 107 characters
    folder.mkdir(mode=0o700)
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    try:
        (folder / "password").write_text(SECRET)
        if user is not None:
            owner = pwd.getpwnam(user)
            for path in (folder, folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        data, with_password = folder / "data", ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        run([programs / "initdb", "-D", data, "-U", "tuner", "--no-sync", *with_password], folder, user)
        port = start(programs, data, folder, user)
        yield {VARIABLE: f"postgresql://tuner:{SECRET}@127.0.0.1:{port}/postgres"}
    finally:
        subprocess.run([programs / "pg_ctl", "stop", "-D", folder / "data", "-m", "immediate"], user=user, cwd=folder, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list, folder: Path, user: str | None) -> None:
    done = subprocess.run(
        command, cwd=folder, user=user, capture_output=True, text=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def start(programs: Path, data: Path, folder: Path, user: str | None) -> int:
    """Start the server; a port that another process takes meanwhile is given up for the next."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        command = [programs / "pg_ctl", "start", "-w", "-t", "120", "-D", data, "-l", folder / "log", "-o", options]
        # Its output goes nowhere: the server keeps the descriptors, and a pipe would never end.
        if subprocess.run(command, cwd=folder, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return port
    raise AssertionError((folder / "log").read_text())


def open_there(environment: dict[str, str], folder: Path, **settings):
    folder.mkdir(exist_ok=True)
    tune = make_tune(storage=VARIABLE, **settings)
    return open_study(open_storage(folder, VARIABLE, environment), f"iris-{folder.parent.name}", tune, folder)


def test_workers_that_share_nothing_but_postgresql_take_each_trial_once(postgresql, tmp_path):
    """Each with a folder of its own, as on machines of their own: no lock file keeps them apart."""
    open_there(postgresql, tmp_path / "first", trials=12, sampler="random")
    points, failures = [], []

    def worker(name: str) -> None:
        try:
            study = open_there(postgresql, tmp_path / name, trials=12, sampler="random")
            while taken := take(study):
                points.append((taken.trial.number, taken.point["train.optimizer.learning_rate"]))
                study.load().tell(taken.trial, 1.0)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=worker, args=(name,)) for name in ("first", "second", "third")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(number for number, _ in points) == list(range(12)) and len({rate for _, rate in points}) == 12
    assert not (tmp_path / "first" / "study.db").exists()


def test_a_search_in_postgresql_goes_on_after_its_worker_died(postgresql, tmp_path):
    study = open_there(postgresql, tmp_path / "first", trials=2)
    taken = take(study)
    owner = taken.trial.user_attrs[OWNER]
    study.storage.set_trial_user_attr(taken.trial._trial_id, OWNER, {**owner, "started": "long ago"})
    again = open_there(postgresql, tmp_path / "first", trials=2)
    assert (retry := take(again)) is not None
    assert (retry.origin, retry.point) == (0, taken.point)
    assert again.trials()[0].state == TrialState.FAIL


def test_a_wrong_password_is_told_without_the_url(postgresql, tmp_path):
    wrong = {VARIABLE: postgresql[VARIABLE].replace(SECRET, "another-secret")}
    with pytest.raises(InfrastructureError, match=f"The PostgreSQL that {VARIABLE} names cannot be used") as caught:
        open_storage(tmp_path, VARIABLE, wrong)
    assert "another-secret" not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "is not set"),
        ({VARIABLE: "mysql://u:s3cr3t-word@h/d"}, "holds no PostgreSQL URL"),
        ({VARIABLE: "s3cr3t-word"}, "holds no PostgreSQL URL"),
        ({VARIABLE: "postgresql://u:s3cr3t-word@h:port/d"}, "cannot be read"),
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(tmp_path, environment, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_storage(tmp_path, VARIABLE, environment)
    assert SECRET not in str(caught.value) and caught.value.exit_code == 2


def test_secrets_are_cut_out_of_messages_however_they_are_written():
    url = "postgresql+psycopg://me:p%40ss@host/d?sslpassword=other"
    assert without_secrets(f"cannot use {url} with p@ss, p%40ss or other", url) == "cannot use *** with ***, *** or ***"


def test_a_damaged_sqlite_is_an_infrastructure_error(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        open_storage(tmp_path, None)
